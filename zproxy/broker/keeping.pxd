"""Keeping: the numbers under which the caller keeps messages for the broker, and what may be kept for safety's sake.

A message that waits is kept because it must be, and the caller charges it to its node's connection. One that a worker
has is *retained*, so that it can be delivered again: within two budgets in bytes, one in all and one for each node.
Beyond them nothing is refused: should the worker die, the node is asked for it again.

Rule. A number given back may be taken again by the next event: whoever says that a payload is spent says so in the same
verdict.
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.verdict cimport Limits

cdef struct Keeping:            # owns `after`
    uint32_t* after             # by number: the next free one
    uint32_t capacity
    uint32_t free               # PAYLOAD_NONE = none left
    uint32_t used
    uint64_t retained_bytes

# Empty, from zeroed.
cdef void keeping_open(Keeping* keeping) noexcept nogil
cdef void keeping_close(Keeping* keeping) noexcept nogil

# So many numbers are free. 0, or -1: no memory. Every request may need one at any time, so whoever takes one for
# another purpose leaves as many as there are requests.
cdef int keeping_reserve(Keeping* keeping, uint32_t count) noexcept nogil

# A number; there is one after keeping_reserve. / It is free again.
cdef uint32_t keeping_take(Keeping* keeping) noexcept nogil
cdef void keeping_give(Keeping* keeping, uint32_t number) noexcept nogil

# `count` bytes of the node's are retained from now on; or False: over a budget. / Not any more.
cdef bint keeping_retain(Keeping* keeping, const Limits* limits, Peer* node, uint64_t count) noexcept nogil
cdef void keeping_release(Keeping* keeping, Peer* node, uint64_t count) noexcept nogil
