"""Routes: routing id → connection slot, for the way back.

Open addressing over a power of two, linear probing, deletion by shifting back (no tombstones). Keys are hashed
with a seed of the process: clients choose their ids, and must not be able to choose collisions.
Keys are borrowed: the connection owns its routing id and leaves the table before it is freed.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    ROUTE_NONE = 0xFFFFFFFF

cdef struct Route:
    uint64_t hash
    const uint8_t* key          # borrowed; NULL = free
    uint32_t slot
    uint8_t key_bytes

cdef struct Routes:             # owns `entries`
    Route* entries
    uint32_t mask               # capacity - 1
    uint32_t count
    uint64_t seed

# 0, or -1: no memory.
cdef int routes_open(Routes* routes, uint64_t seed) noexcept nogil
cdef void routes_close(Routes* routes) noexcept nogil

# The slot behind `key`, or ROUTE_NONE.
cdef uint32_t routes_find(const Routes* routes, const uint8_t* key, uint8_t key_bytes) noexcept nogil

# Adds a key that is not there yet. 0, or -1: no memory.
cdef int routes_add(Routes* routes, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil

# Removes `key`, if it leads to `slot`.
cdef void routes_remove(Routes* routes, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil
