"""Ledger: a request's steps, booked everywhere at once; see ledger.pxd for the contract."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from zproxy.broker.deadline cimport deadline_arm, deadline_disarm, deadlines_reserve
from zproxy.broker.index cimport index_add, index_remove, index_reserve
from zproxy.broker.peer cimport Peer, peer_release
from zproxy.broker.request cimport (
    LINK_NODE, LINK_TURN, LINK_WORKER, REQUEST_ABANDONED, REQUEST_ENDING, REQUEST_LEASED, REQUEST_SPENT,
    REQUEST_WAITING, Request, queue_append, queue_remove, request_enter, request_give, request_take, requests_reserve
)
from zproxy.broker.service cimport service_has_worker, service_is_guarded, service_settle
from zproxy.broker.verdict cimport REQUEST_NONE
from zproxy.broker.waiting cimport waiting_push, waiting_remove, waiting_reserve
from zproxy.counters cimport MANAGED_ACCEPTED, MANAGED_DELIVERIES, counter_add
from zproxy.envelope cimport NOT_IDEMPOTENT, RESENT, WANTS_ACCEPTED, WANTS_PROGRESS, Head


cdef inline Request* request_at(Broker* broker, uint32_t slot) noexcept nogil:
    return &broker.requests.table[slot]


# A request for a service that nobody offers may have to end before its deadline.
cdef inline int64_t alarm_ms(const Broker* broker, const Request* request) noexcept nogil:
    if broker.limits.no_worker_wait_ms == 0 or service_has_worker(&broker.services, request.service):
        return request.deadline_ms
    return min(request.deadline_ms, request.came_ms + broker.limits.no_worker_wait_ms)


cdef void request_describe(Request* request, const Head* head) noexcept nogil:
    request.sequence = head.sequence
    request.kind = head.kind
    request.priority = head.priority
    request.key_hash = head.key_hash
    request.wants_progress = (head.flags & <int>WANTS_PROGRESS) != 0
    request.wants_accepted = (head.flags & <int>WANTS_ACCEPTED) != 0
    request.is_guarded = (head.flags & <int>NOT_IDEMPOTENT) != 0
    request.was_resent = (head.flags & <int>RESENT) != 0


cdef inline int ledger_reserve(Broker* broker) noexcept nogil:
    if requests_reserve(&broker.requests) != 0 or waiting_reserve(&broker.waiting) != 0:
        return -1
    if index_reserve(&broker.open) != 0:
        return -1
    return deadlines_reserve(&broker.deadlines, broker.requests.capacity)


cdef uint32_t ledger_accept(
    Broker* broker, Peer* node, Service* service, const Head* head, uint64_t message_bytes, int64_t now_ms
) noexcept nogil:
    cdef uint32_t slot
    cdef Request* request
    if ledger_reserve(broker) != 0:
        return REQUEST_NONE
    slot = request_take(&broker.requests)
    index_add(&broker.open, node.number, head.sequence, slot)
    request = request_at(broker, slot)
    request_describe(request, head)
    request.node = node
    request.service = service
    request.message_bytes = message_bytes
    request.came_ms = now_ms
    request.deadline_ms = now_ms + head.remaining_ms
    request.is_listed = True
    queue_append(&broker.requests, &node.requests, LINK_NODE, slot)
    node.references += 1
    service.references += 1
    deadline_arm(&broker.deadlines, slot, alarm_ms(broker, request), now_ms)
    counter_add(broker.counters, MANAGED_ACCEPTED, 1)
    broker.live += 1
    return slot


cdef void ledger_wait(Broker* broker, uint32_t slot) noexcept nogil:
    request_enter(request_at(broker, slot), REQUEST_WAITING)
    waiting_push(&broker.waiting, &broker.requests, &broker.services, slot)


cdef void ledger_unwait(Broker* broker, uint32_t slot) noexcept nogil:
    waiting_remove(&broker.waiting, &broker.requests, &broker.services, slot)


cdef void ledger_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    request_enter(request, REQUEST_LEASED)
    request.generation += 1
    if request.generation == 0:
        request.generation = 1      # no lease is 0
    request.worker = worker
    request.attempt += 1
    request.is_guarded |= service_is_guarded(&broker.services, request.service)
    queue_append(&broker.requests, &worker.requests, LINK_WORKER, slot)
    worker.in_flight_bytes += request.message_bytes
    worker.references += 1
    counter_add(broker.counters, MANAGED_DELIVERIES, 1)


cdef void ledger_unlease(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Peer* worker = request_at(broker, slot).worker
    queue_remove(&broker.requests, &worker.requests, LINK_WORKER, slot)
    worker.in_flight_bytes -= request_at(broker, slot).message_bytes
    worker.settled += 1


cdef void ledger_unlist(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    if not request.is_listed:
        return
    request.is_listed = False
    index_remove(&broker.open, request.node.number, request.sequence)
    queue_remove(&broker.requests, &request.node.requests, LINK_NODE, slot)


cdef void ledger_settle(Broker* broker, uint32_t slot, int counter) noexcept nogil:
    counter_add(broker.counters, counter, 1)
    broker.live -= 1
    request_at(broker, slot).node.settled += 1
    ledger_unlist(broker, slot)
    deadline_disarm(&broker.deadlines, slot)


cdef void ledger_free(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Request* request = request_at(broker, slot)
    errand_drop(broker, slot)
    peer_release(&broker.peers, request.node)
    if request.worker != NULL:
        peer_release(&broker.peers, request.worker)
    request.service.references -= 1
    service_settle(&broker.services, request.service)
    request_give(&broker.requests, slot)


cdef void ledger_abandon(Broker* broker, uint32_t slot) noexcept nogil:
    request_enter(request_at(broker, slot), REQUEST_ABANDONED)
    errand_add(broker, slot)


cdef void ledger_spend(Broker* broker, uint32_t slot) noexcept nogil:
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
