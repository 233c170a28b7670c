"""Index: (owner, number) → slot: a node's sequence to its request, a node's service to where its requests wait.

Open addressing as in zproxy/names, but over numbers: an entry is 16 bytes, and nothing is compared behind a pointer.
Numbers are chosen by peers, so the seed is secret here, too.

Rule. A pair leads to one slot: who adds has looked.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    INDEX_NONE = 0xFFFFFFFF

cdef struct IndexEntry:
    uint64_t number
    uint32_t owner
    uint32_t slot               # INDEX_NONE = free

cdef struct Index:              # owns `entries`
    IndexEntry* entries
    uint32_t mask               # capacity - 1
    uint32_t count
    uint64_t seed

# Empty. 0, or -1: no memory.
cdef int index_open(Index* index, uint64_t seed) noexcept nogil
cdef void index_close(Index* index) noexcept nogil

# The slot behind the pair, or INDEX_NONE.
cdef uint32_t index_find(const Index* index, uint32_t owner, uint64_t number) noexcept nogil

# Room for `count` pairs in all. 0, or -1: no memory.
cdef int index_reserve(Index* index, uint32_t count) noexcept nogil

# Adds a pair that is not there yet, into the room that index_reserve has made.
cdef void index_add(Index* index, uint32_t owner, uint64_t number, uint32_t slot) noexcept nogil

# Removes a pair; no-op where there is none.
cdef void index_remove(Index* index, uint32_t owner, uint64_t number) noexcept nogil
