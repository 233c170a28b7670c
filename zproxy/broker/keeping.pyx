"""Keeping: numbers of kept messages, and the budgets of retention; see keeping.pxd for the contract."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from zproxy.broker.verdict cimport PAYLOAD_NONE

cdef enum:
    CAPACITY_FIRST = 64


cdef void keeping_open(Keeping* keeping) noexcept nogil:
    keeping.free = PAYLOAD_NONE


cdef void keeping_close(Keeping* keeping) noexcept nogil:
    free(keeping.after)
    keeping.after = NULL
    keeping.capacity = 0


cdef int keeping_reserve(Keeping* keeping, uint32_t count) noexcept nogil:
    cdef uint32_t capacity = max(keeping.capacity * 2, <uint32_t>CAPACITY_FIRST)
    cdef uint32_t number
    cdef uint32_t* grown
    if keeping.capacity - keeping.used >= count:
        return 0
    capacity = max(capacity, keeping.used + count)
    grown = <uint32_t*>realloc(keeping.after, capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    for number in range(keeping.capacity, capacity):
        grown[number] = number + 1
    grown[capacity - 1] = keeping.free
    keeping.free = keeping.capacity
    keeping.after = grown
    keeping.capacity = capacity
    return 0


cdef uint32_t keeping_take(Keeping* keeping) noexcept nogil:
    cdef uint32_t number = keeping.free
    keeping.free = keeping.after[number]
    keeping.used += 1
    return number


cdef void keeping_give(Keeping* keeping, uint32_t number) noexcept nogil:
    keeping.after[number] = keeping.free
    keeping.free = number
    keeping.used -= 1


cdef bint keeping_retain(Keeping* keeping, const Limits* limits, Peer* node, uint64_t count) noexcept nogil:
    if keeping.retained_bytes + count > limits.retain_bytes:
        return False
    if node.retained_bytes + count > limits.retain_node_bytes:
        return False
    keeping.retained_bytes += count
    node.retained_bytes += count
    return True


cdef void keeping_release(Keeping* keeping, Peer* node, uint64_t count) noexcept nogil:
    keeping.retained_bytes -= count
    node.retained_bytes -= count
