"""Outcome: what workers say about their leases; see outcome.pxd for the contract."""

from libc.stdint cimport uint16_t, uint32_t

from zproxy.broker.dispatch cimport worker_freed
from zproxy.broker.ledger cimport ledger_end, ledger_free, ledger_settle, ledger_unlease
from zproxy.broker.peer cimport Peer, peer_at
from zproxy.broker.request cimport REQUEST_ABANDONED, Request, lease_find
from zproxy.broker.sentence cimport sentence_begin
from zproxy.broker.speech cimport say_error
from zproxy.broker.verdict cimport REQUEST_NONE, VERDICT_PASS, verdict_clear
from zproxy.counters cimport (
    MANAGED_DELIVERED, MANAGED_DROPPED_PROGRESS, MANAGED_FAILED, MANAGED_LATE, MANAGED_UNDELIVERED, counter_add
)
from zproxy.envelope cimport (
    BUSY, CANCELLED, CODE_YOURS, ERROR, HANDLER_ERROR, MALFORMED, OUTCOME_UNKNOWN, POST, PROGRESS, RESEND, TOO_LARGE,
    EnvelopeView, Head
)


# The codes a worker may send below the application's own.
cdef inline bint is_workers_code(uint16_t code) noexcept nogil:
    return (
        code >= <int>CODE_YOURS or code == <int>HANDLER_ERROR or code == <int>MALFORMED or code == <int>TOO_LARGE
        or code == <int>BUSY or code == <int>CANCELLED
    )


# A worker's message about a request becomes its node's.
cdef void outcome_pass(
    const Request* request, const Peer* worker, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    envelope.head.lease = 0
    envelope.head.attempt = request.attempt
    envelope.head.conversation = request.node.conversation
    envelope.head.name_bytes = worker.name_bytes
    envelope.name = worker.name
    verdict.kind = VERDICT_PASS
    verdict.peer = request.node.slot


# BUSY: the worker has not begun, so no attempt was made.
cdef void error_correct(Broker* broker, Head* head) noexcept nogil:
    if not is_workers_code(head.code):
        head.code = <int>HANDLER_ERROR
    if head.code == <int>BUSY:
        head.attempt = 0
        head.remaining_ms = head.remaining_ms or broker.limits.retry_after_ms


# The end of a post is nobody's business but the counters'; its node may still have to hear that it was accepted.
cdef void post_over(Broker* broker, uint32_t slot, int counter) noexcept nogil:
    if broker.requests.table[slot].has_errand:
        ledger_end(broker, slot, 0, counter)
        return
    ledger_settle(broker, slot, counter)
    ledger_free(broker, slot)


cdef void outcome_take(Broker* broker, Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = lease_find(&broker.requests, worker, head.lease, head.incarnation, head.sequence)
    cdef int counter = MANAGED_FAILED if head.kind == <int>ERROR else MANAGED_DELIVERED
    cdef Request* request
    if slot == <uint32_t>REQUEST_NONE:
        counter_add(broker.counters, MANAGED_LATE, 1)
        return
    request = &broker.requests.table[slot]
    ledger_unlease(broker, slot)
    if request.state == <int>REQUEST_ABANDONED:
        counter_add(broker.counters, MANAGED_LATE, 1)
        ledger_free(broker, slot)
    elif request.kind == <int>POST:
        post_over(broker, slot, counter)
    else:
        outcome_pass(request, worker, envelope, verdict)
        if head.kind == <int>ERROR:
            error_correct(broker, head)
        broker.passed.counter = counter
        broker.passed.is_guarded = request.is_guarded
        ledger_settle(broker, slot, counter)
        ledger_free(broker, slot)
    worker_freed(broker, worker)


cdef void outcome_progress(Broker* broker, Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Head* head = &envelope.head
    cdef uint32_t slot = lease_find(&broker.requests, worker, head.lease, head.incarnation, head.sequence)
    cdef const Request* request
    if slot == <uint32_t>REQUEST_NONE or broker.requests.table[slot].state == <int>REQUEST_ABANDONED:
        counter_add(broker.counters, MANAGED_LATE, 1)
        return
    request = &broker.requests.table[slot]
    if not request.wants_progress or not request.is_listed or request.kind == <int>POST:
        counter_add(broker.counters, MANAGED_DROPPED_PROGRESS, 1)
        return
    outcome_pass(request, worker, envelope, verdict)


cdef void outcome_undelivered(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Peer* node = peer_at(&broker.peers, verdict.peer)
    cdef uint16_t attempt = envelope.head.attempt
    cdef bint may_run_twice = not broker.passed.is_guarded
    verdict_clear(verdict)
    if envelope.head.kind == <int>PROGRESS:
        counter_add(broker.counters, MANAGED_DROPPED_PROGRESS, 1)
        return
    broker.counters.values[broker.passed.counter] -= 1
    counter_add(broker.counters, MANAGED_UNDELIVERED, 1)
    if may_run_twice:
        sentence_begin(&broker.sentence, b"this node had too much unread to take the answer: read, and send it again")
    else:
        sentence_begin(&broker.sentence, b"this node had too much unread to take the answer, and it may not run twice")
    say_error(
        broker, node, RESEND if may_run_twice else OUTCOME_UNKNOWN, envelope.head.incarnation, envelope.head.sequence,
        envelope, verdict
    )
    envelope.head.attempt = attempt
