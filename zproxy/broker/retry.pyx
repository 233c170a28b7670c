"""Retry: what becomes of a request whose delivery came to nothing; see retry.pxd for the contract."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from zproxy.broker.dispatch cimport dispatch_again
from zproxy.broker.ledger cimport (
    errand_drop, ledger_abandon, ledger_admit_retry, ledger_await, ledger_end, ledger_ration, ledger_rest,
    ledger_split, ledger_unwait
)
from zproxy.broker.random cimport random_next
from zproxy.broker.service cimport service_source
from zproxy.broker.verdict cimport PAYLOAD_NONE, REQUEST_NONE
from zproxy.counters cimport MANAGED_FAILED, MANAGED_RATIONED, MANAGED_REDELIVERED, MANAGED_RESEND, counter_add
from zproxy.envelope cimport OUTCOME_UNKNOWN, POISON, POST, RETRIES_EXHAUSTED, WORKER_LOST

cdef enum:
    PAUSE_MS = 100              # before the second redelivery, doubled for each one after; half of it is chance
    PAUSE_MS_MAX = 5000
    RETRIES_MIN = 3             # of the budget: a few must always do
    RETRIES_DIVISOR = 5         # a fifth of the live requests


cdef bint retry_is_possible(const Request* request) noexcept nogil:
    return request.kind != <int>POST and not request.is_guarded and request.attempt < request.max_attempts


cdef uint16_t retry_refusal(const Request* request, Mishap mishap) noexcept nogil:
    if mishap == MISHAP_RETURNED or request.is_unsent:
        return 0
    if mishap == MISHAP_CUT and request.is_guarded:
        return OUTCOME_UNKNOWN
    if request.kind == <int>POST or request.is_guarded or request.max_attempts == 1 and mishap == MISHAP_LOST:
        return WORKER_LOST
    if request.attempt < request.max_attempts:
        return 0
    return POISON if request.deaths == request.attempt else RETRIES_EXHAUSTED


cdef int64_t pause_of(Broker* broker, uint32_t times) noexcept nogil:
    cdef uint64_t pause_ms = min(<uint64_t>PAUSE_MS << min(times, <uint32_t>16), <uint64_t>PAUSE_MS_MAX)
    return <int64_t>(pause_ms // 2 + random_next(&broker.peers.random_state) % (pause_ms // 2))


cdef inline uint64_t budget_of(const Broker* broker) noexcept nogil:
    return max(<uint64_t>RETRIES_MIN, broker.live // RETRIES_DIVISOR)


# Delivered for the first time to a worker that would not begin, it goes elsewhere at once, if there is another.
cdef bint may_go_elsewhere(const Broker* broker, Request* request) noexcept nogil:
    return request.returns == 1 and service_source(&broker.services, request.service).candidates.count > 1


# To another worker; or its node is asked for it.
cdef void retry_now(Broker* broker, uint32_t slot) noexcept nogil:
    if broker.requests.table[slot].payload != <uint32_t>PAYLOAD_NONE:
        dispatch_again(broker, slot)
        return
    counter_add(broker.counters, MANAGED_RESEND, 1)
    ledger_await(broker, slot)


cdef void retry_returned(Broker* broker, uint32_t slot, uint32_t pause_ms) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    request.returns += request.returns < 0xFFFF
    if may_go_elsewhere(broker, request):
        retry_now(broker, slot)
        return
    ledger_rest(broker, slot, broker.now_ms + max(<int64_t>pause_ms, pause_of(broker, request.returns - 1)))


cdef void retry_budgeted(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if not request.is_retry and broker.retrying >= budget_of(broker):
        counter_add(broker.counters, MANAGED_RATIONED, 1)
        ledger_ration(broker, slot)
        return
    if not request.is_retry:
        ledger_admit_retry(broker, slot)
    if request.attempt > 1:
        ledger_rest(broker, slot, broker.now_ms + pause_of(broker, request.attempt - 2))
        return
    retry_now(broker, slot)


cdef void retry_take(Broker* broker, uint32_t slot, Mishap mishap, uint32_t pause_ms) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    if mishap != MISHAP_RETURNED and not request.is_unsent:
        counter_add(broker.counters, MANAGED_REDELIVERED, 1)
    request.is_unsent = False
    errand_drop(broker, slot)   # a post's: it is accepted anew by who takes it
    if mishap == MISHAP_LOST or mishap == MISHAP_CUT:
        retry_now(broker, slot)
    elif mishap == MISHAP_RETURNED:
        retry_returned(broker, slot, pause_ms)
    else:
        retry_budgeted(broker, slot)


cdef bint retry_elsewhere(Broker* broker, uint32_t slot, Mishap mishap) noexcept nogil:
    cdef uint32_t heir = ledger_split(broker, slot)
    cdef uint16_t refusal
    if heir == <uint32_t>REQUEST_NONE:
        return False
    ledger_abandon(broker, slot)
    refusal = retry_refusal(&broker.requests.table[heir], mishap)
    if refusal == 0:
        retry_take(broker, heir, mishap, 0)
    else:
        ledger_end(broker, heir, refusal, MANAGED_FAILED)
    return True


cdef void retry_resume(Broker* broker, uint32_t slot) noexcept nogil:
    ledger_unwait(broker, slot)
    retry_now(broker, slot)


cdef bint retry_is_due(const Broker* broker) noexcept nogil:
    return broker.rationed.first != <uint32_t>REQUEST_NONE and broker.retrying < budget_of(broker)


cdef void retry_next(Broker* broker) noexcept nogil:
    cdef uint32_t slot = broker.rationed.first
    ledger_admit_retry(broker, slot)
    retry_resume(broker, slot)
