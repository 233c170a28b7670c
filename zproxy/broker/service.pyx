"""Service: who offers what, and who takes the next request; see service.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from zproxy.broker.access cimport Seen, seen_clear
from zproxy.broker.lanes cimport PRIORITIES, lanes_priority
from zproxy.broker.peer cimport Offering
from zproxy.broker.policy cimport Candidate, Candidates, policies_next, policy_at, policy_home
from zproxy.broker.table cimport table_reserve
from zproxy.broker.verdict cimport REQUEST_NONE
from zproxy.names cimport NAME_NONE, names_add, names_close, names_find, names_open, names_remove

# They stay: it is the operator who names them.
cdef int policies_read(Services* services, const uint8_t* policies, size_t policies_bytes) noexcept nogil:
    cdef Service* service
    cdef const uint8_t* name
    cdef uint8_t name_bytes
    cdef uint32_t policy
    while policies_next(&policies, &policies_bytes, &name, &name_bytes, &policy):
        service = service_obtain(services, name, name_bytes)
        if service == NULL:
            return -1
        service.references += 1
        service.policy = policy_at(policy)
        services.have_homes |= service.policy.has_homes
    return 0


cdef int services_open(
    Services* services, uint64_t seed, uint32_t policy, const uint8_t* policies, size_t policies_bytes
) noexcept nogil:
    if names_open(&services.names, seed) != 0:
        return -1
    services.policy = policy_at(policy)
    services.have_homes = services.policy.has_homes
    services.any = service_obtain(services, b"*", 1)
    if services.any == NULL:
        return -1
    services.any.references = 1     # never forgotten
    return policies_read(services, policies, policies_bytes)


cdef void service_destroy(Service* service) noexcept nogil:
    cdef uint32_t place
    for place in range(service.candidates.count):
        free(service.candidates.table[place].lanes)
    free(service.candidates.table)
    free(service.seen.words)
    free(service)


# Of those that have come, the candidates are the owners.
cdef void lanes_destroy(Lanes* lanes, bint are_gone) noexcept nogil:
    cdef Lanes* after
    while lanes != NULL:
        after = lanes.next
        if are_gone or lanes.worker == NULL:
            free(lanes)
        lanes = after


cdef void services_close(Services* services) noexcept nogil:
    cdef uint32_t number
    cdef Service* service
    lanes_destroy(services.unsettled, False)
    lanes_destroy(services.free_lanes, True)
    services.unsettled = services.free_lanes = NULL
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


# A forgotten one, its number still its own, or a new one.
cdef Service* service_take(Services* services) noexcept nogil:
    cdef Service* service = services.free
    if service != NULL:
        services.free = service.next_free
        return service
    if table_reserve(<void**>&services.table, &services.capacity, services.used, sizeof(void*)) != 0:
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


cdef void lanes_renew(Lanes* lanes, uint32_t number) noexcept nogil:
    cdef int priority
    memset(lanes, 0, sizeof(Lanes))
    lanes.number = number
    for priority in range(PRIORITIES):
        lanes.rings[priority] = REQUEST_NONE


# As good as new, but for its number and the tables it has.
cdef void service_renew(Service* service) noexcept nogil:
    cdef uint32_t number = service.number
    cdef Candidate* table = service.candidates.table
    cdef uint32_t capacity = service.candidates.capacity
    cdef Seen seen = service.seen
    memset(service, 0, sizeof(Service))
    service.number = number
    service.candidates.table = table
    service.candidates.capacity = capacity
    service.candidates.random_state = number
    service.seen = seen
    seen_clear(&service.seen)
    lanes_renew(&service.lanes, 0)


cdef Service* service_obtain(Services* services, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef Service* service = service_find(services, name, name_bytes)
    if service != NULL:
        return service
    service = service_take(services)
    if service == NULL:
        return NULL
    service_renew(service)
    service.policy = services.policy
    memcpy(service.name, name, name_bytes)
    service.name_bytes = name_bytes
    if names_add(&services.names, service.name, name_bytes, service.number) != 0:
        service_give(services, service)
        return NULL
    services.table[service.number] = service
    services.count += 1
    return service


cdef Account* service_account(Services* services, uint32_t number) noexcept nogil:
    cdef Service* service = services.table[number]
    return &services.forgotten if service == NULL else &service.account


cdef void account_fold(Account* rest, const Account* account) noexcept nogil:
    cdef int outcome
    rest.accepted += account.accepted
    for outcome in range(OUTCOME_COUNT):
        rest.outcomes[outcome] += account.outcomes[outcome]


cdef void service_settle(Services* services, Service* service) noexcept nogil:
    if service.references or service.candidates.count:
        return
    if service.was_offered and services.count <= SERVICES_KEPT:
        return
    names_remove(&services.names, service.name, service.name_bytes, service.number)
    account_fold(&services.forgotten, &service.account)
    services.table[service.number] = NULL
    services.count -= 1
    service_give(services, service)


# ---- offers ----


cdef int candidates_reserve(Candidates* candidates) noexcept nogil:
    return table_reserve(<void**>&candidates.table, &candidates.capacity, candidates.count, sizeof(Candidate))


cdef int offerings_reserve(Peer* worker) noexcept nogil:
    return table_reserve(
        <void**>&worker.offerings, &worker.offering_capacity, worker.offering_count, sizeof(Offering)
    )


# ---- lanes of one worker ----


cdef Lanes* lanes_take(Services* services) noexcept nogil:
    cdef Lanes* lanes = services.free_lanes
    if lanes != NULL:
        services.free_lanes = lanes.next
        lanes_renew(lanes, lanes.number)
        return lanes
    lanes = <Lanes*>calloc(1, sizeof(Lanes))
    if lanes != NULL:
        services.lanes_made += 1    # 0 are those of services
        lanes_renew(lanes, services.lanes_made)
    return lanes


cdef void lanes_unsettle(Services* services, Lanes* lanes) noexcept nogil:
    if lanes.is_unsettled:
        return
    lanes.is_unsettled = True
    lanes.next = services.unsettled
    services.unsettled = lanes


cdef Lanes* services_unsettle(Services* services) noexcept nogil:
    cdef Lanes* lanes = services.unsettled
    if lanes != NULL:
        services.unsettled = lanes.next
        lanes.is_unsettled = False
    return lanes


cdef void lanes_settle(Services* services, Lanes* lanes) noexcept nogil:
    if lanes.waiting:
        lanes_unsettle(services, lanes)
    elif not lanes.is_unsettled:
        lanes.next = services.free_lanes
        services.free_lanes = lanes


# Of a worker that comes; NULL: no memory.
cdef Lanes* lanes_open(Services* services, const Service* service, Peer* worker) noexcept nogil:
    cdef Lanes* lanes = lanes_take(services)
    if lanes != NULL:
        lanes.worker = worker
        lanes.service = service.number
        lanes_unsettle(services, lanes)
    return lanes


# Of one that goes.
cdef void lanes_close(Services* services, Lanes* lanes) noexcept nogil:
    lanes.worker = NULL
    lanes_settle(services, lanes)


cdef inline bint needs_lanes(const Services* services, const Service* service) noexcept nogil:
    return service.policy.has_homes or service == services.any and services.have_homes


cdef int service_offer(
    Services* services, Service* service, Peer* worker, bint is_guarded, uint32_t lease_ms
) noexcept nogil:
    cdef Candidate* candidate
    cdef Offering* offering
    cdef Lanes* lanes = NULL
    if candidates_reserve(&service.candidates) != 0 or offerings_reserve(worker) != 0:
        return -1
    if needs_lanes(services, service):
        lanes = lanes_open(services, service, worker)
        if lanes == NULL:
            return -1
    candidate = &service.candidates.table[service.candidates.count]
    candidate.worker = worker
    candidate.place = worker.offering_count
    candidate.lanes = lanes
    offering = &worker.offerings[worker.offering_count]
    offering.service = service.number
    offering.place = service.candidates.count
    offering.is_guarded = is_guarded
    service.candidates.count += 1
    worker.offering_count += 1
    service.was_offered = True
    service.lease_ms = lease_ms
    service.guarded_count += is_guarded
    service.is_guarded = service.guarded_count != 0
    service_sort(services, service)
    return 0


# The last candidate takes the place of the one that goes.
cdef void candidate_remove(Services* services, Service* service, uint32_t place, bint was_guarded) noexcept nogil:
    cdef Candidate* last = &service.candidates.table[service.candidates.count - 1]
    cdef Lanes* lanes = service.candidates.table[place].lanes
    last.worker.offerings[last.place].place = place
    service.candidates.table[place] = last[0]
    service.candidates.count -= 1
    service.guarded_count -= was_guarded
    if service.candidates.count:
        service.is_guarded = service.guarded_count != 0
    if lanes != NULL:
        lanes_close(services, lanes)
    service_sort(services, service)
    service_settle(services, service)


cdef void service_withdraw(Services* services, Peer* worker, uint32_t place) noexcept nogil:
    cdef const Offering* going = &worker.offerings[place]
    cdef const Offering* last
    candidate_remove(services, services.table[going.service], going.place, going.is_guarded)
    worker.offering_count -= 1
    worker.turn = 0
    if place == worker.offering_count:
        return
    last = &worker.offerings[worker.offering_count]
    services.table[last.service].candidates.table[last.place].place = place
    worker.offerings[place] = last[0]


cdef void services_withdraw(Services* services, Peer* worker) noexcept nogil:
    cdef Offering* offering
    while worker.offering_count:
        worker.offering_count -= 1
        offering = &worker.offerings[worker.offering_count]
        candidate_remove(services, services.table[offering.service], offering.place, offering.is_guarded)
    worker.turn = 0


cdef Lanes* service_lanes(Services* services, Service* service, uint64_t key_hash) noexcept nogil:
    cdef const Candidate* home
    if key_hash == 0 or not service.policy.has_homes:
        return &service.lanes
    home = policy_home(&service_source(services, service).candidates, key_hash, NULL)
    return &service.lanes if home == NULL else home.lanes


cdef void service_taken(Services* services, const Peer* worker) noexcept nogil:
    cdef uint32_t served = worker.turn - 1 if worker.turn else worker.offering_count - 1
    cdef const Offering* offering = &worker.offerings[served]
    services.table[offering.service].candidates.turn = offering.place + 1


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
    cdef bint is_unnamed = service.lanes.waiting != 0 and service.candidates.count == 0
    if is_unnamed == (service.before != NULL):
        return
    if is_unnamed:
        unnamed_enter(services, service)
    else:
        unnamed_leave(services, service)


# ---- turns ----


# Where any candidate of the service finds something, or NULL.
cdef inline Lanes* shared_lanes(Services* services, Service* service) noexcept nogil:
    if service.lanes.waiting:
        return &service.lanes
    if service == services.any and services.unnamed != NULL:
        return &services.unnamed.lanes
    return NULL


# The candidate's own, where their turn comes before that of those it shares; else these.
cdef inline Lanes* lanes_of_turn(Lanes* own, Lanes* shared) noexcept nogil:
    cdef int own_priority
    cdef int shared_priority
    if own == NULL or own.waiting == 0:
        return shared
    if shared == NULL:
        return own
    own_priority = lanes_priority(own)
    shared_priority = lanes_priority(shared)
    if own_priority != shared_priority:
        return own if own_priority < shared_priority else shared
    own.were_served = not own.were_served
    return own if own.were_served else shared


cdef Lanes* service_of_turn(Services* services, Peer* worker) noexcept nogil:
    cdef const Offering* offering
    cdef Service* service
    cdef Lanes* lanes
    for _ in range(worker.offering_count):
        offering = &worker.offerings[worker.turn]
        service = services.table[offering.service]
        worker.turn = worker.turn + 1 if worker.turn + 1 < worker.offering_count else 0
        lanes = shared_lanes(services, service)
        if services.have_homes:
            lanes = lanes_of_turn(service.candidates.table[offering.place].lanes, lanes)
        if lanes == NULL:
            continue
        if services.unnamed != NULL and lanes == &services.unnamed.lanes:
            services.unnamed = services.unnamed.after
        return lanes
    return NULL
