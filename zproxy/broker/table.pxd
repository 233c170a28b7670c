"""Table: an array that doubles when it is full, for those whose entries need no more than to be there."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport realloc

cdef enum:
    TABLE_FIRST = 16


# Room for one more behind the first `count`; `table` may have moved. 0, or -1: no memory, and nothing has changed.
cdef inline int table_reserve(void** table, uint32_t* capacity, uint32_t count, size_t entry_bytes) noexcept nogil:
    cdef uint32_t larger = max(capacity[0] * 2, <uint32_t>TABLE_FIRST)
    cdef void* grown
    if count < capacity[0]:
        return 0
    grown = realloc(table[0], larger * entry_bytes)
    if grown == NULL:
        return -1
    table[0] = grown
    capacity[0] = larger
    return 0
