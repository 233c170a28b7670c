"""Service: what workers offer and nodes ask for, and who of its workers takes the next request.

    services ─► Service ─► Candidate(worker, place) ⇄ Offering(service, place) ◄─ Peer
                  │
                  └► lanes of requests that wait for it: waiting.pxd

Whoever offers `*` is a candidate of the one service of that name, and takes for a service that nobody names.

Rule 1. A leaving worker offers nothing.
Rule 2. A service that was never offered is forgotten with the last request that knows it: who invents names must not
        grow the table. One that was offered stays, as long as there are few: NO_WORKER and UNKNOWN_SERVICE are told
        apart by it.
Rule 3. Services are never moved: requests point to them.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.broker.peer cimport Offering, Peer
from zproxy.names cimport Names

cdef enum:
    SERVICE_NAME_BYTES = 64
    PRIORITIES = 3
    SERVICES_KEPT = 16384       # beyond, one that nobody offers any more is forgotten, too: names may be made for a run

cdef struct Candidate:          # a worker that offers the service
    Peer* worker
    uint32_t place              # in the worker's offerings

cdef struct Service:
    uint32_t number             # its place in the table
    uint8_t name_bytes
    uint8_t[SERVICE_NAME_BYTES] name
    bint was_offered            # by anybody, ever
    bint is_guarded             # not idempotent: as its workers say, or said last
    uint32_t guarded_count      # of the candidates, those that say so
    uint32_t lease_ms           # how long a delivery may be without a sign, as its newest worker says; 0: always
    uint32_t references         # requests that know it
    uint32_t stamp              # of the READY that named it last
    Candidate* candidates       # owned
    uint32_t candidate_count
    uint32_t candidate_capacity
    uint32_t turn               # where a pick begins: behind the last one
    uint32_t[PRIORITIES] lanes  # whose turn it is among those that wait, see waiting.pxd
    uint64_t waiting
    uint64_t waiting_bytes
    Service* before             # among the unnamed, see there; NULL = not
    Service* after
    Service* next_free

cdef struct Services:           # owns all services; see services_open
    Service** table             # by number; NULL = forgotten
    uint32_t capacity
    uint32_t count              # of those that are there
    uint32_t used               # numbers below this have been given
    Names names                 # name → number
    Service* free
    Service* any                # `*`
    Service* unnamed            # ring of those for which requests wait and that nobody names: whose turn it is
    uint32_t stamp

# Empty but for `*`, from zeroed. 0, or -1: no memory.
cdef int services_open(Services* services, uint64_t seed) noexcept nogil
cdef void services_close(Services* services) noexcept nogil

# The service of that name; made where there is none. NULL: no memory. Who wants it to stay adds a reference.
cdef Service* service_obtain(Services* services, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# The service of that name, or NULL.
cdef Service* service_find(const Services* services, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# Nobody knows it any more? Then it is forgotten, by rule 2.
cdef void service_settle(Services* services, Service* service) noexcept nogil

# The worker offers it from now on. 0, or -1: no memory.
cdef int service_offer(
    Services* services, Service* service, Peer* worker, bint is_guarded, uint32_t lease_ms
) noexcept nogil

# The worker offers nothing any more.
cdef void services_withdraw(Services* services, Peer* worker) noexcept nogil

# The able worker with the least in flight, the next in turn among equals; NULL: nobody. Moves the turn on. Looks at
# one after the other, but no further than the first that is idle. `avoided` is taken only if no other is able.
cdef Peer* service_pick(Services* services, Service* service, const Peer* avoided) noexcept nogil

# Requests began or ceased to wait for it, or workers to name it: does it belong to the unnamed?
cdef void service_sort(Services* services, Service* service) noexcept nogil

# The worker whose turn it was by service_of_turn takes, without a pick: the next among equals is behind it.
cdef void service_taken(Services* services, const Peer* worker) noexcept nogil

# The next service the worker offers for which requests wait, the worker's turn moved on; NULL: none.
cdef Service* service_of_turn(Services* services, Peer* worker) noexcept nogil


# Whose candidates take for it.
cdef inline Service* service_source(const Services* services, Service* service) noexcept nogil:
    return service if service.candidate_count else services.any


cdef inline bint service_has_worker(const Services* services, const Service* service) noexcept nogil:
    return service.candidate_count != 0 or services.any.candidate_count != 0


cdef inline bint service_was_offered(const Services* services, const Service* service) noexcept nogil:
    return service.was_offered or services.any.was_offered


# How long a worker may have it without a sign; 0: until its deadline.
cdef inline uint32_t service_lease_ms(const Services* services, const Service* service) noexcept nogil:
    return service.lease_ms if service.candidate_count else services.any.lease_ms


# May what it was asked for not run twice?
cdef inline bint service_is_guarded(const Services* services, const Service* service) noexcept nogil:
    return service.is_guarded or service.candidate_count == 0 and services.any.is_guarded
