"""Dispatch: to whom a request goes, and what waits; see dispatch.pxd for the contract."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zproxy.broker.chain cimport chain_is_held
from zproxy.broker.homes cimport homes_settle
from zproxy.broker.lanes cimport Lanes
from zproxy.broker.ledger cimport errand_add, ledger_lease, ledger_unwait, ledger_wait
from zproxy.broker.peer cimport ROW_ABLE, ROW_GOODBYE, Peer, peer_is_able, row_enter, row_leave
from zproxy.broker.policy cimport Candidate, policy_home
from zproxy.broker.request cimport Request, lease_of
from zproxy.broker.service cimport (
    Service, service_is_guarded, service_lanes, service_of_turn, service_pick, service_source, service_taken
)
from zproxy.broker.verdict cimport REQUEST_NONE, VERDICT_PASS
from zproxy.broker.waiting cimport waiting_next
from zproxy.envelope cimport ORDERED, POST, EnvelopeView, Head


cdef void request_lease(Broker* broker, uint32_t slot, Peer* worker) noexcept nogil:
    cdef Request* request = &broker.requests.table[slot]
    ledger_lease(broker, slot, worker)
    if request.is_listed and (request.streams or request.kind == <int>POST and request.wants_accepted):
        errand_add(broker, slot)


cdef Peer* dispatch_arrival(Broker* broker, uint32_t slot) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    cdef Peer* worker = NULL
    if request.service.lanes.waiting == 0:
        worker = service_pick(&broker.services, request.service, request.key_hash, request.worker)
    if worker != NULL:
        request_lease(broker, slot, worker)
    return worker


cdef bint dispatch_finds_nobody(Broker* broker, Service* service, const Head* head) noexcept nogil:
    cdef const Service* source = service_source(&broker.services, service)
    cdef const Candidate* home
    cdef uint32_t place
    if service.lanes.waiting:
        return True
    if head.flags & <int>ORDERED and chain_is_held(&broker.chains, service.number, head.key_hash):
        return True
    if service.policy.has_homes and head.key_hash:
        home = policy_home(&source.candidates, head.key_hash, NULL)
        return home == NULL or home.lanes.waiting != 0 or not peer_is_able(home.worker)
    for place in range(source.candidates.count):
        if peer_is_able(source.candidates.table[place].worker):
            return False
    return True


# Where others wait already, rule 1 has seen to those who could take something.
cdef void dispatch_again(Broker* broker, uint32_t slot) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    cdef Service* source = service_source(&broker.services, request.service)
    cdef uint64_t waited = service_lanes(&broker.services, request.service, request.key_hash).waiting
    cdef uint32_t place
    ledger_wait(broker, slot)
    if waited:
        return
    for place in range(source.candidates.count):
        worker_changed(broker, source.candidates.table[place].worker)


# Where the first in the row finds something that is able and does; the others leave it.
cdef Lanes* able_next(Broker* broker) noexcept nogil:
    cdef Peer* worker
    cdef Lanes* lanes
    while broker.able.first != NULL:
        worker = broker.able.first
        lanes = service_of_turn(&broker.services, worker) if peer_is_able(worker) else NULL
        if lanes != NULL:
            return lanes
        row_leave(&broker.able, worker, ROW_ABLE)
    return NULL


# Who takes a request that any of its service's workers may: the first in the row, whose turn it was, or a better one.
cdef Peer* taker_of(Broker* broker, const Request* request) noexcept nogil:
    cdef Peer* worker = broker.able.first
    cdef Peer* better = NULL
    if broker.able.last != worker:      # alone in the row it is the only one who could: no need to look at all
        better = service_pick(&broker.services, request.service, request.key_hash, request.worker)
    if better != NULL:
        return better
    service_taken(&broker.services, worker)
    return worker


cdef uint32_t dispatch_next(Broker* broker) noexcept nogil:
    cdef Lanes* lanes = able_next(broker)
    cdef Peer* worker
    cdef const Request* request
    cdef uint32_t slot
    if lanes == NULL:
        return REQUEST_NONE
    slot = waiting_next(&broker.waiting, lanes)
    request = &broker.requests.table[slot]
    worker = lanes.worker if lanes.worker != NULL else taker_of(broker, request)
    if request.was_resent and service_is_guarded(&broker.services, request.service):
        return slot                     # when it came nobody knew that its service may not run it twice
    ledger_unwait(broker, slot)
    request_lease(broker, slot, worker)
    return slot


cdef void dispatch_address(Broker* broker, uint32_t slot, EnvelopeView* envelope) noexcept nogil:
    cdef const Request* request = &broker.requests.table[slot]
    envelope.head.lease = lease_of(request, slot)
    envelope.head.attempt = request.attempt
    envelope.head.remaining_ms = <uint32_t>max(request.deadline_ms - broker.now_ms, <int64_t>1)
    envelope.head.conversation = request.worker.conversation
    envelope.head.name_bytes = request.node.name_bytes
    envelope.name = request.node.name


cdef void dispatch_back(
    const Request* request, const Peer* worker, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    envelope.head.lease = 0
    envelope.head.attempt = request.attempt
    envelope.head.conversation = request.node.conversation
    envelope.head.name_bytes = worker.name_bytes
    envelope.name = worker.name
    verdict.kind = VERDICT_PASS
    verdict.peer = request.node.slot


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
    homes_settle(broker)
    if broker.services.unnamed == NULL:
        return
    for place in range(any_service.candidates.count):
        worker_changed(broker, any_service.candidates.table[place].worker)
