"""Outcome: what workers say about their leases; see outcome.pxd for the contract."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from zproxy.broker.dispatch cimport dispatch_back, worker_freed
from zproxy.broker.ledger cimport (
    ledger_end, ledger_free, ledger_settle, ledger_uncount, ledger_undeliver, ledger_unkeep, ledger_unlease
)
from zproxy.broker.peer cimport Peer, peer_at, peer_is_there
from zproxy.broker.recall cimport recall_outcome, recall_undo
from zproxy.broker.request cimport REQUEST_ABANDONED, Request, lease_extend, lease_find
from zproxy.broker.rest cimport rest_forgive
from zproxy.broker.retry cimport MISHAP_FAILED, MISHAP_RETURNED, retry_refusal, retry_take
from zproxy.broker.sentence cimport sentence_begin, sentence_words
from zproxy.broker.speech cimport say_error
from zproxy.broker.stream cimport stream_is_torn
from zproxy.broker.verdict cimport REQUEST_NONE, VERDICT_DROP, VERDICT_KEEP, verdict_spend
from zproxy.counters cimport (
    MANAGED_DELIVERED, MANAGED_DROPPED_PROGRESS, MANAGED_FAILED, MANAGED_LATE, MANAGED_RETURNED, counter_add
)
from zproxy.envelope cimport (
    BUSY, CANCELLED, CODE_YOURS, ERROR, HANDLER_ERROR, MALFORMED, OUTCOME_UNKNOWN, POST, PROGRESS, RESEND,
    RETRIES_EXHAUSTED, TOO_LARGE, EnvelopeView, Head
)


# The codes a worker may send below the application's own.
cdef inline bint is_workers_code(uint16_t code) noexcept nogil:
    return (
        code >= <int>CODE_YOURS or code == <int>HANDLER_ERROR or code == <int>MALFORMED or code == <int>TOO_LARGE
        or code == <int>BUSY or code == <int>CANCELLED
    )


# Goes on in spite of its worker's ERROR? BUSY: the worker has not begun, so no attempt was made. A handler's error that
# spends an attempt spends the last one as RETRIES_EXHAUSTED, with its own content.
cdef bint error_forgive(Broker* broker, uint32_t slot, Head* head) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    cdef uint16_t refusal
    if head.code == <int>BUSY:
        counter_add(broker.counters, MANAGED_RETURNED, 1)
        ledger_uncount(broker, slot)
        retry_take(broker, slot, MISHAP_RETURNED, head.remaining_ms or broker.limits.retry_after_ms)
        return True
    if head.code != <int>HANDLER_ERROR or not request.retries_errors or request.is_guarded:
        return False
    refusal = retry_refusal(request, MISHAP_FAILED)
    if refusal == 0:
        retry_take(broker, slot, MISHAP_FAILED, 0)
        return True
    head.code = RETRIES_EXHAUSTED
    return False


# The end of a post is nobody's business but the counters'; its node may still have to hear that it was accepted.
cdef void post_over(Broker* broker, uint32_t slot, int counter) noexcept nogil:
    if broker.requests.table[slot].has_errand:
        ledger_end(broker, slot, 0, counter)
        return
    ledger_settle(broker, slot, counter)
    ledger_free(broker, slot)


# Its node is not there: kept for it, or as if it had never been delivered.
cdef void outcome_store(Broker* broker, Verdict* verdict) noexcept nogil:
    ledger_undeliver(broker, broker.passed.counter, broker.passed.service)
    if broker.passed.is_kept:
        verdict.kind = VERDICT_KEEP
        return
    recall_undo(broker)
    verdict.kind = VERDICT_DROP


# It was passed, and does not reach its node: that one is asked to send the request again.
cdef void outcome_fail(Broker* broker, const char* reason, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Peer* node = peer_at(&broker.peers, verdict.peer)
    cdef uint16_t attempt = envelope.head.attempt
    cdef bint may_ask_again = broker.passed.is_kept or not broker.passed.is_guarded
    if not broker.passed.is_again:
        ledger_undeliver(broker, broker.passed.counter, broker.passed.service)
    if not broker.passed.is_kept:
        recall_undo(broker)
    sentence_begin(&broker.sentence, reason)
    sentence_words(&broker.sentence, b": send it again" if may_ask_again else b", and it may not run twice")
    say_error(
        broker, node, RESEND if may_ask_again else OUTCOME_UNKNOWN, envelope.head.incarnation, envelope.head.sequence,
        envelope, verdict
    )
    envelope.head.attempt = attempt


# To its node, unless it goes on.
cdef void request_over(
    Broker* broker, uint32_t slot, const Peer* worker, EnvelopeView* envelope, uint64_t message_bytes,
    Verdict* verdict
) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    cdef Head* head = &envelope.head
    cdef bint is_error = head.kind == <int>ERROR
    if is_error and not is_workers_code(head.code):
        head.code = <int>HANDLER_ERROR
    if is_error and error_forgive(broker, slot, head):
        return
    dispatch_back(request, worker, envelope, verdict)
    broker.passed.counter = MANAGED_FAILED if is_error else MANAGED_DELIVERED
    broker.passed.service = request.service.number
    broker.passed.is_guarded = request.is_guarded
    broker.passed.is_again = False
    broker.passed.is_kept = recall_outcome(broker, request, message_bytes, head.stream == 0, verdict)
    verdict_spend(verdict, ledger_unkeep(broker, slot))
    ledger_settle(broker, slot, broker.passed.counter)
    if not peer_is_there(request.node):
        outcome_store(broker, verdict)
    elif head.stream and stream_is_torn(request):
        outcome_fail(broker, b"this node has missed a part of the answer", envelope, verdict)
    ledger_free(broker, slot)


cdef void late_over(Broker* broker, uint32_t slot, Verdict* verdict) noexcept nogil:
    counter_add(broker.counters, MANAGED_LATE, 1)
    verdict_spend(verdict, ledger_unkeep(broker, slot))
    ledger_free(broker, slot)


cdef inline void answer_take(
    Broker* broker, uint32_t slot, const Peer* worker, EnvelopeView* envelope, uint64_t message_bytes,
    Verdict* verdict
) noexcept nogil:
    if broker.requests.table[slot].kind == <int>POST:
        post_over(broker, slot, MANAGED_FAILED if envelope.head.kind == <int>ERROR else MANAGED_DELIVERED)
    else:
        request_over(broker, slot, worker, envelope, message_bytes, verdict)


cdef void outcome_take(
    Broker* broker, Peer* worker, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = lease_find(&broker.requests, worker, head.lease, head.incarnation, head.sequence)
    if slot == <uint32_t>REQUEST_NONE:
        counter_add(broker.counters, MANAGED_LATE, 1)
        return
    ledger_unlease(broker, slot)
    if broker.requests.table[slot].state == <int>REQUEST_ABANDONED:
        late_over(broker, slot, verdict)
    else:
        rest_forgive(worker)
        answer_take(broker, slot, worker, envelope, message_bytes, verdict)
    worker_freed(broker, worker)


cdef void outcome_progress(Broker* broker, Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = lease_find(&broker.requests, worker, head.lease, head.incarnation, head.sequence)
    cdef Request* request
    if slot == <uint32_t>REQUEST_NONE or broker.requests.table[slot].state == <int>REQUEST_ABANDONED:
        counter_add(broker.counters, MANAGED_LATE, 1)
        return
    request = &broker.requests.table[slot]
    lease_extend(request, broker.now_ms)
    if not request.wants_progress or not peer_is_there(request.node) or request.kind == <int>POST:
        counter_add(broker.counters, MANAGED_DROPPED_PROGRESS, 1)
        return
    dispatch_back(request, worker, envelope, verdict)


cdef void outcome_undelivered(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    verdict.kind = VERDICT_DROP     # what is spent stays to be dropped
    if envelope.head.kind == <int>PROGRESS:
        counter_add(broker.counters, MANAGED_DROPPED_PROGRESS, 1)
    else:
        outcome_fail(broker, b"this node had too much unread to take the answer", envelope, verdict)
