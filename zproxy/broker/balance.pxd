"""Balance: which worker takes the next message.

The usable ones sit in a ring, so that a pick never looks at one that cannot take anything:

             turn ▼
    ─► [A] ─► [B] ─► [C] ─► [D] ─┐        resting: [E] [F]
     └───────────────────────────┘

Rule 1. A pick moves `turn` on by one.
Rule 2. Who can take something (again) sits down right behind the last of the round: nobody who waited is passed
        over, whoever comes, pauses and goes. (Swapping in one array, cheaper by a pointer, passed over the idle
        while workers of large messages, busy for a moment after each, had two in a row.)

Pure: slots in, slot out. Knows no connection; the turn tells it who can take something.
"""

from libc.stdint cimport uint32_t

cdef enum:
    WORKER_NONE = 0xFFFFFFFF
    WORKER_RESTING = 0xFFFFFFFE

cdef struct Seat:               # one for each slot
    uint32_t before
    uint32_t after              # WORKER_NONE = not a worker; WORKER_RESTING = not in the ring

cdef struct Balance:            # owns `seats`; zeroed means empty
    Seat* seats
    uint32_t capacity           # in slots
    uint32_t count              # workers
    uint32_t usable_count       # of them in the ring
    uint32_t turn               # whose turn it is; meaningless in an empty ring

cdef void balance_close(Balance* balance) noexcept nogil

# A worker appears, usable. 0, or -1: no memory.
cdef int balance_add(Balance* balance, uint32_t slot) noexcept nogil

# It is gone. No-op for a slot that is no worker.
cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil

# It can take messages (again), or cannot for now. No-op for a slot that is no worker.
cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil


# Round robin over the usable workers; WORKER_NONE when there is none.
cdef inline uint32_t balance_pick(Balance* balance) noexcept nogil:
    cdef uint32_t slot = balance.turn
    if balance.usable_count == 0:
        return <uint32_t>WORKER_NONE
    balance.turn = balance.seats[slot].after
    return slot
