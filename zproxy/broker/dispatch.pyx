"""Dispatch: to whom a request goes, and what waits; see dispatch.pxd for the contract."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.broker.ledger cimport errand_add, ledger_lease, ledger_unwait, ledger_wait
from zproxy.broker.peer cimport ROW_ABLE, ROW_GOODBYE, Peer, peer_is_able, row_enter, row_leave
from zproxy.broker.request cimport Request, lease_of
from zproxy.broker.service cimport (
    Service, service_is_guarded, service_of_turn, service_pick, service_source, service_taken
)
from zproxy.broker.verdict cimport REQUEST_NONE
from zproxy.broker.waiting cimport waiting_next
from zproxy.envelope cimport POST, EnvelopeView


cdef void request_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    ledger_lease(broker, slot, worker)
    if request.kind == <int>POST and request.wants_accepted and request.is_listed:
        errand_add(broker, slot)


cdef Peer* dispatch_arrival(Broker* broker, uint32_t slot) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    cdef Peer* worker = NULL
    if request.service.waiting == 0:
        worker = service_pick(&broker.services, request.service, request.worker)
    if worker != NULL:
        request_lease(broker, slot, worker)
    return worker


# Where others wait already, rule 1 has seen to those who could take something.
cdef void dispatch_again(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Service* service = broker.requests.table[slot].service
    cdef Service* source = service_source(&broker.services, service)
    cdef uint64_t waited = service.waiting
    cdef uint32_t place
    ledger_wait(broker, slot)
    if waited:
        return
    for place in range(source.candidate_count):
        worker_changed(broker, source.candidates[place].worker)


# The first in the row that is able and finds a service; the others leave it.
cdef Service* able_next(Broker* broker) noexcept nogil:
    cdef Peer* worker
    cdef Service* service
    while broker.able.first != NULL:
        worker = broker.able.first
        service = service_of_turn(&broker.services, worker) if peer_is_able(worker) else NULL
        if service != NULL:
            return service
        row_leave(&broker.able, worker, ROW_ABLE)
    return NULL


cdef uint32_t dispatch_next(Broker* broker) noexcept nogil:
    cdef Service* service = able_next(broker)
    cdef Peer* worker = broker.able.first
    cdef uint32_t slot
    if service == NULL:
        return REQUEST_NONE
    slot = waiting_next(&broker.waiting, service)
    if broker.able.last == worker:      # alone in the row it is the only one who could: no need to look at all
        service_taken(&broker.services, worker)
    else:
        worker = service_pick(&broker.services, service, broker.requests.table[slot].worker)
    if broker.requests.table[slot].was_resent and service_is_guarded(&broker.services, service):
        return slot                     # when it came nobody knew that its service may not run it twice
    ledger_unwait(broker, slot)
    request_lease(broker, slot, worker)
    return slot


cdef void dispatch_address(Broker* broker, uint32_t slot, int64_t now_ms, EnvelopeView* envelope) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    envelope.head.lease = lease_of(request, slot)
    envelope.head.attempt = request.attempt
    envelope.head.remaining_ms = <uint32_t>max(request.deadline_ms - now_ms, <int64_t>1)
    envelope.head.conversation = request.worker.conversation
    envelope.head.name_bytes = request.node.name_bytes
    envelope.name = request.node.name


cdef void worker_changed(Broker* broker, Peer* worker) noexcept nogil:
    if broker.waiting.count and peer_is_able(worker):
        row_enter(&broker.able, worker, ROW_ABLE)


cdef void worker_freed(Broker* broker, Peer* worker) noexcept nogil:
    if worker.is_leaving and worker.requests.count == 0:
        row_enter(&broker.goodbyes, worker, ROW_GOODBYE)
        return
    worker_changed(broker, worker)


cdef void offers_changed(Broker* broker) noexcept nogil:
    cdef Service* any_service = broker.services.any
    cdef uint32_t place
    if broker.services.unnamed == NULL:
        return
    for place in range(any_service.candidate_count):
        worker_changed(broker, any_service.candidates[place].worker)
