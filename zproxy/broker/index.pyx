"""Index: (owner, number) → slot; see index.pxd for the contract. `IndexProbe` is for the tests."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    CAPACITY_FIRST = 64         # power of two


cdef IndexEntry* entries_make(size_t capacity) noexcept nogil:
    cdef IndexEntry* entries = <IndexEntry*>malloc(capacity * sizeof(IndexEntry))
    if entries != NULL:
        memset(entries, 0xFF, capacity * sizeof(IndexEntry))
    return entries


# Multiplied and folded twice, the second time by a secret factor: zproxy/names says what one fold alone lets through.
cdef inline uint32_t home_of(const Index* index, uint32_t owner, uint64_t number) noexcept nogil:
    cdef uint64_t state = (number ^ index.seed) * <uint64_t>0xD6E8FEB86659FD93
    state ^= state >> 32
    state = (state + owner * <uint64_t>0x9E3779B97F4A7C15) * (index.seed * <uint64_t>0x9E3779B97F4A7C15 | 1)
    state ^= state >> 32
    return <uint32_t>state & index.mask


cdef int index_open(Index* index, uint64_t seed) noexcept nogil:
    index.entries = entries_make(CAPACITY_FIRST)
    index.mask = CAPACITY_FIRST - 1
    index.count = 0
    index.seed = seed
    return 0 if index.entries != NULL else -1


cdef void index_close(Index* index) noexcept nogil:
    free(index.entries)
    index.entries = NULL


# The entry of the pair, or the free one where it would stand.
cdef inline IndexEntry* entry_seek(const Index* index, uint32_t owner, uint64_t number) noexcept nogil:
    cdef uint32_t at = home_of(index, owner, number)
    cdef IndexEntry* entry
    while True:
        entry = &index.entries[at]
        if entry.slot == <uint32_t>INDEX_NONE or entry.number == number and entry.owner == owner:
            return entry
        at = (at + 1) & index.mask


cdef uint32_t index_find(const Index* index, uint32_t owner, uint64_t number) noexcept nogil:
    return entry_seek(index, owner, number).slot


cdef int index_reserve(Index* index, uint32_t count) noexcept nogil:
    cdef IndexEntry* old = index.entries
    cdef uint32_t old_mask = index.mask
    cdef uint32_t mask = old_mask
    cdef uint32_t at
    cdef IndexEntry* larger
    while count * <uint64_t>2 > mask + <uint64_t>2:
        mask = mask * 2 + 1
    if mask == old_mask:
        return 0
    larger = entries_make(<size_t>mask + 1)
    if larger == NULL:
        return -1
    index.entries = larger
    index.mask = mask
    for at in range(old_mask + 1):
        if old[at].slot != <uint32_t>INDEX_NONE:
            entry_seek(index, old[at].owner, old[at].number)[0] = old[at]
    free(old)
    return 0


cdef void index_add(Index* index, uint32_t owner, uint64_t number, uint32_t slot) noexcept nogil:
    cdef IndexEntry* entry = entry_seek(index, owner, number)
    entry.number = number
    entry.owner = owner
    entry.slot = slot
    index.count += 1


cdef void index_remove(Index* index, uint32_t owner, uint64_t number) noexcept nogil:
    cdef IndexEntry* entry = entry_seek(index, owner, number)
    cdef uint32_t hole
    cdef uint32_t at
    cdef uint32_t home
    if entry.slot == <uint32_t>INDEX_NONE:
        return
    hole = at = <uint32_t>(entry - index.entries)
    while True:
        at = (at + 1) & index.mask
        entry = &index.entries[at]
        if entry.slot == <uint32_t>INDEX_NONE:
            break
        home = home_of(index, entry.owner, entry.number)
        if ((at - home) & index.mask) >= ((at - hole) & index.mask):
            index.entries[hole] = entry[0]
            hole = at
    index.entries[hole].slot = INDEX_NONE
    index.count -= 1


cdef class IndexProbe:
    """An index by itself, from pairs to slots."""

    cdef Index index

    def __cinit__(self, seed=1):
        if index_open(&self.index, seed) != 0:
            raise MemoryError

    def __dealloc__(self):
        index_close(&self.index)

    def add(self, owner, number, slot):
        """Leads a pair, which must be new, to `slot`."""
        if index_reserve(&self.index, self.index.count + 1) != 0:
            raise MemoryError
        index_add(&self.index, owner, number, slot)

    def remove(self, owner, number):
        """Forgets the pair; nothing where it is not known."""
        index_remove(&self.index, owner, number)

    def find(self, owner, number):
        """The slot behind the pair, or None."""
        cdef uint32_t slot = index_find(&self.index, owner, number)
        return None if slot == <uint32_t>INDEX_NONE else slot

    def home(self, owner, number):
        """Where the search begins, in a table of the present size."""
        return home_of(&self.index, owner, number)

    def __len__(self):
        return self.index.count
