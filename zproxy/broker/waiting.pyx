"""Waiting: requests that nobody can take yet; see waiting.pxd for the contract."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from zproxy.broker.index cimport INDEX_NONE, index_add, index_close, index_find, index_open, index_remove, index_reserve
from zproxy.broker.lanes cimport PRIORITIES, lanes_priority
from zproxy.broker.request cimport LINK_TURN, Request, queue_append, queue_prepend, queue_remove
from zproxy.broker.service cimport service_lanes, service_sort, service_source
from zproxy.broker.verdict cimport REQUEST_NONE

cdef enum:
    CAPACITY_FIRST = 64


cdef int waiting_open(Waiting* waiting, uint64_t seed) noexcept nogil:
    waiting.free = REQUEST_NONE
    return index_open(&waiting.index, seed)


cdef void waiting_close(Waiting* waiting) noexcept nogil:
    index_close(&waiting.index)
    free(waiting.lanes)
    waiting.lanes = NULL


# ---- lanes ----


cdef int waiting_reserve(Waiting* waiting, uint32_t count) noexcept nogil:
    cdef uint32_t capacity = max(count, <uint32_t>CAPACITY_FIRST)
    cdef uint32_t number
    cdef Lane* grown
    if count <= waiting.capacity:
        return 0
    if index_reserve(&waiting.index, capacity) != 0:
        return -1
    grown = <Lane*>realloc(waiting.lanes, capacity * sizeof(Lane))
    if grown == NULL:
        return -1
    for number in range(waiting.capacity, capacity):
        grown[number].after = number + 1
    grown[capacity - 1].after = waiting.free
    waiting.free = waiting.capacity
    waiting.lanes = grown
    waiting.capacity = capacity
    return 0


# Last of the round.
cdef void ring_enter(Waiting* waiting, uint32_t* turn, uint32_t number) noexcept nogil:
    cdef Lane* lane = &waiting.lanes[number]
    if turn[0] == <uint32_t>REQUEST_NONE:
        lane.before = lane.after = turn[0] = number
        return
    lane.after = turn[0]
    lane.before = waiting.lanes[turn[0]].before
    waiting.lanes[lane.before].after = number
    waiting.lanes[lane.after].before = number


cdef void ring_leave(Waiting* waiting, uint32_t* turn, uint32_t number) noexcept nogil:
    cdef Lane* lane = &waiting.lanes[number]
    if turn[0] == number:
        turn[0] = lane.after if lane.after != number else <uint32_t>REQUEST_NONE
    waiting.lanes[lane.before].after = lane.after
    waiting.lanes[lane.after].before = lane.before


# 30 bits for the lanes' number, of which there is one a worker and service; 32 for the service's; 2 for the priority.
cdef inline uint64_t lane_key(const Request* request, const Lanes* lanes) noexcept nogil:
    return <uint64_t>lanes.number << 34 | <uint64_t>request.service.number << 2 | request.priority


# Of the request's node, lanes, service and priority; made where there is none.
cdef uint32_t lane_obtain(Waiting* waiting, const Request* request, Lanes* lanes) noexcept nogil:
    cdef uint64_t key = lane_key(request, lanes)
    cdef uint32_t number = index_find(&waiting.index, request.node.number, key)
    cdef Lane* lane
    if number != <uint32_t>INDEX_NONE:
        return number
    number = waiting.free
    index_add(&waiting.index, request.node.number, key, number)
    lane = &waiting.lanes[number]
    waiting.free = lane.after
    lane.requests.first = lane.requests.last = REQUEST_NONE
    lane.requests.count = 0
    lane.owner = request.node.number
    lane.key = key
    lane.lanes = lanes
    ring_enter(waiting, &lanes.rings[request.priority], number)
    return number


cdef void lane_give(Waiting* waiting, const Request* request) noexcept nogil:
    cdef Lane* lane = &waiting.lanes[request.lane]
    ring_leave(waiting, &lane.lanes.rings[request.priority], request.lane)
    index_remove(&waiting.index, lane.owner, lane.key)
    lane.after = waiting.free
    waiting.free = request.lane


# ---- requests ----


cdef void waiting_push(
    Waiting* waiting, Requests* requests, Services* services, uint32_t slot, bint is_first
) noexcept nogil:
    cdef Request* request = &requests.table[slot]
    cdef Lanes* lanes = service_lanes(services, request.service, request.key_hash)
    request.lane = lane_obtain(waiting, request, lanes)
    if is_first:
        queue_prepend(requests, &waiting.lanes[request.lane].requests, LINK_TURN, slot)
    else:
        queue_append(requests, &waiting.lanes[request.lane].requests, LINK_TURN, slot)
    lanes.waiting += 1
    request.service.waiting += 1
    request.service.waiting_bytes += request.message_bytes
    waiting.count += 1
    waiting.bytes += request.message_bytes
    service_sort(services, request.service)


cdef uint32_t waiting_next(Waiting* waiting, Lanes* lanes) noexcept nogil:
    cdef int priority = lanes_priority(lanes)
    cdef const Lane* lane = &waiting.lanes[lanes.rings[priority]]
    lanes.rings[priority] = lane.after
    return lane.requests.first


cdef void waiting_remove(Waiting* waiting, Requests* requests, Services* services, uint32_t slot) noexcept nogil:
    cdef Request* request = &requests.table[slot]
    cdef Lane* lane = &waiting.lanes[request.lane]
    queue_remove(requests, &lane.requests, LINK_TURN, slot)
    lane.lanes.waiting -= 1
    if lane.requests.count == 0:
        lane_give(waiting, request)
    request.service.waiting -= 1
    request.service.waiting_bytes -= request.message_bytes
    waiting.count -= 1
    waiting.bytes -= request.message_bytes
    service_sort(services, request.service)


# When the first came of the service's that wait in these lanes, or `oldest_ms`, whichever is earlier.
cdef int64_t lanes_oldest_ms(
    const Waiting* waiting, const Requests* requests, const Lanes* lanes, uint32_t service, int64_t oldest_ms
) noexcept nogil:
    cdef const Lane* lane
    cdef int priority
    cdef uint32_t number
    for priority in range(PRIORITIES):
        number = lanes.rings[priority]
        while number != <uint32_t>REQUEST_NONE:
            lane = &waiting.lanes[number]
            if lane_service(lane) == service:
                oldest_ms = min(oldest_ms, requests.table[lane.requests.first].came_ms)
            number = lane.after
            if number == lanes.rings[priority]:
                break
    return oldest_ms


cdef int64_t waiting_oldest_ms(
    const Waiting* waiting, const Requests* requests, const Services* services, Service* service
) noexcept nogil:
    cdef const Service* source = service_source(services, service)
    cdef int64_t oldest_ms
    cdef uint32_t place
    if service.waiting == 0:
        return 0
    oldest_ms = lanes_oldest_ms(waiting, requests, &service.lanes, service.number, INT64_MAX)
    if service.waiting == service.lanes.waiting:
        return oldest_ms
    for place in range(source.candidates.count):
        oldest_ms = lanes_oldest_ms(
            waiting, requests, source.candidates.table[place].lanes, service.number, oldest_ms
        )
    return oldest_ms
