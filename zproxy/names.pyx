"""Names: bytes that peers chose → slot; see names.pxd for the contract. `NamesProbe` is for the tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

cdef enum:
    CAPACITY_FIRST = 64         # power of two


# Up to eight bytes as one number. Loads of a fixed length: a memcpy of a variable one would be a call.
cdef inline uint64_t word_load(const uint8_t* key, uint8_t count) noexcept nogil:
    cdef uint64_t word = 0
    cdef uint32_t first = 0
    cdef uint32_t last = 0
    cdef uint8_t index
    if count >= 8:
        memcpy(&word, key, 8)
    elif count >= 4:
        memcpy(&first, key, 4)
        memcpy(&last, key + count - 4, 4)
        word = <uint64_t>first << 32 | last
    else:
        for index in range(count):
            word = word << 8 | key[index]
    return word


# Eight bytes a step, each multiplied and folded twice (the idea of wyhash): 5-byte ids, libzmq's own, take one step.
# The second factor is secret: by a known one the highest bit of a step comes out in the same two places whatever the
# seed, where the next step's bytes could undo it, and any number of ids be made that all collide.
cdef inline uint64_t key_hash(uint64_t seed, const uint8_t* key, uint8_t key_bytes) noexcept nogil:
    cdef uint64_t secret = seed * <uint64_t>0x9E3779B97F4A7C15 | 1
    cdef uint64_t state = seed ^ (key_bytes * <uint64_t>0x9E3779B97F4A7C15)
    cdef uint8_t left = key_bytes
    cdef uint8_t step
    while left:
        step = min(left, <uint8_t>8)
        state = (state ^ word_load(key, step)) * <uint64_t>0xD6E8FEB86659FD93
        state ^= state >> 32
        state *= secret
        state ^= state >> 32
        key += step
        left -= step
    return state


cdef int names_open(Names* names, uint64_t seed) noexcept nogil:
    names.entries = <NameEntry*>calloc(CAPACITY_FIRST, sizeof(NameEntry))
    names.mask = CAPACITY_FIRST - 1
    names.count = 0
    names.seed = seed
    return 0 if names.entries != NULL else -1


cdef void names_close(Names* names) noexcept nogil:
    free(names.entries)
    names.entries = NULL


# The entry of `key`, or the free one where it would stand.
cdef NameEntry* name_seek(const Names* names, uint64_t hash, const uint8_t* key, uint8_t key_bytes) noexcept nogil:
    cdef uint32_t index = <uint32_t>hash & names.mask
    cdef NameEntry* entry
    while True:
        entry = &names.entries[index]
        if entry.key == NULL:
            return entry
        if entry.hash == hash and entry.key_bytes == key_bytes and memcmp(entry.key, key, key_bytes) == 0:
            return entry
        index = (index + 1) & names.mask


cdef uint32_t names_find(const Names* names, const uint8_t* key, uint8_t key_bytes) noexcept nogil:
    cdef NameEntry* entry = name_seek(names, key_hash(names.seed, key, key_bytes), key, key_bytes)
    return entry.slot if entry.key != NULL else <uint32_t>NAME_NONE


cdef int names_grow(Names* names) noexcept nogil:
    cdef NameEntry* old = names.entries
    cdef uint32_t old_mask = names.mask
    cdef uint32_t index
    cdef NameEntry* larger = <NameEntry*>calloc((<size_t>old_mask + 1) * 2, sizeof(NameEntry))
    if larger == NULL:
        return -1
    names.entries = larger
    names.mask = old_mask * 2 + 1
    for index in range(old_mask + 1):
        if old[index].key != NULL:
            name_seek(names, old[index].hash, old[index].key, old[index].key_bytes)[0] = old[index]
    free(old)
    return 0


cdef int names_add(Names* names, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil:
    cdef NameEntry* entry
    cdef uint64_t hash = key_hash(names.seed, key, key_bytes)
    if names.count * 2 > names.mask and names_grow(names) != 0:
        return -1
    entry = name_seek(names, hash, key, key_bytes)
    entry.hash = hash
    entry.key = key
    entry.key_bytes = key_bytes
    entry.slot = slot
    names.count += 1
    return 0


cdef void names_remove(Names* names, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil:
    cdef NameEntry* entry = name_seek(names, key_hash(names.seed, key, key_bytes), key, key_bytes)
    cdef uint32_t hole
    cdef uint32_t index
    cdef uint32_t home
    if entry.key == NULL or entry.slot != slot:
        return
    hole = <uint32_t>(entry - names.entries)
    index = hole
    while True:
        index = (index + 1) & names.mask
        if names.entries[index].key == NULL:
            break
        home = <uint32_t>names.entries[index].hash & names.mask
        if ((index - home) & names.mask) >= ((index - hole) & names.mask):
            names.entries[hole] = names.entries[index]
            hole = index
    names.entries[hole].key = NULL
    names.count -= 1


cdef class NamesProbe:
    """A table by itself, from bytes to slots."""

    cdef Names names
    cdef dict keys

    def __cinit__(self, seed=1):
        self.keys = {}
        if names_open(&self.names, seed) != 0:
            raise MemoryError

    def __dealloc__(self):
        names_close(&self.names)

    def add(self, bytes key, slot):
        """Leads `key`, which must be new, to `slot`."""
        self.keys[key] = key
        if names_add(&self.names, <const uint8_t*><const char*>key, len(key), slot) != 0:
            raise MemoryError

    def remove(self, bytes key, slot):
        """Forgets `key`, if it leads to `slot`."""
        names_remove(&self.names, <const uint8_t*><const char*>key, len(key), slot)

    def find(self, bytes key):
        """The slot behind `key`, or None."""
        cdef uint32_t slot = names_find(&self.names, <const uint8_t*><const char*>key, len(key))
        return None if slot == <uint32_t>NAME_NONE else slot

    def home(self, bytes key):
        """Where the search for `key` begins, in a table of the present size."""
        return key_hash(self.names.seed, <const uint8_t*><const char*>key, len(key)) & self.names.mask

    def __len__(self):
        return self.names.count
