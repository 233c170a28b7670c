"""Ledger: a request's steps, booked everywhere at once; see ledger.pxd for the contract."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zproxy.broker.budget cimport budget_charge, budget_discharge
from zproxy.broker.chain cimport chain_enter, chain_leave, chain_release, chain_share, chains_reserve
from zproxy.broker.deadline cimport deadline_arm, deadline_disarm, deadlines_reserve
from zproxy.broker.index cimport index_add, index_remove, index_reserve
from zproxy.broker.keeping cimport (
    keeping_give, keeping_release, keeping_reserve, keeping_retain, keeping_take
)
from zproxy.broker.peer cimport Peer, peer_release
from zproxy.broker.request cimport (
    LINK_NODE, LINK_TURN, LINK_WORKER, REQUEST_ABANDONED, REQUEST_AWAITED, REQUEST_BEHIND, REQUEST_ENDING,
    REQUEST_LEASED, REQUEST_RESTING, REQUEST_SPENT, REQUEST_WAITING, Request, lease_extend, queue_append, queue_remove,
    request_enter, request_give, request_take, requests_reserve
)
from zproxy.broker.service cimport (
    account_accept, account_settle, account_undeliver, service_account, service_has_worker, service_is_guarded,
    service_lease_ms, service_settle
)
from zproxy.broker.verdict cimport PAYLOAD_NONE, REQUEST_NONE
from zproxy.broker.waiting cimport waiting_push, waiting_remove, waiting_reserve
from zproxy.counters cimport MANAGED_ACCEPTED, MANAGED_DELIVERIES, MANAGED_UNDELIVERED, counter_add
from zproxy.envelope cimport (
    NOT_IDEMPOTENT, ORDERED, RESENT, RETRY_ERRORS, WANTS_ACCEPTED, WANTS_PROGRESS, Head
)

cdef enum:
    ATTEMPTS = 3                # deliveries at most, where the node does not say


cdef inline Request* request_at(Broker* broker, uint32_t slot) noexcept nogil:
    return &broker.requests.table[slot]


# A request for a service that nobody offers may have to end before its deadline, and one that a worker has for long
# without a sign is taken away.
cdef inline int64_t alarm_ms(const Broker* broker, const Request* request) noexcept nogil:
    if request.state == <int>REQUEST_LEASED:
        return min(request.deadline_ms, request.lease_due_ms)
    if broker.limits.no_worker_wait_ms == 0 or service_has_worker(&broker.services, request.service):
        return request.deadline_ms
    return min(request.deadline_ms, request.since_ms + broker.limits.no_worker_wait_ms)


cdef void ledger_arm(Broker* broker, uint32_t slot) noexcept nogil:
    deadline_arm(&broker.deadlines, slot, alarm_ms(broker, request_at(broker, slot)), broker.now_ms)


cdef void request_describe(Request* request, const Head* head) noexcept nogil:
    request.sequence = head.sequence
    request.kind = head.kind
    request.priority = head.priority
    request.key_hash = head.key_hash
    request.wants_progress = (head.flags & <int>WANTS_PROGRESS) != 0
    request.wants_accepted = (head.flags & <int>WANTS_ACCEPTED) != 0
    request.retries_errors = (head.flags & <int>RETRY_ERRORS) != 0
    request.is_guarded = (head.flags & <int>NOT_IDEMPOTENT) != 0
    request.was_resent = (head.flags & <int>RESENT) != 0
    request.max_attempts = head.max_attempts or ATTEMPTS
    request.is_ordered = (head.flags & <int>ORDERED) != 0
    request.streams = <uint8_t>head.stream


cdef inline int ledger_reserve(Broker* broker) noexcept nogil:
    cdef uint32_t capacity
    if requests_reserve(&broker.requests) != 0 or index_reserve(&broker.open, broker.open.count + 1) != 0:
        return -1
    capacity = broker.requests.capacity
    if waiting_reserve(&broker.waiting, capacity) != 0 or keeping_reserve(&broker.keeping, capacity) != 0:
        return -1
    return deadlines_reserve(&broker.deadlines, broker.requests.capacity)


cdef uint32_t ledger_accept(
    Broker* broker, Peer* node, Service* service, const Head* head, uint64_t message_bytes
) noexcept nogil:
    cdef uint32_t slot
    cdef Request* request
    if ledger_reserve(broker) != 0 or head.flags & <int>ORDERED and chains_reserve(&broker.chains) != 0:
        return REQUEST_NONE
    slot = request_take(&broker.requests)
    index_add(&broker.open, node.number, head.sequence, slot)
    request = request_at(broker, slot)
    request_describe(request, head)
    request.node = node
    request.service = service
    request.message_bytes = message_bytes
    request.came_ms = request.since_ms = broker.now_ms
    request.deadline_ms = broker.now_ms + head.remaining_ms
    request.is_listed = True
    queue_append(&broker.requests, &node.requests, LINK_NODE, slot)
    node.references += 1
    service.references += 1
    ledger_arm(broker, slot)
    counter_add(broker.counters, MANAGED_ACCEPTED, 1)
    account_accept(&service.account)
    broker.live += 1
    return slot


cdef bint ledger_order(Broker* broker, uint32_t slot) noexcept nogil:
    if chain_enter(&broker.chains, &broker.requests, slot):
        return True
    request_enter(request_at(broker, slot), REQUEST_BEHIND)
    broker.between += 1
    return False


# One that rested, or that a worker had, has an alarm of other times.
cdef void ledger_wait(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    cdef bint was_leased = request.worker != NULL
    request_enter(request, REQUEST_WAITING)
    waiting_push(&broker.waiting, &broker.requests, &broker.services, slot, was_leased)
    if was_leased:
        request.since_ms = broker.now_ms
        ledger_arm(broker, slot)


cdef void ledger_unwait(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if request.state == <int>REQUEST_WAITING:
        waiting_remove(&broker.waiting, &broker.requests, &broker.services, slot)
        return
    broker.between -= 1
    request.since_ms = broker.now_ms
    if request.state == <int>REQUEST_BEHIND and not request.holds_chain:
        chain_leave(&broker.chains, &broker.requests, slot)
    if request.is_rationed:
        request.is_rationed = False
        queue_remove(&broker.requests, &broker.rationed, LINK_TURN, slot)
    errand_drop(broker, slot)


cdef void ledger_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    request_enter(request, REQUEST_LEASED)
    request.generation += 1
    if request.generation == 0:
        request.generation = 1      # no lease is 0
    if request.worker != NULL:
        peer_release(&broker.peers, request.worker)
    request.worker = worker
    request.since_ms = broker.now_ms
    request.attempt += 1
    request.streams_left = request.streams
    request.forth_conversation = request.back_conversation = 0
    request.is_torn = request.has_chunks = False
    budget_discharge(request, &broker.queued_bytes)
    request.lease_ms = service_lease_ms(&broker.services, request.service)
    request.lease_due_ms = INT64_MAX
    lease_extend(request, broker.now_ms)
    if request.lease_ms:
        ledger_arm(broker, slot)
    request.is_guarded |= service_is_guarded(&broker.services, request.service)
    queue_append(&broker.requests, &worker.requests, LINK_WORKER, slot)
    worker.in_flight_bytes += request.message_bytes
    worker.references += 1
    counter_add(broker.counters, MANAGED_DELIVERIES, 1)


cdef void ledger_uncount(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if request.streams == 0:
        request.attempt -= 1
    elif request.max_attempts < 0xFFFF:
        request.max_attempts += 1


cdef void ledger_unlease(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Peer* worker = request_at(broker, slot).worker
    queue_remove(&broker.requests, &worker.requests, LINK_WORKER, slot)
    worker.in_flight_bytes -= request_at(broker, slot).message_bytes
    worker.settled += 1


# ---- between two deliveries ----


cdef void request_enlist(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    index_add(&broker.open, request.node.number, request.sequence, slot)
    queue_append(&broker.requests, &request.node.requests, LINK_NODE, slot)
    request.is_listed = True


# The alarm and the node's places move; queue and place of the worker stay with what is left behind.
cdef uint32_t ledger_split(Broker* broker, uint32_t slot) noexcept nogil:
    cdef uint32_t heir
    cdef uint32_t generation
    cdef Request* elder
    cdef Request* request
    if ledger_reserve(broker) != 0:
        return REQUEST_NONE
    ledger_unlist(broker, slot)
    deadline_disarm(&broker.deadlines, slot)
    heir = request_take(&broker.requests)
    request = request_at(broker, heir)
    elder = request_at(broker, slot)
    generation = request.generation
    request[0] = elder[0]
    request.generation = generation
    request.lease_due_ms = INT64_MAX
    request.has_errand = False      # what was to be said is of the elder's delivery
    elder.payload = PAYLOAD_NONE
    elder.is_retained = elder.is_retry = False
    request.node.references += 1
    request.worker.references += 1
    request.service.references += 1
    request_enlist(broker, heir)
    if request.holds_chain:
        chain_share(&broker.chains, &broker.requests, heir)
    return heir


cdef void ledger_rest(Broker* broker, uint32_t slot, int64_t until_ms) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    request_enter(request, REQUEST_RESTING)
    broker.between += 1
    deadline_arm(&broker.deadlines, slot, min(request.deadline_ms, until_ms), broker.now_ms)


cdef void ledger_ration(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    ledger_rest(broker, slot, request.deadline_ms)
    request.is_rationed = True
    queue_append(&broker.requests, &broker.rationed, LINK_TURN, slot)


cdef void ledger_await(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    request_enter(request, REQUEST_AWAITED)
    broker.between += 1
    deadline_arm(&broker.deadlines, slot, request.deadline_ms, broker.now_ms)
    errand_add(broker, slot)


cdef void ledger_admit_retry(Broker* broker, uint32_t slot) noexcept nogil:
    request_at(broker, slot).is_retry = True
    broker.retrying += 1


# ---- its payload ----


cdef void ledger_keep(Broker* broker, uint32_t slot) noexcept nogil:
    request_at(broker, slot).payload = keeping_take(&broker.keeping)


cdef void ledger_queue(Broker* broker, uint32_t slot) noexcept nogil:
    ledger_keep(broker, slot)
    budget_charge(request_at(broker, slot), &broker.queued_bytes)


cdef bint ledger_retain(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if not request.is_retained:
        request.is_retained = keeping_retain(
            &broker.keeping, &broker.limits, request.node, request.message_bytes
        )
    return request.is_retained


cdef uint32_t ledger_unkeep(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    cdef uint32_t payload = request.payload
    if payload == <uint32_t>PAYLOAD_NONE:
        return payload
    budget_discharge(request, &broker.queued_bytes)
    if request.is_retained:
        request.is_retained = False
        keeping_release(&broker.keeping, request.node, request.message_bytes)
    request.payload = PAYLOAD_NONE
    keeping_give(&broker.keeping, payload)
    return payload


# ---- the end ----


cdef void ledger_unlist(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if not request.is_listed:
        return
    request.is_listed = False
    index_remove(&broker.open, request.node.number, request.sequence)
    queue_remove(&broker.requests, &request.node.requests, LINK_NODE, slot)


cdef void ledger_settle(Broker* broker, uint32_t slot, int counter) noexcept nogil:
    counter_add(broker.counters, counter, 1)
    account_settle(&request_at(broker, slot).service.account, counter)
    broker.live -= 1
    request_at(broker, slot).node.settled += 1
    if request_at(broker, slot).is_retry:
        request_at(broker, slot).is_retry = False
        broker.retrying -= 1
    ledger_unlist(broker, slot)
    deadline_disarm(&broker.deadlines, slot)


cdef void ledger_undeliver(Broker* broker, int counter, uint32_t service) noexcept nogil:
    broker.counters.values[counter] -= 1
    counter_add(broker.counters, MANAGED_UNDELIVERED, 1)
    account_undeliver(service_account(&broker.services, service), counter)


# Who stood behind it is the first now.
cdef void chain_pass(Broker* broker, uint32_t slot) noexcept nogil:
    cdef uint32_t heir = chain_release(&broker.chains, &broker.requests, slot)
    if heir != <uint32_t>REQUEST_NONE:
        errand_add(broker, heir)


cdef void ledger_free(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    errand_drop(broker, slot)
    if request.holds_chain:
        chain_pass(broker, slot)
    peer_release(&broker.peers, request.node)
    if request.worker != NULL:
        peer_release(&broker.peers, request.worker)
    request.service.references -= 1
    service_settle(&broker.services, request.service)
    request_give(&broker.requests, slot)


cdef void ledger_abandon(Broker* broker, uint32_t slot) noexcept nogil:
    request_enter(request_at(broker, slot), REQUEST_ABANDONED)
    errand_add(broker, slot)


cdef void ledger_drop(Broker* broker, uint32_t slot) noexcept nogil:
    if request_at(broker, slot).payload == <uint32_t>PAYLOAD_NONE:
        ledger_free(broker, slot)
        return
    request_enter(request_at(broker, slot), REQUEST_SPENT)
    errand_add(broker, slot)


cdef void ledger_end(Broker* broker, uint32_t slot, int code, int counter) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    request_enter(request, REQUEST_ENDING)
    request.code = <uint16_t>code
    request.outcome = <uint16_t>counter
    deadline_disarm(&broker.deadlines, slot)
    errand_add(broker, slot)


cdef void errand_add(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if request.has_errand:
        return
    request.has_errand = True
    queue_append(&broker.requests, &broker.errands, LINK_TURN, slot)


cdef void errand_drop(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if not request.has_errand:
        return
    request.has_errand = False
    queue_remove(&broker.requests, &broker.errands, LINK_TURN, slot)
