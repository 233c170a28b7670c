"""Stream: CHUNK and WINDOW on their way; see stream.pxd for the contract."""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.broker.dispatch cimport dispatch_back
from zproxy.broker.index cimport INDEX_NONE, index_find
from zproxy.broker.ledger cimport errand_add
from zproxy.broker.peer cimport peer_is_there
from zproxy.broker.request cimport REQUEST_LEASED, lease_extend, lease_find, lease_of
from zproxy.broker.retry cimport MISHAP_CUT, retry_elsewhere
from zproxy.broker.verdict cimport REQUEST_NONE, ROLE_NODE, VERDICT_PASS
from zproxy.counters cimport MANAGED_CHUNKS, MANAGED_DROPPED_CHUNKS, counter_add
from zproxy.envelope cimport CHUNK, LAST, REQUEST, Head


cdef inline void chunk_drop(Broker* broker) noexcept nogil:
    counter_add(broker.counters, MANAGED_DROPPED_CHUNKS, 1)


# Of the delivery that its worker has?
cdef inline bint is_present(const Request* request, const Head* head) noexcept nogil:
    return (
        request.state == <int>REQUEST_LEASED and request.kind == <int>REQUEST and request.attempt == head.attempt
    )


# A chunk of it has come; or False: its streams were not opened in this conversation.
cdef inline bint forth_note(Request* request, const Peer* node, const Head* head) noexcept nogil:
    if request.forth_conversation != node.conversation:
        return False
    request.has_chunks = True
    request.streams_left -= request.streams_left != 0 and (head.flags & <int>LAST) != 0
    return True


cdef void stream_forth(Broker* broker, const Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = index_find(&broker.open, node.number, head.sequence)
    cdef Request* request
    if slot == <uint32_t>INDEX_NONE or not is_present(&broker.requests.table[slot], head):
        chunk_drop(broker)
        return
    request = &broker.requests.table[slot]
    if head.kind == <int>CHUNK and not forth_note(request, node, head):
        chunk_drop(broker)
        return
    head.lease = lease_of(request, slot)
    head.conversation = request.worker.conversation
    verdict.kind = VERDICT_PASS
    verdict.peer = request.worker.slot
    counter_add(broker.counters, MANAGED_CHUNKS, 1)


# A chunk of its reply passes, or cannot.
cdef inline void back_note(Request* request) noexcept nogil:
    if request.back_conversation == 0:
        request.back_conversation = request.node.conversation
    request.is_torn |= not peer_is_there(request.node) or request.back_conversation != request.node.conversation


cdef void stream_back(Broker* broker, const Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = lease_find(&broker.requests, worker, head.lease, head.incarnation, head.sequence)
    cdef Request* request
    if slot == <uint32_t>REQUEST_NONE or not is_present(&broker.requests.table[slot], head):
        chunk_drop(broker)
        return
    request = &broker.requests.table[slot]
    lease_extend(request, broker.now_ms)
    if head.kind == <int>CHUNK:
        back_note(request)
    if not peer_is_there(request.node):
        chunk_drop(broker)
        return
    dispatch_back(request, worker, envelope, verdict)
    counter_add(broker.counters, MANAGED_CHUNKS, 1)


cdef void stream_open(const Broker* broker, Request* request, EnvelopeView* envelope) noexcept nogil:
    request.forth_conversation = request.node.conversation if peer_is_there(request.node) else 0
    envelope.head.attempt = request.attempt
    envelope.head.offset = broker.limits.window_bytes


cdef uint32_t stream_resume(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    cdef Peer* node = request.node
    cdef uint64_t sequence = request.sequence
    if request.state != <int>REQUEST_LEASED or request.streams_left == 0:
        return slot
    if request.forth_conversation == node.conversation:
        return slot
    if not request.has_chunks:
        errand_add(broker, slot)        # its WINDOW went to the elder connection, or to nobody
        return slot
    retry_elsewhere(broker, slot, MISHAP_CUT)
    return index_find(&broker.open, node.number, sequence)


# A node that misses a chunk hears of it in place of the REPLY.
cdef void stream_cut(Broker* broker, const Peer* receiver, const EnvelopeView* envelope) noexcept nogil:
    cdef const Head* head = &envelope.head
    cdef uint32_t slot
    counter_add(broker.counters, MANAGED_DROPPED_CHUNKS, 1)
    broker.counters.values[<int>MANAGED_CHUNKS] -= 1
    if receiver.role == ROLE_NODE:
        slot = index_find(&broker.open, receiver.number, head.sequence)
        if slot != <uint32_t>INDEX_NONE and head.kind == <int>CHUNK:
            broker.requests.table[slot].is_torn = True
        return
    slot = lease_find(&broker.requests, receiver, head.lease, head.incarnation, head.sequence)
    if slot != <uint32_t>REQUEST_NONE and broker.requests.table[slot].state == <int>REQUEST_LEASED:
        retry_elsewhere(broker, slot, MISHAP_CUT)
