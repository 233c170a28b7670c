"""Homes: requests that wait for one worker move with it; see homes.pxd for the contract."""

from libc.stdint cimport uint32_t

from zproxy.broker.lanes cimport PRIORITIES, Lanes
from zproxy.broker.peer cimport ROW_ABLE, Offering, Peer, peer_is_able, row_enter
from zproxy.broker.policy cimport policy_prefers
from zproxy.broker.request cimport LINK_TURN, Request
from zproxy.broker.service cimport Service, lanes_settle, service_lanes, services_unsettle
from zproxy.broker.verdict cimport REQUEST_NONE
from zproxy.broker.waiting cimport waiting_push, waiting_remove


cdef inline const Lanes* lanes_of(const Broker* broker, const Request* request) noexcept nogil:
    return broker.waiting.lanes[request.lane].lanes


# To the lanes where it would wait if it came now.
cdef void request_move(Broker* broker, uint32_t slot) noexcept nogil:
    cdef Peer* home
    waiting_remove(&broker.waiting, &broker.requests, &broker.services, slot)
    waiting_push(&broker.waiting, &broker.requests, &broker.services, slot, False)
    home = lanes_of(broker, &broker.requests.table[slot]).worker
    if home != NULL and peer_is_able(home):
        row_enter(&broker.able, home, ROW_ABLE)


# `newcomer`: the only one who could take it from where it is; NULL: anybody could.
cdef bint is_elsewhere(Broker* broker, const Request* request, const Peer* newcomer) noexcept nogil:
    if newcomer != NULL:
        return policy_prefers(request.key_hash, newcomer, lanes_of(broker, request).worker)
    return service_lanes(&broker.services, request.service, request.key_hash) != lanes_of(broker, request)


cdef void lane_sift(Broker* broker, uint32_t number, const Peer* newcomer) noexcept nogil:
    cdef uint32_t slot = broker.waiting.lanes[number].requests.first
    cdef uint32_t after
    while slot != <uint32_t>REQUEST_NONE:
        after = broker.requests.table[slot].links[<int>LINK_TURN].after
        if is_elsewhere(broker, &broker.requests.table[slot], newcomer):
            request_move(broker, slot)
        slot = after


cdef uint32_t ring_count(const Broker* broker, uint32_t first) noexcept nogil:
    cdef uint32_t number = first
    cdef uint32_t count = 0
    while number != <uint32_t>REQUEST_NONE:
        count += 1
        number = broker.waiting.lanes[number].after
        if number == first:
            break
    return count


# A lane that empties leaves its ring; the one behind it stays there.
cdef void lanes_sift(Broker* broker, const Lanes* lanes, const Peer* newcomer) noexcept nogil:
    cdef int priority
    cdef uint32_t number
    cdef uint32_t after
    for priority in range(PRIORITIES):
        number = lanes.rings[priority]
        for _ in range(ring_count(broker, number)):
            after = broker.waiting.lanes[number].after
            lane_sift(broker, number, newcomer)
            number = after


# Of all that nobody names.
cdef void unnamed_sift(Broker* broker) noexcept nogil:
    cdef Service* service = broker.services.unnamed
    cdef Service* last
    cdef Service* after
    if service == NULL:
        return
    last = service.before
    while True:
        after = service.after
        if service.policy.has_homes:
            lanes_sift(broker, &service.lanes, NULL)
        if service == last:
            return
        service = after


cdef void others_sift(Broker* broker, Service* service, const Peer* newcomer) noexcept nogil:
    cdef uint32_t place
    cdef const Lanes* lanes
    for place in range(service.candidates.count):
        lanes = service.candidates.table[place].lanes
        if lanes.worker != newcomer:
            lanes_sift(broker, lanes, newcomer)


cdef void newcomer_settle(Broker* broker, const Lanes* lanes) noexcept nogil:
    cdef Service* service = broker.services.table[lanes.service]
    if service.candidates.count > 1:
        others_sift(broker, service, lanes.worker)
        return
    if service == broker.services.any:
        unnamed_sift(broker)
        return
    lanes_sift(broker, &service.lanes, NULL)
    others_sift(broker, broker.services.any, NULL)


cdef void homes_settle(Broker* broker) noexcept nogil:
    cdef Lanes* lanes
    cdef Lanes* gone = NULL
    while True:
        lanes = services_unsettle(&broker.services)
        if lanes == NULL:
            break
        if lanes.worker != NULL:
            newcomer_settle(broker, lanes)
            continue
        lanes_sift(broker, lanes, NULL)
        lanes.next = gone
        gone = lanes
    while gone != NULL:
        lanes = gone
        gone = lanes.next
        lanes_settle(&broker.services, lanes)


# Where it offers a service whose requests have homes.
cdef inline const Lanes* lanes_at(const Broker* broker, const Peer* worker, uint32_t number) noexcept nogil:
    cdef const Offering* offering = &worker.offerings[number]
    return broker.services.table[offering.service].candidates.table[offering.place].lanes


cdef void homes_of_close(Broker* broker, const Peer* worker) noexcept nogil:
    cdef uint32_t number
    cdef const Lanes* lanes
    for number in range(worker.offering_count):
        lanes = lanes_at(broker, worker, number)
        if lanes != NULL:
            lanes_sift(broker, lanes, NULL)


cdef void homes_of_open(Broker* broker, const Peer* worker) noexcept nogil:
    cdef uint32_t number
    cdef const Lanes* lanes
    for number in range(worker.offering_count):
        lanes = lanes_at(broker, worker, number)
        if lanes != NULL:
            newcomer_settle(broker, lanes)
