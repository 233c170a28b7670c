"""Balance: which plain worker takes the next message.

The usable ones sit in a ring, so that a pick never looks at one that cannot take anything:

             turn ▼
    ─► [A] ─► [B] ─► [C] ─► [D] ─┐        resting: [E] [F]
     └───────────────────────────┘

Of some it is known how many requests they still have to answer: a REP answers each exactly once. They are counted, and
the usable ones among them sit in one ring more, with their equals:

    rings   0 ─► [B] ─► [D] ─┐      1: nobody      2 ─► [C] ─┐       `least`: none below it has anybody
             └───────────────┘                      └────────┘

Rule 1. A pick moves `turn` on by one. Where it was a counted one's turn, it is the least loaded's of them all: those
        that are not counted keep the share, and the turns, that they would have in a plain ring.
Rule 2. Who can take something (again) sits down right behind the last of the round: nobody who waited is passed
        over, whoever comes, pauses and goes. (Swapping in one array, cheaper by a pointer, passed over the idle
        while workers of large messages, busy for a moment after each, had two in a row.) So do equals.

Pure: slots in, slot out. Knows no connection; the turn tells it who can take something.
"""

from libc.stdint cimport uint32_t

cdef enum:
    WORKER_NONE = 0xFFFFFFFF
    WORKER_RESTING = 0xFFFFFFFE
    LOAD_UNKNOWN = 0xFFFFFFFF
    LOADS = 256                 # whoever has as many requests or more is like the others who do; 1 KiB of rings

cdef enum RingKind:
    RING_TURN                   # of all that are usable
    RING_LOAD                   # of those with equal loads
    RING_COUNT

cdef struct Place:              # in a ring
    uint32_t before
    uint32_t after              # RING_TURN: WORKER_NONE = not a worker; WORKER_RESTING = not in the rings

cdef struct Seat:               # one for each slot
    Place[RING_COUNT] places
    uint32_t load               # requests it still has to answer; LOAD_UNKNOWN: it is not counted

cdef struct Balance:            # owns `seats`; zeroed means empty
    Seat* seats
    uint32_t capacity           # in slots
    uint32_t count              # workers
    uint32_t usable_count       # of them in the ring
    uint32_t turn               # whose turn it is; meaningless in an empty ring
    uint32_t least
    uint32_t[LOADS] rings       # whose turn it is among equals; WORKER_NONE = nobody there

cdef void balance_close(Balance* balance) noexcept nogil

# A worker appears, usable, and counted or not. 0, or -1: no memory.
cdef int balance_add(Balance* balance, uint32_t slot, bint is_counted) noexcept nogil

# It is gone. No-op for a slot that is no worker.
cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil

# It can take messages (again), or cannot for now. No-op for a slot that is no worker.
cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil

# A counted worker that is there has one more to answer. / A counted one, there or not, has answered one.
cdef void balance_load(Balance* balance, uint32_t slot) noexcept nogil
cdef void balance_unload(Balance* balance, uint32_t slot) noexcept nogil

# Of the usable counted ones, of whom there is one at least, who has the least to answer.
cdef uint32_t balance_least(Balance* balance) noexcept nogil


# Whose turn it is of the usable workers; WORKER_NONE when there is none.
cdef inline uint32_t balance_pick(Balance* balance) noexcept nogil:
    cdef uint32_t slot = balance.turn
    if balance.usable_count == 0:
        return <uint32_t>WORKER_NONE
    balance.turn = balance.seats[slot].places[<int>RING_TURN].after
    if balance.seats[slot].load == <uint32_t>LOAD_UNKNOWN:
        return slot
    return balance_least(balance)
