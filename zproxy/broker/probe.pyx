"""Probe: the broker by itself, driven from Python through the functions the fast path calls. For the tests.

Keeps what a verdict says to keep, so that a SEND carries its payload's envelope as it would on the wire.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from zproxy.broker.broker cimport (
    PAYLOAD_NONE, PEER_NONE, ROLE_NODE, ROLE_WORKER, VERDICT_KEEP, VERDICT_PASS, VERDICT_SAY, VERDICT_SEND, Broker,
    Limits, OfferRow, PeerRow, ServiceRow, Verdict, broker_abort, broker_address, broker_close, broker_count_rows,
    broker_dismiss, broker_drain, broker_due_ms, broker_fill_rows, broker_join, broker_leave, broker_live,
    broker_malformed, broker_message, broker_open, broker_retained_bytes, broker_set_permits, broker_set_usable,
    broker_step, broker_undelivered, broker_unkept, broker_unretained, broker_unsent, broker_waiting,
    broker_waiting_bytes
)
from zproxy.broker.peer cimport ROW_RESTING, Peer
from zproxy.broker.verdict cimport verdict_clear
from zproxy.counters cimport Counters
from zproxy.envelope cimport ENVELOPE_BYTES_MAX, FAULT_NONE, EnvelopeView, envelope_read, envelope_write

from zproxy.broker.policy import POLICIES, policies_pack
from zproxy.counters import COUNTER_NAMES, OUTCOMES

VERDICTS = ("DROP", "PASS", "KEEP", "SAY", "SEND")
CONTENTS = ("NONE", "WELCOME", "ACCEPTED")


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef object number_or_none(uint32_t number):
    return None if number == <uint32_t>PEER_NONE else number


cdef bytes bytes_of(const uint8_t* bytes, size_t count):
    return (<const char*>bytes)[:count]


cdef class BrokerProbe:
    """A broker, its peers' messages as frames 0 in and out.

    A verdict is (kind, peer, frame, payload, content, spent, closing, challenged): kinds and contents by name, `frame`
    what goes out, numbers None where there is none. Without memory no copy of what is passed is kept.
    """

    cdef Broker broker
    cdef Counters counters
    cdef readonly dict payloads
    cdef bint has_memory
    cdef uint64_t tickets

    def __cinit__(
        self, int64_t no_worker_wait_ms=0, uint32_t retry_after_ms=500, uint64_t seed=1, str policy=POLICIES[0],
        dict policies=None, uint64_t window_bytes=4, uint64_t queue_bytes=1 << 62, uint64_t queue_node_bytes=1 << 62,
        uint64_t queue_service_bytes=1 << 62, uint64_t retain_bytes=1 << 30, uint64_t retain_node_bytes=1 << 30,
        uint64_t dedup_bytes=1 << 30, int64_t dedup_ms=600000, int64_t absence_ms=60000,
    ):
        cdef Limits limits
        limits.no_worker_wait_ms = no_worker_wait_ms
        limits.retry_after_ms = retry_after_ms
        limits.window_bytes = window_bytes
        limits.queue_bytes = queue_bytes
        limits.queue_node_bytes = queue_node_bytes
        limits.queue_service_bytes = queue_service_bytes
        limits.retain_bytes = retain_bytes
        limits.retain_node_bytes = retain_node_bytes
        limits.dedup_bytes = dedup_bytes
        limits.dedup_ms = dedup_ms
        limits.absence_ms = absence_ms
        self.has_memory = True
        limits.policy = POLICIES.index(policy)
        packed = policies_pack(policies or {})
        limits.policies = <const uint8_t*><const char*>packed
        limits.policies_bytes = len(packed)
        self.payloads = {}
        if broker_open(&self.broker, &limits, &self.counters, seed) != 0:
            raise MemoryError

    def __dealloc__(self):
        broker_close(&self.broker)

    # ---- events ----

    def set_permits(self, bytes packed):
        """The rules from now on; False: they are none, and the old ones stay."""
        return broker_set_permits(&self.broker, <const uint8_t*><const char*>packed, len(packed)) == 0

    def join(self, uint32_t peer, bint is_worker, uint32_t permit=0, bytes name=b""):
        """A connection stands, of somebody with a row of the rules, and perhaps with a name that it has to have."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        self.tickets += 1
        broker_join(
            &self.broker, peer, ROLE_WORKER if is_worker else ROLE_NODE, self.tickets, permit,
            <const uint8_t*><const char*>name, <uint8_t>len(name), &envelope, &verdict
        )
        return self._told(&envelope, &verdict)

    def message(self, uint32_t peer, bytes frame, int64_t now_ms, bytes content=None, message_bytes=None):
        """A message of a joined peer, read without a fault."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        self._read(frame, &envelope)
        broker_message(
            &self.broker, peer, &envelope, NULL if content is None else <const uint8_t*><const char*>content,
            0 if content is None else len(content), len(frame) if message_bytes is None else message_bytes, now_ms,
            &verdict
        )
        if verdict.kind == VERDICT_SEND:
            self._address(&envelope, &verdict)
        elif verdict.payload != <uint32_t>PAYLOAD_NONE and not verdict.is_charged and not self.has_memory:
            broker_unretained(&self.broker)
        elif verdict.payload != <uint32_t>PAYLOAD_NONE and not verdict.is_charged:
            self._keep(verdict.payload, self._written(&envelope))
        elif verdict.payload != <uint32_t>PAYLOAD_NONE:
            self._keep(verdict.payload, frame)
        return self._told(&envelope, &verdict)

    def unkept(self, uint32_t payload):
        """There was no memory for the message that was to be kept."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        frame = self.payloads.pop(payload)
        self._read(frame, &envelope)
        broker_unkept(&self.broker, &envelope, &verdict)
        return self._told(&envelope, &verdict)

    def unsent(self, uint32_t peer, bytes frame):
        """Nothing of the frame, which was for that worker, was written before its connection ended."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        self._read(frame, &envelope)
        broker_unsent(&self.broker, peer, &envelope, &verdict)
        if verdict.kind != VERDICT_KEEP:
            return
        if self.has_memory:
            self._keep(verdict.payload, frame)
        else:
            broker_unretained(&self.broker)

    def undelivered(self, uint32_t peer, bytes frame):
        """The node took no more when the frame was passed; what was spent with it is dropped already."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        verdict_clear(&verdict)
        verdict.kind = VERDICT_PASS
        verdict.peer = peer
        self._read(frame, &envelope)
        broker_undelivered(&self.broker, &envelope, &verdict)
        return self._told(&envelope, &verdict)

    def malformed(self, uint32_t peer, bytes words, bytes frame=b""):
        """A message that is none, but for a `frame` that could be read."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        memset(&envelope, 0, sizeof(EnvelopeView))
        if frame:
            envelope_read(<const uint8_t*><const char*>frame, len(frame), &envelope)
        broker_malformed(&self.broker, peer, words, &envelope, &verdict)
        return self._told(&envelope, &verdict)

    def leave(self, uint32_t peer, int64_t now_ms):
        """Its connection is gone."""
        broker_leave(&self.broker, peer, now_ms)

    def set_usable(self, uint32_t peer, bint is_usable):
        """Its outbox has room, or not."""
        broker_set_usable(&self.broker, peer, is_usable)

    def step(self, int64_t now_ms):
        """The next thing the broker does of itself, or None."""
        cdef EnvelopeView envelope
        cdef Verdict verdict
        if not broker_step(&self.broker, now_ms, &envelope, &verdict):
            return None
        if verdict.kind == VERDICT_SEND:
            self._address(&envelope, &verdict)
        return self._told(&envelope, &verdict)

    def set_memory(self, bint has_memory):
        """Is there any for copies of what is passed?"""
        self.has_memory = has_memory

    def dismiss(self, bytes name):
        """The worker of that name takes no more."""
        broker_dismiss(&self.broker, name, len(name))

    def drain(self):
        """Nothing new from now on."""
        broker_drain(&self.broker)

    def abort(self):
        """The time is over."""
        broker_abort(&self.broker)

    # ---- what it knows ----

    def due_ms(self):
        """When it has something to do, or None."""
        cdef int64_t due_ms = broker_due_ms(&self.broker)
        return None if due_ms == INT64_MAX else due_ms

    def counts(self):
        """The counters of managed traffic that are not zero, their prefix left out."""
        cdef int index
        found = {}
        for index, name in enumerate(COUNTER_NAMES):
            if self.counters.values[index] and name.startswith("managed_"):
                found[name.removeprefix("managed_")] = self.counters.values[index]
        return found

    def used(self):
        """What is in use: slots of requests, peers, services, lanes, alarms. Nothing of it may leak."""
        cdef uint32_t slot
        cdef uint64_t in_flight_bytes = 0
        for slot in range(self.broker.peers.capacity):
            if self.broker.peers.seats[slot] != NULL:
                in_flight_bytes += self.broker.peers.seats[slot].in_flight_bytes
        return {
            "in_flight_bytes": in_flight_bytes,
            "requests": self.broker.requests.used,
            "open": self.broker.open.count,
            "peers": self.broker.peers.live,
            "services": self.broker.services.count - 1,
            "lanes": self.broker.waiting.index.count,
            "alarms": self.broker.deadlines.count,
            "chains": self.broker.chains.index.count,
            "errands": self.broker.errands.count,
            "payloads": self.broker.keeping.used - self.broker_outcomes(),
            "between": self.broker.between,
            "queued_bytes": self.broker.queued_bytes,
            "retrying": self.broker.retrying,
            "rationed": self.broker.rationed.count,
            "retained_bytes": broker_retained_bytes(&self.broker),
        }

    def resting(self):
        """Workers that are given nothing for a while, because they failed too often."""
        cdef const Peer* worker = self.broker.resting.first
        found = []
        while worker != NULL:
            found.append(worker.slot)
            worker = worker.links[<int>ROW_RESTING].after
        return found

    @property
    def live(self):
        """Requests without an outcome yet."""
        return broker_live(&self.broker)

    @property
    def waiting(self):
        """Of them, those that nobody has taken."""
        return broker_waiting(&self.broker)

    @property
    def waiting_bytes(self):
        """Their bytes."""
        return broker_waiting_bytes(&self.broker)

    def rows(self):
        """Services, peers and offers, as lists of dictionaries, and of (peer, service)."""
        cdef uint32_t services
        cdef uint32_t peers
        cdef uint32_t offers
        cdef ServiceRow* service_rows
        cdef PeerRow* peer_rows
        cdef OfferRow* offer_rows
        cdef uint32_t index
        found = ([], [], [])
        broker_count_rows(&self.broker, &services, &peers, &offers)
        service_rows = <ServiceRow*>calloc(services + 1, sizeof(ServiceRow))
        peer_rows = <PeerRow*>calloc(peers + 1, sizeof(PeerRow))
        offer_rows = <OfferRow*>calloc(offers + 1, sizeof(OfferRow))
        try:
            if service_rows == NULL or peer_rows == NULL or offer_rows == NULL:
                raise MemoryError
            broker_fill_rows(&self.broker, service_rows, peer_rows, offer_rows)
            for index in range(services):
                found[0].append(service_row(&service_rows[index]))
            for index in range(peers):
                found[1].append(peer_row(&peer_rows[index]))
            for index in range(offers):
                found[2].append(offer_row(&offer_rows[index]))
            return found
        finally:
            free(service_rows)
            free(peer_rows)
            free(offer_rows)

    # ---- how fast it is ----

    def exchange(self, uint32_t node, uint32_t worker, bytes request, bytes reply, uint32_t depth, uint32_t rounds):
        """Nanoseconds for one REQUEST and its REPLY: `depth` requests, then their replies, `rounds` times over.

        The frames are read anew each time, as in the fast path; sequences begin at the request's own.
        """
        cdef EnvelopeView envelope
        cdef Verdict verdict
        cdef uint64_t sequence
        cdef uint64_t* leases = <uint64_t*>calloc(depth, sizeof(uint64_t))
        cdef const uint8_t* request_bytes = <const uint8_t*><const char*>request
        cdef const uint8_t* reply_bytes = <const uint8_t*><const char*>reply
        cdef size_t request_count = len(request)
        cdef size_t reply_count = len(reply)
        cdef uint32_t number
        cdef uint64_t missed = 0
        cdef int64_t begun_ns
        self._read(request, &envelope)
        sequence = envelope.head.sequence
        begun_ns = clock_ns()
        for _ in range(rounds):
            for number in range(depth):
                envelope_read(request_bytes, request_count, &envelope)
                envelope.head.sequence = sequence + number
                broker_message(&self.broker, node, &envelope, NULL, 0, request_count, 1, &verdict)
                missed += verdict.kind != VERDICT_PASS
                leases[number] = envelope.head.lease
            for number in range(depth):
                envelope_read(reply_bytes, reply_count, &envelope)
                envelope.head.sequence = sequence + number
                envelope.head.lease = leases[number]
                broker_message(&self.broker, worker, &envelope, NULL, 0, reply_count, 1, &verdict)
                missed += verdict.kind != VERDICT_PASS
            sequence += depth
        elapsed_ns = clock_ns() - begun_ns
        free(leases)
        assert missed == 0, f"{missed} messages were not passed"
        return elapsed_ns / (<uint64_t>depth * rounds)

    # ---- frames ----

    cdef int _read(self, bytes frame, EnvelopeView* envelope) except -1:
        if envelope_read(<const uint8_t*><const char*>frame, len(frame), envelope) != FAULT_NONE:
            raise ValueError(f"no envelope: {frame!r}")
        return 0

    cdef uint64_t broker_outcomes(self):
        cdef uint32_t number
        cdef uint32_t place
        cdef uint64_t count = 0
        for number in range(self.broker.peers.made):
            for place in range(self.broker.peers.by_number[number].ring.capacity):
                entry = self.broker.peers.by_number[number].ring.entries[place]
                count += entry.sequence != 0 and entry.payload != <uint32_t>PAYLOAD_NONE
        return count

    def memory(self):
        """What is remembered: outcomes kept, bytes charged, rings, absent nodes."""
        return {
            "outcomes": self.broker_outcomes(),
            "bytes": self.broker.memory.bytes,
            "rings": self.broker.memory.owners,
            "absent": self.broker.absent_count,
        }

    cdef int _address(self, EnvelopeView* envelope, const Verdict* verdict) except -1:
        frame = self.payloads[verdict.payload]
        self._read(frame, envelope)
        broker_address(&self.broker, envelope)
        return 0

    cdef object _written(self, const EnvelopeView* envelope):
        cdef uint8_t[ENVELOPE_BYTES_MAX] target
        return bytes_of(target, envelope_write(target, envelope))

    cdef object _keep(self, uint32_t payload, bytes frame):
        assert payload not in self.payloads, "a payload is kept twice"
        self.payloads[payload] = frame

    cdef object _told(self, const EnvelopeView* envelope, const Verdict* verdict):
        frame = None
        if verdict.kind == VERDICT_PASS or verdict.kind == VERDICT_SAY or verdict.kind == VERDICT_SEND:
            frame = self._written(envelope)
        for payload in verdict.spent:
            if payload != <uint32_t>PAYLOAD_NONE:
                del self.payloads[payload]
        return (
            VERDICTS[<int>verdict.kind], number_or_none(verdict.peer), frame, number_or_none(verdict.payload),
            CONTENTS[<int>verdict.content], number_or_none(verdict.spent[0]), number_or_none(verdict.closing),
            number_or_none(verdict.challenged),
        )


cdef object service_row(const ServiceRow* row):
    return {
        "name": bytes_of(row.name, row.name_bytes).decode(),
        "was_offered": bool(row.was_offered),
        "policy": POLICIES[row.policy],
        "workers": row.workers,
        "waiting": row.waiting,
        "waiting_bytes": row.waiting_bytes,
        "oldest_ms": row.oldest_ms,
        "accepted": row.account.accepted,
        **{outcome: row.account.outcomes[place] for place, outcome in enumerate(OUTCOMES)},
        "live": row.account.live,
    }


cdef object peer_row(const PeerRow* row):
    return {
        "peer": row.peer,
        "is_worker": row.role == ROLE_WORKER,
        "is_known": bool(row.is_known),
        "is_leaving": bool(row.is_leaving),
        "is_usable": bool(row.is_usable),
        "is_resting": bool(row.is_resting),
        "name": bytes_of(row.name, row.name_bytes).decode(),
        "incarnation": row.incarnation,
        "credit": row.credit,
        "in_flight": row.in_flight,
        "oldest_ms": row.oldest_ms,
        "settled": row.settled,
        "step": row.step if row.has_step else None,
        "progress": row.progress if row.has_progress else None,
        "told_ms": row.told_ms,
    }


cdef object offer_row(const OfferRow* row):
    return row.peer, bytes_of(row.service, row.service_bytes).decode()
