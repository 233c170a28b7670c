"""Policy: who of a service's workers takes a request. One function and one row of the table each; pure.

    least_outstanding   whoever has the fewest requests
    least_bytes         whoever has the fewest bytes of requests
    round_robin         the next in turn
    two_choices         of two drawn at random, whoever has fewer requests
    hash                the home of the request's key; without a key as least_outstanding

Rule 1. Only an able worker is picked (peer_is_able); and there is one, somebody is: but by `hash`, see rule 3.
Rule 2. Among equals the next in turn.
Rule 3. A key's home is the worker with the highest score of (key, name): rendezvous hashing. It takes the key's
        requests as long as it is a candidate, so they wait for it while it is busy, paused or suspected; when it goes
        its keys spread over the others, and nobody else's move; the same while it rests (rest.pxd). Names are hashed
        without a seed: two proxies agree.
        Where it is avoided the key goes to the next in its order, if that one can take it at once.

A new policy is a function and a row in policy.pyx, and nothing elsewhere.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.broker.lanes cimport Lanes
from zproxy.broker.peer cimport Peer

cdef struct Candidate:          # a worker that offers the service
    Peer* worker
    uint32_t place              # in the worker's offerings
    Lanes* lanes                # for keys at home with it; NULL where no policy has homes

cdef struct Candidates:         # owns `table`
    Candidate* table
    uint32_t count
    uint32_t capacity
    uint32_t turn               # where a pick begins: behind the last one
    uint64_t random_state       # to spread, not to surprise

# Who takes the request; NULL: nobody now. Never `avoided`. Moves the turn on.
ctypedef Peer* (*Pick)(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil

cdef struct Policy:
    const char* name
    Pick pick
    bint has_homes              # requests with a key wait for one worker

# By its place in the table, which is what configuration knows it by; the first where there is none.
cdef const Policy* policy_at(uint32_t number) noexcept nogil
cdef uint32_t policy_number(const Policy* policy) noexcept nogil

# The home of a key; NULL: no candidate but `avoided` and those that rest. Looks at all of them.
cdef Candidate* policy_home(const Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil

# Would the key be at home with `newcomer` rather than with `holder`?
cdef bint policy_prefers(uint64_t key_hash, const Peer* newcomer, const Peer* holder) noexcept nogil

# The next (name, policy) of what policies_pack has made; False: that was all.
cdef bint policies_next(
    const uint8_t** packed, size_t* left, const uint8_t** name, uint8_t* name_bytes, uint32_t* policy
) noexcept nogil


# As the policy picks; `avoided` (NULL: none) only where nobody else can take it.
cdef inline Peer* policy_pick(
    const Policy* policy, Candidates* candidates, uint64_t key_hash, const Peer* avoided
) noexcept nogil:
    cdef Peer* worker = policy.pick(candidates, key_hash, avoided)
    if worker == NULL and avoided != NULL:
        worker = policy.pick(candidates, key_hash, NULL)
    return worker
