"""Verdict: the words between the broker and the fast path, and what is fixed when the relay starts.

Written by the broker's rooms, read by the fast path, which does what they say. Plain numbers: a peer is the slot of its
connection, a request the slot under which the caller keeps its payload.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    PEER_NONE = 0xFFFFFFFF
    REQUEST_NONE = 0xFFFFFFFF

cdef enum Role:
    ROLE_NODE                   # on a frontend
    ROLE_WORKER                 # on a backend
    ROLE_COUNT

cdef enum VerdictKind:
    VERDICT_DROP                # nothing is sent; the message in hand is done with (the broker counted why)
    VERDICT_PASS                # the message in hand goes to `peer`, `envelope` in place of its own
    VERDICT_KEEP                # the message in hand is kept, with its own envelope, as the payload of `request`
    VERDICT_SAY                 # `envelope` alone, and `content`, goes to `peer`; the message in hand is done with
    VERDICT_SEND                # (broker_step) the payload of `request` goes to `peer`; first broker_address

cdef enum Content:              # frame 1 of what the broker says
    CONTENT_NONE
    CONTENT_WELCOME
    CONTENT_ACCEPTED

cdef struct Verdict:
    VerdictKind kind
    uint32_t peer               # to whom, a connection's slot
    uint32_t request            # KEEP, SEND: whose payload; after SEND it is needed no more
    Content content             # SAY
    uint32_t spent              # a request whose payload is needed no more, beside all this; or REQUEST_NONE
    uint32_t closing            # a peer to be closed once this is said; or PEER_NONE

cdef struct Limits:             # fixed when the relay starts
    int64_t no_worker_wait_ms   # how long a request waits for a first worker; 0 = until its deadline
    uint32_t retry_after_ms     # remaining_ms of NAME_IN_USE and BUSY
    uint32_t policy             # by number, of services that are not given one
    const uint8_t* policies     # of those that are, as policies_pack makes them; NULL: none
    size_t policies_bytes


# Nothing is sent: where every verdict begins.
cdef inline void verdict_clear(Verdict* verdict) noexcept nogil:
    verdict.kind = VERDICT_DROP
    verdict.peer = PEER_NONE
    verdict.request = REQUEST_NONE
    verdict.content = CONTENT_NONE
    verdict.spent = REQUEST_NONE
    verdict.closing = PEER_NONE
