"""Service: who offers what, and who takes the next request; see service.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from zproxy.broker.peer cimport peer_is_able
from zproxy.broker.verdict cimport REQUEST_NONE
from zproxy.names cimport NAME_NONE, names_add, names_close, names_find, names_open, names_remove

cdef enum:
    CAPACITY_FIRST = 16


cdef int services_open(Services* services, uint64_t seed) noexcept nogil:
    if names_open(&services.names, seed) != 0:
        return -1
    services.any = service_obtain(services, b"*", 1)
    if services.any == NULL:
        return -1
    services.any.references = 1     # never forgotten
    return 0


cdef inline void service_destroy(Service* service) noexcept nogil:
    free(service.candidates)
    free(service)


cdef void services_close(Services* services) noexcept nogil:
    cdef uint32_t number
    cdef Service* service
    for number in range(services.used):
        if services.table[number] != NULL:
            service_destroy(services.table[number])
    while services.free != NULL:
        service = services.free
        services.free = service.next_free
        service_destroy(service)
    names_close(&services.names)
    free(services.table)
    services.table = NULL
    services.used = 0


cdef Service* service_find(const Services* services, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef uint32_t number = names_find(&services.names, name, name_bytes)
    return NULL if number == <uint32_t>NAME_NONE else services.table[number]


cdef int table_reserve(Services* services) noexcept nogil:
    cdef uint32_t capacity
    cdef Service** grown
    if services.used < services.capacity:
        return 0
    capacity = max(services.capacity * 2, <uint32_t>CAPACITY_FIRST)
    grown = <Service**>realloc(services.table, capacity * sizeof(void*))
    if grown == NULL:
        return -1
    services.table = grown
    services.capacity = capacity
    return 0


# A forgotten one, its number still its own, or a new one.
cdef Service* service_take(Services* services) noexcept nogil:
    cdef Service* service = services.free
    if service != NULL:
        services.free = service.next_free
        return service
    if table_reserve(services) != 0:
        return NULL
    service = <Service*>calloc(1, sizeof(Service))
    if service == NULL:
        return NULL
    service.number = services.used
    services.table[services.used] = NULL
    services.used += 1
    return service


cdef void service_give(Services* services, Service* service) noexcept nogil:
    service.next_free = services.free
    services.free = service


# As good as new, but for its number and the table it has.
cdef void service_renew(Service* service) noexcept nogil:
    cdef uint32_t number = service.number
    cdef Candidate* candidates = service.candidates
    cdef uint32_t candidate_capacity = service.candidate_capacity
    cdef int priority
    memset(service, 0, sizeof(Service))
    service.number = number
    service.candidates = candidates
    service.candidate_capacity = candidate_capacity
    for priority in range(PRIORITIES):
        service.lanes[priority] = REQUEST_NONE


cdef Service* service_obtain(Services* services, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef Service* service = service_find(services, name, name_bytes)
    if service != NULL:
        return service
    service = service_take(services)
    if service == NULL:
        return NULL
    service_renew(service)
    memcpy(service.name, name, name_bytes)
    service.name_bytes = name_bytes
    if names_add(&services.names, service.name, name_bytes, service.number) != 0:
        service_give(services, service)
        return NULL
    services.table[service.number] = service
    services.count += 1
    return service


cdef void service_settle(Services* services, Service* service) noexcept nogil:
    if service.references or service.candidate_count:
        return
    if service.was_offered and services.count <= SERVICES_KEPT:
        return
    names_remove(&services.names, service.name, service.name_bytes, service.number)
    services.table[service.number] = NULL
    services.count -= 1
    service_give(services, service)


# ---- offers ----


cdef int candidates_reserve(Service* service) noexcept nogil:
    cdef uint32_t capacity
    cdef Candidate* grown
    if service.candidate_count < service.candidate_capacity:
        return 0
    capacity = max(service.candidate_capacity * 2, <uint32_t>CAPACITY_FIRST)
    grown = <Candidate*>realloc(service.candidates, capacity * sizeof(Candidate))
    if grown == NULL:
        return -1
    service.candidates = grown
    service.candidate_capacity = capacity
    return 0


cdef int offerings_reserve(Peer* worker) noexcept nogil:
    cdef uint32_t capacity
    cdef Offering* grown
    if worker.offering_count < worker.offering_capacity:
        return 0
    capacity = max(worker.offering_capacity * 2, <uint32_t>CAPACITY_FIRST)
    grown = <Offering*>realloc(worker.offerings, capacity * sizeof(Offering))
    if grown == NULL:
        return -1
    worker.offerings = grown
    worker.offering_capacity = capacity
    return 0


cdef int service_offer(
    Services* services, Service* service, Peer* worker, bint is_guarded, uint32_t lease_ms
) noexcept nogil:
    cdef Candidate* candidate
    cdef Offering* offering
    if candidates_reserve(service) != 0 or offerings_reserve(worker) != 0:
        return -1
    candidate = &service.candidates[service.candidate_count]
    candidate.worker = worker
    candidate.place = worker.offering_count
    offering = &worker.offerings[worker.offering_count]
    offering.service = service.number
    offering.place = service.candidate_count
    offering.is_guarded = is_guarded
    service.candidate_count += 1
    worker.offering_count += 1
    service.was_offered = True
    service.lease_ms = lease_ms
    service.guarded_count += is_guarded
    service.is_guarded = service.guarded_count != 0
    service_sort(services, service)
    return 0


# The last candidate takes the place of the one that goes.
cdef void candidate_remove(Services* services, Service* service, uint32_t place, bint was_guarded) noexcept nogil:
    cdef Candidate* last = &service.candidates[service.candidate_count - 1]
    last.worker.offerings[last.place].place = place
    service.candidates[place] = last[0]
    service.candidate_count -= 1
    service.guarded_count -= was_guarded
    if service.candidate_count:
        service.is_guarded = service.guarded_count != 0
    service_sort(services, service)
    service_settle(services, service)


cdef void services_withdraw(Services* services, Peer* worker) noexcept nogil:
    cdef Offering* offering
    while worker.offering_count:
        worker.offering_count -= 1
        offering = &worker.offerings[worker.offering_count]
        candidate_remove(services, services.table[offering.service], offering.place, offering.is_guarded)
    worker.turn = 0


cdef Peer* service_pick(Services* services, Service* service, const Peer* avoided) noexcept nogil:
    cdef Service* source = service_source(services, service)
    cdef uint32_t count = source.candidate_count
    cdef uint32_t at = source.turn if source.turn < count else 0
    cdef Peer* worker
    cdef Peer* best = NULL
    cdef Peer* last = NULL
    for _ in range(count):
        worker = source.candidates[at].worker
        at = at + 1 if at + 1 < count else 0
        if not peer_is_able(worker) or best != NULL and worker.requests.count >= best.requests.count:
            continue
        if worker == avoided:
            last = worker
            continue
        best = worker
        source.turn = at
        if worker.requests.count == 0:
            break
    return best if best != NULL else last


cdef void service_taken(Services* services, const Peer* worker) noexcept nogil:
    cdef uint32_t served = worker.turn - 1 if worker.turn else worker.offering_count - 1
    cdef const Offering* offering = &worker.offerings[served]
    services.table[offering.service].turn = offering.place + 1


# ---- the unnamed ----


cdef void unnamed_enter(Services* services, Service* service) noexcept nogil:
    if services.unnamed == NULL:
        service.before = service.after = services.unnamed = service
        return
    service.after = services.unnamed
    service.before = services.unnamed.before
    service.before.after = service
    service.after.before = service


cdef void unnamed_leave(Services* services, Service* service) noexcept nogil:
    if services.unnamed == service:
        services.unnamed = service.after if service.after != service else NULL
    service.before.after = service.after
    service.after.before = service.before
    service.before = service.after = NULL


cdef void service_sort(Services* services, Service* service) noexcept nogil:
    cdef bint is_unnamed = service.waiting != 0 and service.candidate_count == 0
    if is_unnamed == (service.before != NULL):
        return
    if is_unnamed:
        unnamed_enter(services, service)
    else:
        unnamed_leave(services, service)


cdef Service* service_of_turn(Services* services, Peer* worker) noexcept nogil:
    cdef Service* service
    for _ in range(worker.offering_count):
        service = services.table[worker.offerings[worker.turn].service]
        worker.turn = worker.turn + 1 if worker.turn + 1 < worker.offering_count else 0
        if service.waiting:
            return service
        if service == services.any and services.unnamed != NULL:
            service = services.unnamed
            services.unnamed = service.after
            return service
    return NULL
