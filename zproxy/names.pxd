"""Names: bytes that peers chose → slot: routing ids to connections on their way back, the broker's peers and services.

Open addressing over a power of two, linear probing, deletion by shifting back (no tombstones). Keys are hashed
with a seed of the process: peers choose their names, and must not be able to choose collisions.
Keys are borrowed: who is named owns the bytes, and leaves the table before they are freed. Sees neither relay/ nor
broker/, which have a table each.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NAME_NONE = 0xFFFFFFFF

cdef struct NameEntry:
    uint64_t hash
    const uint8_t* key          # borrowed; NULL = free
    uint32_t slot               # whatever it means to the owner
    uint8_t key_bytes

cdef struct Names:              # owns `entries`
    NameEntry* entries
    uint32_t mask               # capacity - 1
    uint32_t count
    uint64_t seed

# 0, or -1: no memory.
cdef int names_open(Names* names, uint64_t seed) noexcept nogil
cdef void names_close(Names* names) noexcept nogil

# The slot behind `key`, or NAME_NONE.
cdef uint32_t names_find(const Names* names, const uint8_t* key, uint8_t key_bytes) noexcept nogil

# Adds a key that is not there yet. 0, or -1: no memory.
cdef int names_add(Names* names, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil

# Removes `key`, if it leads to `slot`.
cdef void names_remove(Names* names, const uint8_t* key, uint8_t key_bytes, uint32_t slot) noexcept nogil
