"""Balance: which worker takes the next message.

The usable ones stand at the front of one array, so that a pick never looks at one that cannot take anything
(the idea of libzmq's lb.cpp):

    order:  [ usable … | resting … ]        place[slot] = index in order
             0     usable_count   count

Pure: slots in, slot out. Knows no connection; the turn tells it who can take something.
"""

from libc.stdint cimport uint32_t

cdef enum:
    WORKER_NONE = 0xFFFFFFFF

cdef struct Balance:            # owns both arrays
    uint32_t* order
    uint32_t* place             # by slot; WORKER_NONE = not a worker
    uint32_t capacity           # of both, in slots
    uint32_t count
    uint32_t usable_count
    uint32_t turn               # whose turn it is, among the usable

cdef void balance_close(Balance* balance) noexcept nogil

# A worker appears, usable. 0, or -1: no memory.
cdef int balance_add(Balance* balance, uint32_t slot) noexcept nogil

# It is gone. No-op for a slot that is no worker.
cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil

# It can take messages (again), or cannot for now. No-op for a slot that is no worker.
cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil


# Round robin over the usable workers; WORKER_NONE when there is none.
cdef inline uint32_t balance_pick(Balance* balance) noexcept nogil:
    cdef uint32_t index = balance.turn
    if balance.usable_count == 0:
        return <uint32_t>WORKER_NONE
    if index >= balance.usable_count:
        index = 0
    balance.turn = index + 1
    return balance.order[index]
