"""Payload: messages kept for requests, by numbers.

Called by the fast path only, which is told the numbers. What waits is charged to the connection it came by, if that
lives so long; what a worker has, kept for another delivery, to nobody: whoever gives the numbers has budgets for that.

Small ones lie packed behind each other in shared blocks, without a slice: between being kept and being dropped nobody
looks at most of them, and by then each line of memory that has to be touched is one that no cache has.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.relay.block cimport Block, Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef extern from *:
    void __builtin_prefetch(const void* address) noexcept nogil

cdef enum:
    RECORD_BYTES = 512          # what a kept message costs beside its bytes, so that small ones are not free

cdef enum Stay:                 # each packed apart, for one that stays keeps its whole block
    STAY_BRIEF                  # for a message that is answered soon
    STAY_LONG                   # for one that may be asked for again
    STAY_COUNT

cdef struct Payload:            # a whole message, in one of two ways; zeroed: none is kept
    Block* block                # packed with others: `length` bytes of it from `offset` on, and one reference
    uint32_t offset
    uint32_t length
    uint64_t owner              # tag of the connection it is charged to; 0: nobody's
    Message chain               # or in slices of its own

cdef struct Payloads:           # owns all of it; zeroed means empty
    Payload* entries
    uint32_t capacity
    Block* packing[STAY_COUNT]  # small messages are being packed into these

# Keeps `message`, which is empty afterwards; `owner` NULL: nobody's charge. 0, or -1: no memory (the message is still
# the caller's).
cdef int payload_keep(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Message* message
) noexcept nogil

# Keeps a copy of `head` and `body` behind each other. 0, or -1: no memory.
cdef int payload_copy(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Stay stay, const uint8_t* head, size_t head_bytes,
    const uint8_t* body, size_t body_bytes
) noexcept nogil

# A second message of the kept one's bytes, which are shared: nobody may change them. The kept one stays, and is charged
# to nobody from now on. 0, or -1: no memory.
cdef int payload_share(Payloads* payloads, Hub* hub, uint32_t number, Message* message) noexcept nogil

# `heir` is the connection of the same peer come back, whose tag was `elder`, and which may be gone: what was charged to
# that one is charged to this from now on.
cdef void payloads_inherit(Payloads* payloads, Hub* hub, uint64_t elder, Connection* heir) noexcept nogil

# It is needed no more. No-op where none is kept.
cdef void payload_drop(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil

cdef void payloads_close(Payloads* payloads, Hub* hub) noexcept nogil


# It will be dropped soon: what is done until then hides that its entry has to come from far away.
cdef inline void payload_fetch(const Payloads* payloads, uint32_t number) noexcept nogil:
    __builtin_prefetch(&payloads.entries[number])
