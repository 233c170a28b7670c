"""Service: what workers offer and nodes ask for, and who of its workers takes the next request.

    services ─► Service ─► Candidate(worker, place) ⇄ Offering(service, place) ◄─ Peer
                  │            └► lanes of requests that wait for this worker: lanes.pxd
                  └► lanes of requests that wait for any of them; policy: who takes one (policy.pxd)

Whoever offers `*` is a candidate of the one service of that name, and takes for a service that nobody names.

Rule 1. A leaving worker offers nothing.
Rule 2. A service that was never offered is forgotten with the last request that knows it: who invents names must not
        grow the table. One that was offered stays, as long as there are few: NO_WORKER and UNKNOWN_SERVICE are told
        apart by it.
Rule 3. Services are never moved: requests point to them.
Rule 4. A service's policy is that of the name that is asked for, whoever takes it.
Rule 5. What became of requests is booked under the name that was asked for. The account of a service that is forgotten
        is added to `rest`: nothing of it is lost.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.broker.access cimport Seen
from zproxy.broker.lanes cimport Lanes
from zproxy.broker.peer cimport Peer
from zproxy.broker.policy cimport Candidates, Policy, policy_pick
from zproxy.counters cimport MANAGED_DELIVERED, MANAGED_UNDELIVERED
from zproxy.names cimport Names

cdef enum:
    SERVICE_NAME_BYTES = 64
    SERVICES_KEPT = 16384       # beyond, one that nobody offers any more is forgotten, too: names may be made for a run
    OUTCOME_COUNT = MANAGED_UNDELIVERED - MANAGED_DELIVERED + 1

cdef struct Account:            # of requests that were accepted: each is live, or ended in one outcome
    uint64_t accepted
    uint64_t live
    uint64_t[OUTCOME_COUNT] outcomes    # in the order of the counters, from MANAGED_DELIVERED on

cdef struct Service:
    uint32_t number             # its place in the table
    uint8_t name_bytes
    uint8_t[SERVICE_NAME_BYTES] name
    bint was_offered            # by anybody, ever
    bint is_guarded             # not idempotent: as its workers say, or said last
    uint32_t guarded_count      # of the candidates, those that say so
    uint32_t lease_ms           # how long a delivery may be without a sign, as its newest worker says; 0: always
    uint32_t references         # requests that know it
    Account account
    Seen seen                   # what is known of who may use it; owned
    uint32_t stamp              # of the READY that named it last
    const Policy* policy
    Candidates candidates       # owned
    Lanes lanes                 # of those that any candidate may take
    uint64_t waiting            # these, and those in the candidates' own lanes
    uint64_t waiting_bytes
    uint64_t queued_bytes       # of all that nobody has, see budget.pxd
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
    Account forgotten           # of those that are forgotten
    const Policy* policy        # of those that are not given one
    bint have_homes             # may requests wait for one worker?
    Lanes* unsettled            # of workers that have come or gone since homes_settle
    Lanes* free_lanes
    uint32_t lanes_made

# Empty but for `*` and those that are given a policy, which stay; from zeroed. `policy`: of all others; `policies`: as
# policies_pack makes them. 0, or -1: no memory.
cdef int services_open(
    Services* services, uint64_t seed, uint32_t policy, const uint8_t* policies, size_t policies_bytes
) noexcept nogil
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

# The worker does not offer that one any more, by its place in the worker's offerings; the last of them takes the place.
cdef void service_withdraw(Services* services, Peer* worker, uint32_t place) noexcept nogil

# The worker offers nothing any more.
cdef void services_withdraw(Services* services, Peer* worker) noexcept nogil

# The account of the service of that number: its own, or the one of the rest if it is forgotten.
cdef Account* service_account(Services* services, uint32_t number) noexcept nogil

# Where a request with that key waits.
cdef Lanes* service_lanes(Services* services, Service* service, uint64_t key_hash) noexcept nogil

# The next lanes of a worker that has come or gone (then `worker` is NULL), the caller's; NULL: there are no more.
cdef Lanes* services_unsettle(Services* services) noexcept nogil

# Lanes of a worker that has gone: again among the unsettled while somebody waits there, else free.
cdef void lanes_settle(Services* services, Lanes* lanes) noexcept nogil

# Requests began or ceased to wait for it, or workers to name it: does it belong to the unnamed?
cdef void service_sort(Services* services, Service* service) noexcept nogil

# The worker whose turn it was by service_of_turn takes, without a pick: the next among equals is behind it.
cdef void service_taken(Services* services, const Peer* worker) noexcept nogil

# Where the worker finds its next request, its turn moved on: at each of its services first those of lower priority,
# then its own and the service's in turn. NULL: nothing waits that it could take.
cdef Lanes* service_of_turn(Services* services, Peer* worker) noexcept nogil


# Whose candidates take for it.
cdef inline Service* service_source(const Services* services, Service* service) noexcept nogil:
    return service if service.candidates.count else services.any


# Who takes the next request for the service, as its policy picks: never who is not able, `avoided` (NULL: none) only
# where nobody else can. NULL: nobody now. `key_hash`: the request's; 0: none.
cdef inline Peer* service_pick(
    Services* services, Service* service, uint64_t key_hash, const Peer* avoided
) noexcept nogil:
    return policy_pick(service.policy, &service_source(services, service).candidates, key_hash, avoided)


cdef inline bint service_has_worker(const Services* services, const Service* service) noexcept nogil:
    return service.candidates.count != 0 or services.any.candidates.count != 0


cdef inline bint service_was_offered(const Services* services, const Service* service) noexcept nogil:
    return service.was_offered or services.any.was_offered


# How long a worker may have it without a sign; 0: until its deadline.
cdef inline uint32_t service_lease_ms(const Services* services, const Service* service) noexcept nogil:
    return service.lease_ms if service.candidates.count else services.any.lease_ms


# May what it was asked for not run twice?
cdef inline bint service_is_guarded(const Services* services, const Service* service) noexcept nogil:
    return service.is_guarded or service.candidates.count == 0 and services.any.is_guarded


cdef inline void account_accept(Account* account) noexcept nogil:
    account.accepted += 1
    account.live += 1


# It ended; `counter` says in which outcome.
cdef inline void account_settle(Account* account, int counter) noexcept nogil:
    account.live -= 1
    account.outcomes[counter - <int>MANAGED_DELIVERED] += 1


# What had ended in `counter` did not reach its node.
cdef inline void account_undeliver(Account* account, int counter) noexcept nogil:
    account.outcomes[counter - <int>MANAGED_DELIVERED] -= 1
    account.outcomes[<int>MANAGED_UNDELIVERED - <int>MANAGED_DELIVERED] += 1
