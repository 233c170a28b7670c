"""Routes: routing id → connection slot; see routes.pxd for the contract. `RoutesProbe` is for the tests."""

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


cdef int routes_open(Routes* routes, uint64_t seed) noexcept nogil:
    routes.entries = <Route*>calloc(CAPACITY_FIRST, sizeof(Route))
    routes.mask = CAPACITY_FIRST - 1
    routes.count = 0
    routes.seed = seed
    return 0 if routes.entries != NULL else -1


cdef void routes_close(Routes* routes) noexcept nogil:
    free(routes.entries)
    routes.entries = NULL


# The entry of `key`, or the free one where it would stand.
cdef Route* route_seek(const Routes* routes, uint64_t hash, const uint8_t* key, uint8_t key_bytes) noexcept nogil:
    cdef uint32_t index = <uint32_t>hash & routes.mask
    cdef Route* route
    while True:
        route = &routes.entries[index]
        if route.key == NULL:
            return route
        if route.hash == hash and route.key_bytes == key_bytes and memcmp(route.key, key, key_bytes) == 0:
            return route
        index = (index + 1) & routes.mask


cdef uint32_t routes_find(const Routes* routes, const uint8_t* key, uint8_t key_bytes) noexcept nogil:
    cdef Route* route = route_seek(routes, key_hash(routes.seed, key, key_bytes), key, key_bytes)
    return route.slot if route.key != NULL else <uint32_t>ROUTE_NONE


cdef int routes_grow(Routes* routes) noexcept nogil:
    cdef Route* old = routes.entries
    cdef uint32_t old_mask = routes.mask
    cdef uint32_t index
    cdef Route* larger = <Route*>calloc((<size_t>old_mask + 1) * 2, sizeof(Route))
    if larger == NULL:
        return -1
    routes.entries = larger
    routes.mask = old_mask * 2 + 1
    for index in range(old_mask + 1):
        if old[index].key != NULL:
            route_seek(routes, old[index].hash, old[index].key, old[index].key_bytes)[0] = old[index]
    free(old)
    return 0


cdef int routes_add(Routes* routes, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil:
    cdef Route* route
    cdef uint64_t hash = key_hash(routes.seed, key, key_bytes)
    if routes.count * 2 > routes.mask and routes_grow(routes) != 0:
        return -1
    route = route_seek(routes, hash, key, key_bytes)
    route.hash = hash
    route.key = key
    route.key_bytes = key_bytes
    route.slot = slot
    routes.count += 1
    return 0


cdef void routes_remove(Routes* routes, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil:
    cdef Route* route = route_seek(routes, key_hash(routes.seed, key, key_bytes), key, key_bytes)
    cdef uint32_t hole
    cdef uint32_t index
    cdef uint32_t home
    if route.key == NULL or route.slot != slot:
        return
    hole = <uint32_t>(route - routes.entries)
    index = hole
    while True:
        index = (index + 1) & routes.mask
        if routes.entries[index].key == NULL:
            break
        home = <uint32_t>routes.entries[index].hash & routes.mask
        if ((index - home) & routes.mask) >= ((index - hole) & routes.mask):
            routes.entries[hole] = routes.entries[index]
            hole = index
    routes.entries[hole].key = NULL
    routes.count -= 1


cdef class RoutesProbe:
    """A routing table by itself, from bytes to slots."""

    cdef Routes routes
    cdef dict keys

    def __cinit__(self, seed=1):
        self.keys = {}
        if routes_open(&self.routes, seed) != 0:
            raise MemoryError

    def __dealloc__(self):
        routes_close(&self.routes)

    def add(self, bytes key, slot):
        """Routes `key`, which must be new, to `slot`."""
        self.keys[key] = key
        if routes_add(&self.routes, <const uint8_t*><const char*>key, len(key), slot) != 0:
            raise MemoryError

    def remove(self, bytes key, slot):
        """Forgets `key`, if it leads to `slot`."""
        routes_remove(&self.routes, <const uint8_t*><const char*>key, len(key), slot)

    def find(self, bytes key):
        """The slot behind `key`, or None."""
        cdef uint32_t slot = routes_find(&self.routes, <const uint8_t*><const char*>key, len(key))
        return None if slot == <uint32_t>ROUTE_NONE else slot

    def home(self, bytes key):
        """Where the search for `key` begins, in a table of the present size."""
        return key_hash(self.routes.seed, <const uint8_t*><const char*>key, len(key)) & self.routes.mask

    def __len__(self):
        return self.routes.count
