"""Recall: outcomes remembered; see recall.pxd for the contract."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from zproxy.broker.keeping cimport keeping_give, keeping_reserve, keeping_take
from zproxy.broker.peer cimport ROW_FORGET, Peer, peer_release, row_enter, row_leave
from zproxy.broker.ring cimport (
    RingEntry, memory_share, ring_drain, ring_find, ring_keep, ring_remember, ring_trim, ring_unkeep
)
from zproxy.broker.sentence cimport sentence_begin
from zproxy.broker.speech cimport say_error
from zproxy.broker.verdict cimport PAYLOAD_NONE, VERDICT_SEND, verdict_spend
from zproxy.counters cimport (
    MANAGED_RECALLED, MANAGED_REFUSED_ALREADY_DONE, MANAGED_REFUSED_OUTCOME_UNKNOWN, counter_add
)
from zproxy.envelope cimport ALREADY_DONE, OUTCOME_UNKNOWN, POST, Code, EnvelopeView


# More nodes share the budget than before: who has more than a share gives some back.
cdef void shares_enforce(Broker* broker) noexcept nogil:
    cdef uint32_t number
    cdef Peer* peer
    if broker.memory.bytes < broker.memory.limit_bytes // 2:
        return
    for number in range(broker.peers.made):
        peer = broker.peers.by_number[number]
        if peer.ring.kept_bytes > memory_share(&broker.memory):
            row_enter(&broker.forgetful, peer, ROW_FORGET)


cdef void outcome_evict(Broker* broker, uint32_t payload, Verdict* verdict) noexcept nogil:
    if payload != <uint32_t>PAYLOAD_NONE:
        keeping_give(&broker.keeping, payload)
        verdict_spend(verdict, payload)


# The number is taken before the evicted one is given back: the verdict names both.
cdef bint recall_outcome(
    Broker* broker, const Request* request, uint64_t message_bytes, bint is_whole, Verdict* verdict
) noexcept nogil:
    cdef Peer* node = request.node
    cdef uint64_t owners = broker.memory.owners
    cdef uint32_t evicted
    cdef RingEntry* entry = ring_remember(&node.ring, &broker.memory, request.sequence, broker.now_ms, &evicted)
    cdef bint is_kept = False
    broker.recalled = entry
    broker.recalling = node
    if entry != NULL:
        entry.attempt = request.attempt
        is_kept = (
            is_whole and keeping_reserve(&broker.keeping, broker.requests.capacity + 1) == 0
            and ring_keep(&node.ring, &broker.memory, entry, message_bytes, &evicted)
        )
    if is_kept:
        entry.payload = keeping_take(&broker.keeping)
        verdict.payload = entry.payload
    outcome_evict(broker, evicted, verdict)
    if broker.memory.owners > owners:
        shares_enforce(broker)
    return is_kept


cdef void recall_code(Broker* broker, const Request* request, uint16_t code, Verdict* verdict) noexcept nogil:
    cdef uint32_t evicted
    cdef RingEntry* entry
    if request.kind == <int>POST:
        return
    entry = ring_remember(&request.node.ring, &broker.memory, request.sequence, broker.now_ms, &evicted)
    if entry != NULL:
        entry.code = code
        entry.attempt = request.attempt
    outcome_evict(broker, evicted, verdict)


cdef void recall_unkept(Broker* broker) noexcept nogil:
    keeping_give(&broker.keeping, broker.recalled.payload)
    ring_unkeep(&broker.recalling.ring, &broker.memory, broker.recalled)


cdef void recall_undo(Broker* broker) noexcept nogil:
    if broker.recalled != NULL:
        broker.recalled.sequence = 0


cdef void say_remembered(
    Broker* broker, Peer* node, Code code, uint16_t attempt, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    say_error(broker, node, code, envelope.head.incarnation, envelope.head.sequence, envelope, verdict)
    envelope.head.attempt = attempt


cdef bint recall_answer(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef const RingEntry* entry = ring_find(&node.ring, &broker.memory, envelope.head.sequence, broker.now_ms)
    if entry == NULL:
        if envelope.head.sequence > node.ring.forgotten:
            return False
        counter_add(broker.counters, MANAGED_REFUSED_OUTCOME_UNKNOWN, 1)
        sentence_begin(&broker.sentence, b"it may have run before; what became of it is forgotten: send a new request")
        say_remembered(broker, node, OUTCOME_UNKNOWN, 0, envelope, verdict)
        return True
    if entry.payload != <uint32_t>PAYLOAD_NONE:
        counter_add(broker.counters, MANAGED_RECALLED, 1)
        verdict.kind = VERDICT_SEND
        verdict.payload = entry.payload
        verdict.peer = node.slot
        broker.recalling = node
        broker.passed.is_again = broker.passed.is_kept = True
    elif entry.code:
        counter_add(broker.counters, MANAGED_RECALLED, 1)
        sentence_begin(&broker.sentence, b"it had ended so before it was sent again")
        say_remembered(broker, node, <Code>entry.code, entry.attempt, envelope, verdict)
    else:
        counter_add(broker.counters, MANAGED_REFUSED_ALREADY_DONE, 1)
        sentence_begin(&broker.sentence, b"it had its outcome, which is kept no longer: send a new request")
        say_remembered(broker, node, ALREADY_DONE, entry.attempt, envelope, verdict)
    return True


cdef void recall_discard(Broker* broker, Peer* node) noexcept nogil:
    if node.ring.capacity == 0 or node.is_forgetting:
        return
    node.is_forgetting = True
    node.references += 1
    row_enter(&broker.forgetful, node, ROW_FORGET)


cdef bint recall_forget(Broker* broker, Verdict* verdict) noexcept nogil:
    cdef Peer* node = broker.forgetful.first
    cdef uint32_t payload
    if node.is_forgetting:
        payload = ring_drain(&node.ring, &broker.memory)
    else:
        payload = ring_trim(&node.ring, &broker.memory)
    if payload != <uint32_t>PAYLOAD_NONE:
        outcome_evict(broker, payload, verdict)
        return True
    row_leave(&broker.forgetful, node, ROW_FORGET)
    if node.is_forgetting:
        node.is_forgetting = False
        peer_release(&broker.peers, node)
    return False
