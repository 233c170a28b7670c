"""Request: what was accepted and is not over everywhere: its states, its lease, the queues it stands in.

Which states follow which: TRANSITIONS in request.pyx, drawn in docs/architecture.md. Live are BEHIND, WAITING and
LEASED, and between two deliveries RESTING and AWAITED. An ENDING one is, too: its outcome is decided, but not told yet.
An ABANDONED one has had its outcome, or goes on in another slot, and keeps its worker's place until the worker answers
or goes. A SPENT one is over but for the payload that the caller has.

A request stands in up to three queues, each with a link of its own: where its turn comes (its chain while it stands
behind, a lane while it waits, the rationed while it rests for want of a place in the retry budget, the errands when the
broker has something to do about it), its node's, its worker's. The table may move when it grows, so queues are of
slots.

Rule. `lease` is slot and generation; the generation grows with every grant, so no lease is ever given twice (within 2³²
grants of one slot).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zproxy.broker.peer cimport Peer, Queue
from zproxy.broker.service cimport Service

cdef enum RequestState:
    REQUEST_FREE
    REQUEST_BEHIND              # another of its key comes first, see chain.pxd; the caller keeps its payload
    REQUEST_WAITING             # in a lane of its service; the caller keeps its payload
    REQUEST_LEASED              # with a worker
    REQUEST_RESTING             # to be delivered again, later
    REQUEST_AWAITED             # to be delivered again once its node has sent it again
    REQUEST_ENDING              # its worker is gone or has answered, and the node is still to be told
    REQUEST_ABANDONED           # over for its node; its worker still has it
    REQUEST_SPENT               # over; the caller is still to drop its payload
    REQUEST_STATE_COUNT

cdef enum LinkKind:
    LINK_TURN                   # in a chain, in a lane, among the rationed, or in the errands
    LINK_NODE                   # in its node's
    LINK_WORKER                 # in its worker's
    LINK_COUNT

cdef struct Link:
    uint32_t before             # REQUEST_NONE = first
    uint32_t after

cdef struct Request:            # 128 bytes, measured with BrokerProbe.exchange: 120 took 5 ns longer, 144 took 10
    uint64_t sequence
    int64_t deadline_ms         # monotonic
    int64_t came_ms
    int64_t since_ms            # since when nobody has it, or a worker does
    uint64_t message_bytes
    int64_t lease_due_ms        # when the lease ends without a sign of its worker; INT64_MAX: never
    Peer* node                  # seated or gone
    Peer* worker                # who has it, or had it last; NULL: nobody ever
    Service* service
    uint64_t key_hash           # 0: no key
    Link[LINK_COUNT] links
    uint32_t generation         # of the present lease
    uint32_t lane               # while it waits
    uint32_t next_free
    uint32_t payload            # its number at the caller's; PAYLOAD_NONE: not kept
    uint32_t forth_conversation     # of the node, in which its streams were opened for this delivery; 0: not yet
    uint32_t back_conversation      # of the node when the first chunk of its reply came; 0: none has
    uint32_t lease_ms           # of the present lease; 0: it ends with the deadline only
    uint16_t attempt            # deliveries made
    uint16_t deaths             # of them, those whose worker died
    uint16_t max_attempts
    uint16_t returns            # by workers that had not begun
    uint16_t code               # ENDING: what the node is told; 0: ACCEPTED
    uint16_t outcome            # ENDING: the counter it ends in
    uint8_t state
    uint8_t kind                # REQUEST or POST
    uint8_t priority
    uint8_t wants_progress
    uint8_t wants_accepted
    uint8_t retries_errors      # a handler's error spends an attempt
    uint8_t is_guarded          # may not run twice
    uint8_t was_resent          # it may have run before, by somebody zproxy does not remember
    uint8_t is_listed           # in its node's queue and the index
    uint8_t is_queued           # its bytes are charged to the budgets of what waits, see budget.pxd
    uint8_t is_retained         # its payload is charged to the retention's budgets
    uint8_t is_unsent           # its worker's connection ended before a byte of it was written
    uint8_t is_retry            # has a place in the retry budget
    uint8_t is_rationed         # waits for one
    uint8_t has_errand
    uint8_t is_ordered          # one at a time for each key
    uint8_t holds_chain         # it is the one
    uint8_t streams             # that belong to it, see stream.pxd
    uint8_t has_chunks          # some of which have come for this delivery
    uint8_t streams_left        # of them, those whose last chunk has not come for this delivery
    uint8_t is_torn             # its node has missed a chunk of its reply

cdef struct Requests:           # owns `table`; see requests_open
    Request* table              # by slot
    uint32_t capacity
    uint32_t free               # REQUEST_NONE = none left
    uint32_t used               # of the slots, those that are not free

# Empty, from zeroed.
cdef void requests_open(Requests* requests) noexcept nogil
cdef void requests_close(Requests* requests) noexcept nogil

# Room for one more. 0, or -1: no memory. The table may have moved.
cdef int requests_reserve(Requests* requests) noexcept nogil

# A free slot, zeroed but for its generation; there is one after requests_reserve. / Free again.
cdef uint32_t request_take(Requests* requests) noexcept nogil
cdef void request_give(Requests* requests, uint32_t slot) noexcept nogil

# The only way from one state to another; aborts on a step that is not in the table.
cdef void request_enter(Request* request, RequestState state) noexcept nogil

# To the end, or the front, of a queue in which it does not stand. / Out of the one in which it stands.
cdef void queue_append(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil
cdef void queue_prepend(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil
cdef void queue_remove(Requests* requests, Queue* queue, LinkKind kind, uint32_t slot) noexcept nogil


cdef inline uint64_t lease_of(const Request* request, uint32_t slot) noexcept nogil:
    return <uint64_t>request.generation << 32 | slot


cdef inline bint request_has_worker(const Request* request) noexcept nogil:
    return request.state == <int>REQUEST_LEASED or request.state == <int>REQUEST_ABANDONED


# Its worker gives a sign: what time it has without one begins anew. The alarm looks again when it comes.
cdef inline void lease_extend(Request* request, int64_t now_ms) noexcept nogil:
    if request.lease_ms:
        request.lease_due_ms = now_ms + request.lease_ms


# Live, and with no worker?
cdef inline bint request_is_nobodys(const Request* request) noexcept nogil:
    return (
        request.state == <int>REQUEST_WAITING or request.state == <int>REQUEST_BEHIND
        or request.state == <int>REQUEST_RESTING or request.state == <int>REQUEST_AWAITED
    )


# The slot of what `worker` holds under `lease`, live or abandoned; REQUEST_NONE: nothing.
cdef inline uint32_t lease_find(
    const Requests* requests, const Peer* worker, uint64_t lease, uint64_t incarnation, uint64_t sequence
) noexcept nogil:
    cdef uint32_t slot = <uint32_t>lease
    cdef const Request* request
    if slot >= requests.capacity:
        return 0xFFFFFFFF
    request = &requests.table[slot]
    if request.generation != <uint32_t>(lease >> 32) or not request_has_worker(request) or request.worker != worker:
        return 0xFFFFFFFF
    if request.sequence != sequence or request.node.incarnation != incarnation:
        return 0xFFFFFFFF
    return slot
