"""Policy: who of a service's workers takes a request; see policy.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from zproxy.broker.peer cimport PEER_NAME_BYTES, peer_hash, peer_is_able
from zproxy.broker.random cimport mixed, random_next


# ---- one by one ----


cdef inline bint may_take(const Peer* worker, const Peer* avoided) noexcept nogil:
    return peer_is_able(worker) and worker != avoided


# Its free places are for requests that wait for it alone.
cdef inline bint is_owed(const Candidate* candidate) noexcept nogil:
    return candidate.lanes != NULL and candidate.lanes.waiting != 0


cdef inline uint64_t load_of(const Peer* worker, bint in_bytes) noexcept nogil:
    return worker.in_flight_bytes if in_bytes else worker.requests.count


# Looks at one after the other, but no further than the first that is idle. The flags are constants where it is inlined.
cdef inline Peer* pick_least(
    Candidates* candidates, const Peer* avoided, bint in_bytes, bint are_homes
) noexcept nogil:
    cdef uint32_t count = candidates.count
    cdef uint32_t at = candidates.turn if candidates.turn < count else 0
    cdef const Candidate* candidate
    cdef Peer* worker
    cdef Peer* best = NULL
    for _ in range(count):
        candidate = &candidates.table[at]
        worker = candidate.worker
        at = at + 1 if at + 1 < count else 0
        if not may_take(worker, avoided) or are_homes and is_owed(candidate):
            continue
        if best != NULL and load_of(worker, in_bytes) >= load_of(best, in_bytes):
            continue
        best = worker
        candidates.turn = at
        if worker.requests.count == 0:
            break
    return best


cdef Peer* pick_least_outstanding(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    return pick_least(candidates, avoided, False, False)


cdef Peer* pick_least_bytes(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    return pick_least(candidates, avoided, True, False)


# The first from `at` on that may take it; NULL: nobody. `at` is then behind it.
cdef Peer* pick_from(const Candidates* candidates, uint32_t* at, const Peer* avoided, const Peer* other) noexcept nogil:
    cdef Peer* worker
    for _ in range(candidates.count):
        worker = candidates.table[at[0]].worker
        at[0] = at[0] + 1 if at[0] + 1 < candidates.count else 0
        if may_take(worker, avoided) and worker != other:
            return worker
    return NULL


cdef Peer* pick_round_robin(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    cdef uint32_t at = candidates.turn if candidates.turn < candidates.count else 0
    cdef Peer* worker = pick_from(candidates, &at, avoided, NULL)
    if worker != NULL:
        candidates.turn = at
    return worker


# Below candidates.count.
cdef inline uint32_t place_drawn(Candidates* candidates) noexcept nogil:
    return <uint32_t>((random_next(&candidates.random_state) >> 32) * candidates.count >> 32)


# Whoever is drawn and cannot take it is stood in for by the next who can: where few can, the draw is not even.
cdef Peer* pick_two_choices(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    cdef uint32_t at = place_drawn(candidates)
    cdef Peer* first = pick_from(candidates, &at, avoided, NULL)
    cdef Peer* second
    if first == NULL or first.requests.count == 0:
        return first
    at = place_drawn(candidates)
    second = pick_from(candidates, &at, avoided, first)
    return second if second != NULL and second.requests.count < first.requests.count else first


# ---- homes ----


cdef inline uint64_t score(uint64_t key_hash, const Peer* worker) noexcept nogil:
    return mixed(key_hash ^ worker.name_hash)


cdef Candidate* policy_home(const Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    cdef Candidate* home = NULL
    cdef uint64_t best = 0
    cdef uint64_t found
    cdef uint32_t place
    cdef const Peer* worker
    for place in range(candidates.count):
        worker = candidates.table[place].worker
        if worker == avoided or worker.is_resting:
            continue
        found = score(key_hash, worker)
        if home == NULL or found > best:
            best = found
            home = &candidates.table[place]
    return home


cdef bint policy_prefers(uint64_t key_hash, const Peer* newcomer, const Peer* holder) noexcept nogil:
    return score(key_hash, newcomer) > score(key_hash, holder)


cdef Peer* pick_hash(Candidates* candidates, uint64_t key_hash, const Peer* avoided) noexcept nogil:
    cdef const Candidate* home
    if key_hash == 0:
        return pick_least(candidates, avoided, False, True)
    home = policy_home(candidates, key_hash, avoided)
    if home == NULL or is_owed(home) or not peer_is_able(home.worker):
        return NULL
    return home.worker


# ---- the table ----


cdef Policy[5] TABLE
TABLE[0] = Policy(b"least_outstanding", pick_least_outstanding, False)      # the default
TABLE[1] = Policy(b"least_bytes", pick_least_bytes, False)
TABLE[2] = Policy(b"round_robin", pick_round_robin, False)
TABLE[3] = Policy(b"two_choices", pick_two_choices, False)
TABLE[4] = Policy(b"hash", pick_hash, True)

cdef uint32_t POLICY_COUNT = sizeof(TABLE) // sizeof(Policy)

POLICIES = tuple(TABLE[number].name.decode() for number in range(POLICY_COUNT))


cdef const Policy* policy_at(uint32_t number) noexcept nogil:
    return &TABLE[number if number < POLICY_COUNT else 0]


cdef uint32_t policy_number(const Policy* policy) noexcept nogil:
    return <uint32_t>(policy - TABLE)


# ---- configuration: for each service its name's length, the name, the policy's number ----


def policies_pack(services):
    """{service: policy}, by name, as the broker takes them at its opening."""
    rows = ((service.encode(), POLICIES.index(policy)) for service, policy in services.items())
    return b"".join(bytes((len(name),)) + name + bytes((number,)) for name, number in rows)


cdef bint policies_next(
    const uint8_t** packed, size_t* left, const uint8_t** name, uint8_t* name_bytes, uint32_t* policy
) noexcept nogil:
    cdef const uint8_t* row = packed[0]
    cdef size_t row_bytes
    if left[0] == 0 or left[0] < <size_t>row[0] + 2:
        return False
    row_bytes = <size_t>row[0] + 2
    name[0] = row + 1
    name_bytes[0] = row[0]
    policy[0] = row[row_bytes - 1]
    packed[0] = row + row_bytes
    left[0] -= row_bytes
    return True


cdef class PolicyProbe:
    """A policy over workers by number, their loads set by hand. For the tests."""

    cdef Candidates candidates
    cdef const Policy* policy
    cdef list numbers               # of the workers, by place

    def __cinit__(self, str policy):
        self.policy = policy_at(POLICIES.index(policy))
        self.numbers = []
        self.candidates.table = <Candidate*>calloc(256, sizeof(Candidate))
        self.candidates.capacity = 256
        if self.candidates.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t place
        for place in range(self.candidates.count):
            free(self.candidates.table[place].worker)
        free(self.candidates.table)

    def add(self, number, bytes name):
        """A worker comes, of that name, at least 1 byte; it takes nothing yet."""
        cdef Peer* worker = <Peer*>calloc(1, sizeof(Peer))
        if worker == NULL:
            raise MemoryError
        if self.candidates.count == self.candidates.capacity or not 0 < len(name) <= PEER_NAME_BYTES:
            free(worker)
            raise ValueError(f"no room for {name!r}")
        memcpy(worker.name, <const char*>name, len(name))
        worker.name_bytes = len(name)
        worker.name_hash = peer_hash(worker.name, worker.name_bytes)
        self.candidates.table[self.candidates.count].worker = worker
        self.candidates.count += 1
        self.numbers.append(number)

    def remove(self, number):
        """It is gone: the last takes its place, as in a service."""
        cdef uint32_t place = self.numbers.index(number)
        self.candidates.count -= 1
        free(self.candidates.table[place].worker)
        self.candidates.table[place] = self.candidates.table[self.candidates.count]
        self.numbers[place] = self.numbers[self.candidates.count]
        self.numbers.pop()

    def load(self, number, uint32_t may_hold, uint32_t requests=0, uint64_t in_flight_bytes=0):
        """What it may have, and has."""
        cdef Peer* worker = self.candidates.table[<uint32_t>self.numbers.index(number)].worker
        worker.may_hold = may_hold
        worker.requests.count = requests
        worker.in_flight_bytes = in_flight_bytes

    def pick(self, uint64_t key_hash=0, avoided=None):
        """The number of who takes a request, or None."""
        cdef const Peer* shunned = NULL
        cdef const Peer* worker
        cdef uint32_t place
        if avoided is not None:
            shunned = self.candidates.table[<uint32_t>self.numbers.index(avoided)].worker
        worker = policy_pick(self.policy, &self.candidates, key_hash, shunned)
        for place in range(self.candidates.count):
            if self.candidates.table[place].worker == worker:
                return self.numbers[place]
        return None
