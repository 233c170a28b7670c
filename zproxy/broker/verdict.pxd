"""Verdict: the words between the broker and the fast path, and what is fixed when the relay starts.

Written by the broker's rooms, read by the fast path, which does what they say. Plain numbers: a peer is the slot of its
connection, a payload the number under which the caller keeps a message.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    PEER_NONE = 0xFFFFFFFF
    REQUEST_NONE = 0xFFFFFFFF   # no slot of a request
    PAYLOAD_NONE = 0xFFFFFFFF

cdef enum Role:
    ROLE_NODE                   # on a frontend
    ROLE_WORKER                 # on a backend
    ROLE_COUNT

cdef enum VerdictKind:
    VERDICT_DROP                # nothing is sent; the message in hand is done with (the broker counted why)
    VERDICT_PASS                # the message in hand goes to `peer`, `envelope` in place of its own
    VERDICT_KEEP                # the message in hand is kept as `payload`: with its own envelope, where it is charged
    VERDICT_SAY                 # `envelope` alone, and `content`, goes to `peer`; the message in hand is done with
    VERDICT_SEND                # `payload` goes to `peer`, and stays; first broker_address

cdef enum Content:              # frame 1 of what the broker says
    CONTENT_NONE
    CONTENT_WELCOME
    CONTENT_ACCEPTED

cdef struct Verdict:
    VerdictKind kind
    uint32_t peer               # to whom, a connection's slot
    uint32_t payload            # KEEP, SEND; PASS: a copy of what goes out is kept so, too, or PAYLOAD_NONE
    bint is_charged             # KEEP: to the connection it came by; else it is kept as it would have gone out
    Content content             # SAY
    uint32_t[2] spent           # payloads that are needed no more once all this is done; or PAYLOAD_NONE
    uint32_t closing            # a peer to be closed once this is said; or PEER_NONE
    uint32_t challenged         # one to be asked for a sign of life, and closed if it gives none; or PEER_NONE
    uint64_t inherited          # whose charges the peer of the message in hand takes over, by its ticket; or 0

cdef struct Limits:             # fixed when the relay starts
    int64_t no_worker_wait_ms   # how long a request waits for a first worker; 0 = until its deadline
    uint32_t retry_after_ms     # remaining_ms of NAME_IN_USE and BUSY
    uint64_t window_bytes       # how much of a stream may be sent before the first WINDOW of its receiver
    uint64_t queue_bytes        # of requests that nobody has: in all
    uint64_t queue_node_bytes   # of one node's
    uint64_t queue_service_bytes    # of one service's
    uint64_t retain_bytes       # of requests with workers, kept for another delivery: in all
    uint64_t retain_node_bytes  # of one node's
    uint64_t dedup_bytes        # outcomes remembered, for requests that are sent again; 0 = none
    int64_t dedup_ms            # for so long
    int64_t absence_ms          # how long a node may be away before what it has open is cancelled
    uint32_t policy             # by number, of services that are not given one
    const uint8_t* policies     # of those that are, as policies_pack makes them; NULL: none
    size_t policies_bytes


# Nothing is sent: where every verdict begins.
cdef inline void verdict_clear(Verdict* verdict) noexcept nogil:
    verdict.kind = VERDICT_DROP
    verdict.peer = PEER_NONE
    verdict.payload = PAYLOAD_NONE
    verdict.is_charged = False
    verdict.content = CONTENT_NONE
    verdict.spent[0] = verdict.spent[1] = PAYLOAD_NONE
    verdict.closing = PEER_NONE
    verdict.challenged = PEER_NONE
    verdict.inherited = 0


# Where spent[0] is taken already, the caller has one more.
cdef inline void verdict_spend(Verdict* verdict, uint32_t payload) noexcept nogil:
    verdict.spent[verdict.spent[0] != <uint32_t>PAYLOAD_NONE] = payload
