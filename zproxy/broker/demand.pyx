"""Demand: what nodes want; see demand.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zproxy.broker.budget cimport BUDGET_NODE, BUDGET_NONE, BUDGET_SERVICE, Budget, budget_exceeded
from zproxy.broker.deadline cimport deadline_arm
from zproxy.broker.dispatch cimport dispatch_address, dispatch_arrival, dispatch_finds_nobody
from zproxy.broker.gate cimport gate_denies, gate_limits, gate_size_fault, gate_spend
from zproxy.broker.index cimport INDEX_NONE, index_find
from zproxy.broker.ledger cimport (
    ledger_abandon, ledger_accept, ledger_arm, ledger_free, ledger_keep, ledger_order, ledger_queue,
    ledger_retain, ledger_settle, ledger_unkeep, ledger_unwait, ledger_wait
)
from zproxy.broker.peer cimport Peer
from zproxy.broker.recall cimport recall_answer, recall_code
from zproxy.broker.request cimport (
    REQUEST_AWAITED, REQUEST_BEHIND, REQUEST_ENDING, REQUEST_LEASED, REQUEST_RESTING, REQUEST_WAITING, Request,
    lease_extend, request_is_nobodys
)
from zproxy.broker.rest cimport rest_fail
from zproxy.broker.retry cimport MISHAP_SILENT, retry_elsewhere, retry_is_possible, retry_resume
from zproxy.broker.sentence cimport sentence_begin, sentence_name, sentence_number, sentence_words
from zproxy.broker.service cimport (
    Service, service_find, service_has_worker, service_is_guarded, service_obtain, service_settle, service_was_offered
)
from zproxy.broker.speech cimport say_malformed, say_outcome, say_refusal
from zproxy.broker.state cimport take_in_hand
from zproxy.broker.stream cimport STREAMS_MAX, stream_resume
from zproxy.broker.verdict cimport REQUEST_NONE, VERDICT_KEEP, VERDICT_PASS, verdict_spend
from zproxy.counters cimport (
    MANAGED_CANCELLED, MANAGED_DROPPED_CANCELS, MANAGED_DROPPED_CHUNKS, MANAGED_EXPIRED, MANAGED_EXPIRED_NO_WORKER,
    MANAGED_EXPIRED_UNKNOWN_SERVICE, MANAGED_FAILED, MANAGED_JOINED, MANAGED_LEASES_EXPIRED, MANAGED_REFUSED_BUSY,
    MANAGED_REFUSED_DRAINING, MANAGED_REFUSED_NEED_HELLO, MANAGED_REFUSED_NOT_SHARED, MANAGED_REFUSED_OUTCOME_UNKNOWN,
    MANAGED_REFUSED_OVERLOAD, MANAGED_REFUSED_TOO_LARGE, counter_add
)
from zproxy.envelope cimport (
    BUSY, CANCELLED, DRAINING, NEED_HELLO, NO_WORKER, NOT_IDEMPOTENT, NOT_SHARED, OUTCOME_UNKNOWN, POST,
    RESENT, SHARED, TIMEOUT, TOO_LARGE, UNKNOWN_SERVICE, Code, EnvelopeView
)


cdef void demand_need_hello(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    sentence_begin(&broker.sentence, b"this was not said in the present conversation: say HELLO, then send it again")
    say_refusal(broker, node, NEED_HELLO, MANAGED_REFUSED_NEED_HELLO, envelope, verdict)


cdef void say_busy(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    sentence_begin(&broker.sentence, b"zproxy has no memory for another request; try again later")
    say_refusal(broker, node, BUSY, MANAGED_REFUSED_BUSY, envelope, verdict)
    envelope.head.remaining_ms = broker.limits.retry_after_ms


# ---- arrival ----


# A duplicate of what is open: one outcome, by the nearer deadline.
cdef void demand_join(Broker* broker, uint32_t slot, const EnvelopeView* envelope) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    cdef int64_t deadline_ms = broker.now_ms + envelope.head.remaining_ms
    counter_add(broker.counters, MANAGED_JOINED, 1)
    if request.state == <int>REQUEST_ENDING or deadline_ms >= request.deadline_ms:
        return
    request.deadline_ms = deadline_ms
    if broker.deadlines.alarms[slot].due_ms > deadline_ms:
        deadline_arm(&broker.deadlines, slot, deadline_ms, broker.now_ms)


# What its node was asked for.
cdef void demand_resume(
    Broker* broker, uint32_t slot, uint64_t message_bytes, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    request.deadline_ms = min(request.deadline_ms, broker.now_ms + envelope.head.remaining_ms)
    request.message_bytes = message_bytes
    ledger_unwait(broker, slot)
    take_in_hand(broker, slot)
    demand_route(broker, slot, envelope, verdict)
    ledger_arm(broker, slot)    # its deadline may be nearer now


# Sent before, to somebody zproxy does not remember: may it have run, and not run twice?
cdef bint is_outcome_unknown(
    const Broker* broker, const Service* service, const EnvelopeView* envelope
) noexcept nogil:
    if not envelope.head.flags & <int>RESENT:
        return False
    if envelope.head.flags & <int>NOT_IDEMPOTENT:
        return True
    if service == NULL:
        return broker.services.any.is_guarded
    return service_is_guarded(&broker.services, service)


cdef void say_unknown(Broker* broker, const uint8_t* service, uint8_t service_bytes) noexcept nogil:
    sentence_begin(&broker.sentence, b"it may have run before, and may not run twice: ask service ")
    sentence_name(&broker.sentence, service, service_bytes)
    sentence_words(&broker.sentence, b" what became of it")


# Says why a new request for the service (NULL: nobody knows it yet) is not accepted; or False: it may be.
cdef bint demand_refuse(
    Broker* broker, Peer* node, Service* service, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    if gate_denies(broker, node, service, envelope, verdict):
        return True
    if envelope.head.stream > <uint64_t>STREAMS_MAX or envelope.head.stream and envelope.head.kind == <int>POST:
        say_malformed(broker, node, b"it has more than 64 streams, or is a POST with streams", envelope, verdict)
        return True
    if envelope.head.flags & <int>SHARED:
        sentence_begin(&broker.sentence, b"this version of zproxy shares no memory: send it with frames")
        say_refusal(broker, node, NOT_SHARED, MANAGED_REFUSED_NOT_SHARED, envelope, verdict)
        return True
    if is_outcome_unknown(broker, service, envelope):
        say_unknown(broker, envelope.service, envelope.head.service_bytes)
        say_refusal(broker, node, OUTCOME_UNKNOWN, MANAGED_REFUSED_OUTCOME_UNKNOWN, envelope, verdict)
        return True
    if broker.is_draining:
        sentence_begin(&broker.sentence, b"zproxy stops and takes nothing new; connect elsewhere, or later")
        say_refusal(broker, node, DRAINING, MANAGED_REFUSED_DRAINING, envelope, verdict)
        return True
    return gate_limits(broker, node, envelope, message_bytes, verdict)


# Which budget is spent, composed as the sentence.
cdef void overload_fault(Broker* broker, const Peer* node, const Service* service, Budget budget) noexcept nogil:
    if budget == BUDGET_SERVICE:
        sentence_begin(&broker.sentence, b"service ")
        sentence_name(&broker.sentence, service.name, service.name_bytes)
        sentence_words(&broker.sentence, b" has requests of ")
        sentence_number(&broker.sentence, service.queued_bytes)
        sentence_words(&broker.sentence, b" bytes waiting, which is its limit (--service-memory): start more of its")
        sentence_words(&broker.sentence, b" workers, or try again later")
    elif budget == BUDGET_NODE:
        sentence_begin(&broker.sentence, b"this node has requests of ")
        sentence_number(&broker.sentence, node.queued_bytes)
        sentence_words(&broker.sentence, b" bytes waiting, which is its limit (half of --connection-memory): ask for")
        sentence_words(&broker.sentence, b" less at once, or try again later")
    else:
        sentence_begin(&broker.sentence, b"requests of ")
        sentence_number(&broker.sentence, broker.queued_bytes)
        sentence_words(&broker.sentence, b" bytes wait in all, which is the limit (half of --memory): start more")
        sentence_words(&broker.sentence, b" workers, or try again later")


# It would have to wait, and a budget is spent: answers BUSY.
cdef bint demand_is_too_much(
    Broker* broker, Peer* node, Service* service, EnvelopeView* envelope, uint64_t message_bytes,
    Verdict* verdict
) noexcept nogil:
    cdef Budget budget = budget_exceeded(&broker.limits, node, service, broker.queued_bytes, message_bytes)
    if budget == BUDGET_NONE or not dispatch_finds_nobody(broker, service, &envelope.head):
        return False
    overload_fault(broker, node, service, budget)
    say_refusal(broker, node, BUSY, MANAGED_REFUSED_OVERLOAD, envelope, verdict)
    envelope.head.remaining_ms = broker.limits.retry_after_ms
    return True


# Nobody can take it now: it is kept, at its node's charge.
cdef void demand_keep(Broker* broker, uint32_t slot, Verdict* verdict) noexcept nogil:
    ledger_queue(broker, slot)
    verdict.kind = VERDICT_KEEP
    verdict.is_charged = True
    verdict.payload = broker.requests.table[slot].payload


# To the worker that takes it, kept for another delivery, or into the queue.
cdef void demand_route(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Peer* worker = dispatch_arrival(broker, slot)
    cdef const Request* request = &broker.requests.table[slot]
    if worker == NULL:
        ledger_wait(broker, slot)
        demand_keep(broker, slot, verdict)
        return
    dispatch_address(broker, slot, envelope)
    verdict.kind = VERDICT_PASS
    verdict.peer = worker.slot
    if retry_is_possible(request) and ledger_retain(broker, slot):
        ledger_keep(broker, slot)
        verdict.payload = request.payload


cdef void demand_take(
    Broker* broker, Peer* node, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil:
    cdef uint32_t slot = index_find(&broker.open, node.number, envelope.head.sequence)
    cdef Service* service
    if slot != <uint32_t>INDEX_NONE:
        slot = stream_resume(broker, slot)
    if slot != <uint32_t>INDEX_NONE and broker.requests.table[slot].state == <int>REQUEST_AWAITED:
        demand_resume(broker, slot, message_bytes, envelope, verdict)
        return
    if slot != <uint32_t>INDEX_NONE:
        demand_join(broker, slot, envelope)
        return
    if envelope.head.flags & <int>RESENT and recall_answer(broker, node, envelope, verdict):
        return
    service = service_find(&broker.services, envelope.service, envelope.head.service_bytes)
    if demand_refuse(broker, node, service, envelope, message_bytes, verdict):
        return
    if service == NULL:
        service = service_obtain(&broker.services, envelope.service, envelope.head.service_bytes)
    if service == NULL:
        say_busy(broker, node, envelope, verdict)
        return
    if demand_is_too_much(broker, node, service, envelope, message_bytes, verdict):
        service_settle(&broker.services, service)
        return
    slot = ledger_accept(broker, node, service, &envelope.head, message_bytes)
    if slot == <uint32_t>REQUEST_NONE:
        service_settle(&broker.services, service)
        say_busy(broker, node, envelope, verdict)
        return
    gate_spend(broker, node, message_bytes)
    take_in_hand(broker, slot)
    if broker.requests.table[slot].is_ordered and not ledger_order(broker, slot):
        demand_keep(broker, slot, verdict)
        return
    demand_route(broker, slot, envelope, verdict)


cdef void demand_unkept(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef uint32_t slot = broker.in_hand
    ledger_unwait(broker, slot)
    ledger_unkeep(broker, slot)
    ledger_settle(broker, slot, MANAGED_FAILED)
    sentence_begin(&broker.sentence, b"zproxy has no memory to keep another request; try again later")
    say_outcome(broker, &broker.requests.table[slot], BUSY, envelope, verdict)
    envelope.head.remaining_ms = broker.limits.retry_after_ms
    ledger_free(broker, slot)


# ---- the end, but by an answer ----


# Settled as `counter` while nobody had it: its node, if there is one, is told `code`; its payload is needed no more.
cdef void waiting_over(
    Broker* broker, uint32_t slot, uint16_t code, int counter, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if request.is_listed:
        say_outcome(broker, request, code, envelope, verdict)
    ledger_unwait(broker, slot)
    verdict_spend(verdict, ledger_unkeep(broker, slot))
    recall_code(broker, request, code, verdict)
    ledger_settle(broker, slot, counter)
    ledger_free(broker, slot)


cdef void demand_doubt(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef const Service* service = broker.requests.table[slot].service
    say_unknown(broker, service.name, service.name_bytes)
    waiting_over(broker, slot, OUTCOME_UNKNOWN, MANAGED_FAILED, envelope, verdict)


# Settled as `counter` while a worker had it, and keeps the place. The node of a post hears no more of it, but where it
# is asked for (`is_asked`).
cdef bint lease_over(
    Broker* broker, uint32_t slot, uint16_t code, int counter, bint is_asked, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    cdef bint is_told = is_asked or request.kind != <int>POST
    if is_told:
        say_outcome(broker, request, code, envelope, verdict)
    verdict_spend(verdict, ledger_unkeep(broker, slot))
    recall_code(broker, request, code, verdict)
    ledger_settle(broker, slot, counter)
    ledger_abandon(broker, slot)
    return is_told


cdef void demand_cancel(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef uint32_t slot = index_find(&broker.open, node.number, envelope.head.sequence)
    cdef Request* request
    if slot == <uint32_t>INDEX_NONE or broker.requests.table[slot].state == <int>REQUEST_ENDING:
        counter_add(broker.counters, MANAGED_DROPPED_CANCELS, 1)
        return
    request = &broker.requests.table[slot]
    sentence_begin(&broker.sentence, b"cancelled, as its node has asked")
    if request_is_nobodys(request):
        waiting_over(broker, slot, CANCELLED, MANAGED_CANCELLED, envelope, verdict)
    else:
        lease_over(broker, slot, CANCELLED, MANAGED_CANCELLED, True, envelope, verdict)


cdef void demand_cut(
    Broker* broker, Peer* node, uint64_t message_bytes, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef uint32_t slot = index_find(&broker.open, node.number, envelope.head.sequence)
    if slot == <uint32_t>INDEX_NONE or broker.requests.table[slot].state != <int>REQUEST_LEASED:
        counter_add(broker.counters, MANAGED_DROPPED_CHUNKS, 1)
        return
    counter_add(broker.counters, MANAGED_REFUSED_TOO_LARGE, 1)
    gate_size_fault(broker, node, message_bytes)
    lease_over(broker, slot, TOO_LARGE, MANAGED_FAILED, True, envelope, verdict)


# Why it was not delivered again, composed as the sentence.
cdef Code between_fault(Broker* broker, const Request* request) noexcept nogil:
    sentence_begin(&broker.sentence, b"delivered ")
    sentence_number(&broker.sentence, request.attempt)
    sentence_words(&broker.sentence, b" times, without an answer, for service ")
    sentence_name(&broker.sentence, request.service.name, request.service.name_bytes)
    if request.state == <int>REQUEST_AWAITED:
        sentence_words(&broker.sentence, b"; zproxy had not kept it, and its node did not send it again in time")
    else:
        sentence_words(&broker.sentence, b"; its time was over before the next delivery: give it more")
    return TIMEOUT


# Why nobody has taken it, composed as the sentence.
cdef Code waiting_fault(Broker* broker, const Request* request) noexcept nogil:
    cdef const Service* service = request.service
    cdef const Peer* home = NULL
    cdef Code code = TIMEOUT
    if request.state == <int>REQUEST_RESTING or request.state == <int>REQUEST_AWAITED:
        return between_fault(broker, request)
    if request.state == <int>REQUEST_WAITING:
        home = broker.waiting.lanes[request.lane].lanes.worker
    if home != NULL:
        sentence_begin(&broker.sentence, b"worker ")
        sentence_name(&broker.sentence, home.name, home.name_bytes)
        sentence_words(&broker.sentence, b" was busy or paused, which alone has its key, for service ")
    elif request.state == <int>REQUEST_BEHIND and service_has_worker(&broker.services, service):
        sentence_begin(&broker.sentence, b"an earlier ordered request of its key was not over, for service ")
    elif service_has_worker(&broker.services, service):
        sentence_begin(&broker.sentence, b"all workers were busy or paused that offer service ")
    elif service_was_offered(&broker.services, service):
        code = NO_WORKER
        counter_add(broker.counters, MANAGED_EXPIRED_NO_WORKER, 1)
        sentence_begin(&broker.sentence, b"no worker is there any more that offers service ")
    else:
        code = UNKNOWN_SERVICE
        counter_add(broker.counters, MANAGED_EXPIRED_UNKNOWN_SERVICE, 1)
        sentence_begin(&broker.sentence, b"no worker has ever offered service ")
    sentence_name(&broker.sentence, service.name, service.name_bytes)
    sentence_words(&broker.sentence, b"; the request has waited ")
    sentence_number(&broker.sentence, <uint64_t>max(broker.now_ms - request.came_ms, <int64_t>0))
    sentence_words(&broker.sentence, b" ms: start a worker for it" if code != TIMEOUT else b" ms: start more of them")
    sentence_words(&broker.sentence, b", or give it more time" if code != UNKNOWN_SERVICE else b", or check the name")
    return code


cdef void lease_fault(Broker* broker, const Request* request) noexcept nogil:
    sentence_begin(&broker.sentence, b"worker ")
    sentence_name(&broker.sentence, request.worker.name, request.worker.name_bytes)
    sentence_words(&broker.sentence, b" had it, for service ")
    sentence_name(&broker.sentence, request.service.name, request.service.name_bytes)
    sentence_words(&broker.sentence, b", and did not answer within ")
    sentence_number(&broker.sentence, <uint64_t>max(request.deadline_ms - request.came_ms, <int64_t>0))
    sentence_words(&broker.sentence, b" ms: give it more time, or look what the worker does")


# Its worker has given no sign for too long. Without memory it is looked at again after another such time.
cdef void lease_revoke(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request
    if not retry_elsewhere(broker, slot, MISHAP_SILENT):
        request = &broker.requests.table[slot]
        lease_extend(request, broker.now_ms)
        ledger_arm(broker, slot)
        return
    counter_add(broker.counters, MANAGED_LEASES_EXPIRED, 1)
    rest_fail(broker, broker.requests.table[slot].worker, broker.requests.table[slot].since_ms)


# The alarm came before the deadline. Is that no reason to end it?
cdef bint may_go_on(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if request.state == <int>REQUEST_RESTING:
        retry_resume(broker, slot)
        return True
    if request.state == <int>REQUEST_LEASED and broker.now_ms >= request.lease_due_ms:
        if request.kind == <int>POST:
            return False
        lease_revoke(broker, slot)
        return True
    if request.state == <int>REQUEST_LEASED or service_has_worker(&broker.services, request.service):
        ledger_arm(broker, slot)
        return True
    return False


cdef bint demand_expire(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if broker.now_ms < request.deadline_ms and may_go_on(broker, slot):
        return False
    if request_is_nobodys(request):
        waiting_over(broker, slot, waiting_fault(broker, request), MANAGED_EXPIRED, envelope, verdict)
        return True
    lease_fault(broker, request)
    return lease_over(broker, slot, TIMEOUT, MANAGED_EXPIRED, False, envelope, verdict)


cdef bint demand_abort(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    sentence_begin(&broker.sentence, b"zproxy has stopped before there was an answer; connect elsewhere, or later")
    if request_is_nobodys(request):
        waiting_over(broker, slot, DRAINING, MANAGED_FAILED, envelope, verdict)
        return True
    if request.state == <int>REQUEST_LEASED:
        return lease_over(broker, slot, DRAINING, MANAGED_FAILED, False, envelope, verdict)
    return False
