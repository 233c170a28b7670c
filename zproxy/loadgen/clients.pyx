"""Clients: libzmq DEALERs of one thread, plain or managed, that keep a window of requests under way, and check every
reply.

    window ─► slot ─► stamp, send ─► … proxy, worker, proxy … ─► receive ─► stamp_read: whose, which? ─► same slot again

A request is sent from its slot's buffer without a copy; the reply proves that the buffer was sent, and frees it.
The time of every round trip is kept for one client with a window of 1, and of a run that is timed.

Rule 1. Every reply is checked (stamp.pxd); the first wrong one ends the run.
Rule 2. A run ends when every request was answered, or when nothing has come for the time-out.
Rule 3. No Python object between the first request and the last reply.
"""

from typing import NamedTuple

from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from zproxy.envelope cimport REPLY, REQUEST, EnvelopeView, envelope_begin
from zproxy.libzmq cimport ZMQ_DEALER, ZMQ_SNDMORE, LibZmq, libzmq_check, libzmq_table, zmq_msg_t
from zproxy.loadgen.introduction cimport envelope_send, frame_read, introduce
from zproxy.loadgen.sockets cimport (
    CURVE_KEYS_BYTES, Sockets, sockets_close, sockets_connect, sockets_open, sockets_wait
)
from zproxy.loadgen.stamp cimport FILL, STAMPED_BYTES, stamp_make, stamp_read, stamp_slot, stamp_write

from zproxy.errors import NoAnswer, WrongReply

cdef enum:                      # what a run may end with, beside errno's
    LOAD_SILENT = -1
    LOAD_WRONG = -2

cdef enum:
    BURST_MESSAGES = 64         # replies between two looks at the clock: it costs 25 ns, a message 500
    BURST_BYTES = 1 << 20
    SAMPLES_FIRST = 1 << 16
    WAIT_MS = 250               # how often silence is looked for
    REQUEST_MS = 600_000        # a managed request's time: the run's own time-out comes first

CLIENTS_MAX = 1000                      # libzmq gives a context 1,023 sockets; a stamp has room for 65,535
WINDOW_MAX = 0xFFFF                     # the largest number in a stamp

cdef struct Flight:             # one client's window
    void* socket                # not owned
    uint64_t number             # of the client
    uint64_t sequence           # of its last request
    uint64_t* stamps            # by slot; 0 = nothing under way
    int64_t* sent_ns            # by slot
    uint32_t conversation       # of a managed one

cdef struct Load:               # one run over all clients; owns all but the sockets' own
    Sockets sockets
    bint is_managed
    uint64_t incarnation        # of all managed clients: their names differ
    Flight* flights
    unsigned char* payloads     # of all slots of all clients, `size` bytes each
    uint64_t* stamps            # of all slots of all clients
    int64_t* sent_ns            # of all slots of all clients
    size_t size
    uint64_t window
    uint64_t burst
    uint64_t to_send            # requests still allowed
    int64_t timeout_ns          # silence that ends the run
    int64_t until_ns            # no request after that
    uint64_t sent
    uint64_t answered
    bint was_answered           # in an earlier run: there is a proxy
    int64_t began_ns
    int64_t ended_ns
    bint is_timed               # asked for the round trips of any window
    bint keeps_samples
    int64_t* samples            # round trips in ns
    uint64_t sample_count
    uint64_t sample_capacity


class Tally(NamedTuple):
    """What one run came to. Times in seconds from the first request to the last reply; round trips in µs."""

    messages: int
    seconds: float
    rtt_p50_us: float | None
    rtt_p99_us: float | None


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef int sample_compare(const void* first, const void* second) noexcept nogil:
    cdef int64_t left = (<const int64_t*>first)[0]
    cdef int64_t right = (<const int64_t*>second)[0]
    return (left > right) - (left < right)


cdef int sample_add(Load* load, int64_t sample_ns) noexcept nogil:
    cdef void* grown
    if load.sample_count == load.sample_capacity:
        load.sample_capacity = max(2 * load.sample_capacity, <uint64_t>SAMPLES_FIRST)
        grown = realloc(load.samples, load.sample_capacity * sizeof(int64_t))
        if grown == NULL:
            return ENOMEM
        load.samples = <int64_t*>grown
    load.samples[load.sample_count] = sample_ns
    load.sample_count += 1
    return 0


# The sample that a share of all does not exceed; the samples are sorted.
cdef double sample_quantile_us(const Load* load, double share) noexcept nogil:
    cdef uint64_t index = <uint64_t>(share * load.sample_count)
    return load.samples[min(index, load.sample_count - 1)] / 1e3


# ---- one request, one reply ----

# The envelope of the client's next request.
cdef int head_send(const Load* load, const Flight* flight) noexcept nogil:
    cdef EnvelopeView envelope
    envelope_begin(&envelope, REQUEST)
    envelope.service = <const unsigned char*>b"load"
    envelope.head.service_bytes = 4
    envelope.head.incarnation = load.incarnation
    envelope.head.sequence = flight.sequence
    envelope.head.conversation = flight.conversation
    envelope.head.remaining_ms = REQUEST_MS
    return envelope_send(load.sockets.zmq, flight.socket, &envelope, ZMQ_SNDMORE)


# The envelope in front of a managed reply is taken off. 0, LOAD_WRONG or an errno: EAGAIN when there is none.
cdef int head_take(const Load* load, const Flight* flight, zmq_msg_t* frame) noexcept nogil:
    cdef EnvelopeView envelope
    if load.sockets.zmq.msg_recv(frame, flight.socket, load.sockets.receive_flags) < 0:
        return errno
    if not frame_read(load.sockets.zmq, frame, &envelope) or envelope.head.kind != <unsigned char>REPLY:
        return LOAD_WRONG
    return 0 if load.sockets.zmq.msg_more(frame) else <int>LOAD_WRONG


cdef int request_send(Load* load, Flight* flight, uint64_t slot) noexcept nogil:
    cdef zmq_msg_t request
    cdef int code
    cdef unsigned char* payload = load.payloads + (flight.number * load.window + slot) * load.size
    flight.sequence += 1
    flight.stamps[slot] = stamp_make(flight.number, slot, flight.sequence)
    stamp_write(payload, load.size, flight.stamps[slot])
    if load.keeps_samples:
        flight.sent_ns[slot] = clock_ns()
    if load.is_managed:
        code = head_send(load, flight)
        if code:
            return code
    load.sockets.zmq.msg_init_data(&request, payload, load.size, NULL, NULL)
    if load.sockets.zmq.msg_send(&request, flight.socket, 0) < 0:
        return errno
    load.sent += 1
    load.to_send -= 1
    return 0


# The slot this reply answers, or LOAD_WRONG.
cdef int64_t reply_match(const Load* load, const Flight* flight, zmq_msg_t* reply) noexcept nogil:
    cdef const LibZmq* zmq = load.sockets.zmq
    cdef uint64_t stamp
    cdef uint64_t slot
    if zmq.msg_more(reply) or zmq.msg_size(reply) != load.size:
        return LOAD_WRONG
    if not stamp_read(<const unsigned char*>zmq.msg_data(reply), load.size, &stamp):
        return LOAD_WRONG
    if load.size < STAMPED_BYTES:       # too short to say which: any that is under way
        slot = 0
        while slot < load.window and flight.stamps[slot] == 0:
            slot += 1
        return <int64_t>slot if slot < load.window else LOAD_WRONG
    slot = stamp_slot(stamp)
    return <int64_t>slot if slot < load.window and flight.stamps[slot] == stamp else LOAD_WRONG


# Takes one reply and sends the slot's next request. 0, LOAD_WRONG or an errno: EAGAIN when there is none.
cdef int reply_take(Load* load, Flight* flight) noexcept nogil:
    cdef const LibZmq* zmq = load.sockets.zmq
    cdef zmq_msg_t reply
    cdef int64_t received_ns
    cdef int64_t slot
    cdef int code = 0
    zmq.msg_init(&reply)
    if load.is_managed:
        code = head_take(load, flight, &reply)
        if code:
            zmq.msg_close(&reply)
            return code
    if zmq.msg_recv(&reply, flight.socket, load.sockets.receive_flags) < 0:
        code = errno
        zmq.msg_close(&reply)
        return code
    received_ns = clock_ns() if load.keeps_samples else 0
    slot = reply_match(load, flight, &reply)
    zmq.msg_close(&reply)
    if slot < 0:
        return LOAD_WRONG
    if load.keeps_samples:
        code = sample_add(load, received_ns - flight.sent_ns[slot])
    flight.stamps[slot] = 0
    load.answered += 1
    if code == 0 and load.to_send:
        code = request_send(load, flight, <uint64_t>slot)
    return code


# ---- a run ----

# Looks at the clock: when the time is over, what is under way is awaited and nothing more is sent.
cdef int64_t load_look(Load* load) noexcept nogil:
    cdef int64_t now_ns = clock_ns()
    if now_ns >= load.until_ns:
        load.to_send = 0
    return now_ns


cdef int flight_take(Load* load, Flight* flight) noexcept nogil:
    cdef uint64_t left = load.burst
    cdef int code = 0
    while code == 0 and load.answered < load.sent:
        code = reply_take(load, flight)
        left -= 1
        if left == 0:
            load_look(load)
            left = load.burst
    return 0 if code == EAGAIN or code == EINTR else code


# Every window, slot by slot, so that the clients start together.
cdef int load_fill(Load* load) noexcept nogil:
    cdef uint64_t slot
    cdef int index
    cdef int code = 0
    for slot in range(load.window):
        for index in range(load.sockets.count):
            if load.to_send and code == 0:
                code = request_send(load, &load.flights[index], slot)
    return code


cdef int load_round(Load* load, int ready) noexcept nogil:
    cdef int index
    cdef int code = 0
    for index in range(ready):
        code = flight_take(load, &load.flights[load.sockets.ready[index]])
        if code:
            return code
    return 0


# Sending has taken the news of every socket (Rule 2 of Sockets), so each is looked at once.
cdef int load_first_round(Load* load) noexcept nogil:
    cdef int index
    cdef int code = 0
    for index in range(load.sockets.count):
        if code == 0 and load.sockets.count > 1:
            code = flight_take(load, &load.flights[index])
    return code


cdef int load_run(Load* load) noexcept nogil:
    cdef int64_t heard_ns
    cdef uint64_t answered = 0
    cdef int code
    load.began_ns = heard_ns = load.ended_ns = clock_ns()
    code = load_fill(load)
    if code == 0:
        code = load_first_round(load)
    while code == 0 and load.answered < load.sent:
        code = load_round(load, sockets_wait(&load.sockets))
        load.ended_ns = load_look(load)
        if load.answered != answered:
            answered = load.answered
            heard_ns = load.ended_ns
        elif load.ended_ns - heard_ns >= load.timeout_ns:
            return LOAD_SILENT
    return code


cdef int load_prepare(Load* load) noexcept nogil:
    cdef uint64_t slots = load.window * <uint64_t>load.sockets.count
    cdef int index
    free(load.payloads)
    free(load.stamps)
    free(load.sent_ns)
    load.payloads = <unsigned char*>malloc(max(slots * load.size, <size_t>1))
    load.stamps = <uint64_t*>calloc(slots, sizeof(uint64_t))
    load.sent_ns = <int64_t*>calloc(slots, sizeof(int64_t))
    if load.payloads == NULL or load.stamps == NULL or load.sent_ns == NULL:
        return ENOMEM
    memset(load.payloads, FILL, slots * load.size)
    for index in range(load.sockets.count):
        load.flights[index].stamps = load.stamps + <uint64_t>index * load.window
        load.flights[index].sent_ns = load.sent_ns + <uint64_t>index * load.window
    load.burst = min(<uint64_t>BURST_MESSAGES, <uint64_t>BURST_BYTES // (load.size + 1) + 1)
    load.sent = load.answered = load.sample_count = 0
    load.keeps_samples = load.is_timed or load.window == 1 and load.sockets.count == 1
    return 0


cdef class Clients:
    """`count` DEALERs at `endpoint`, managed ones or plain. Nothing for `timeout_ms` ends a run. One thread.

    With `keys` (public, secret, the server's public: 96 bytes) all speak CURVE. `name`: of the only managed one;
    without it each has its own. Raises OSError; of managed ones NoAnswer, too: they are introduced at once.
    """

    cdef Load load
    cdef str endpoint

    def __cinit__(
        self, endpoint, *, int count=1, int timeout_ms=10_000, bint is_managed=False, str name="", bytes keys=b""
    ):
        cdef const LibZmq* zmq = libzmq_table()
        cdef bytes place = endpoint.encode()
        cdef int index
        if not 0 < count <= CLIENTS_MAX:
            raise ValueError(f"{count} clients: 1 to {CLIENTS_MAX} are possible")
        if len(keys) not in (0, CURVE_KEYS_BYTES):
            raise ValueError(f"three keys have {<int>CURVE_KEYS_BYTES} bytes, not {len(keys)}")
        self.endpoint = endpoint
        self.load.timeout_ns = <int64_t>timeout_ms * 1000000
        libzmq_check(sockets_open(&self.load.sockets, zmq, ZMQ_DEALER, count, min(timeout_ms, <int>WAIT_MS)))
        libzmq_check(sockets_connect(
            &self.load.sockets, place, is_managed, <const uint8_t*><const char*>keys if keys else NULL
        ))
        self.load.flights = <Flight*>calloc(count, sizeof(Flight))
        if self.load.flights == NULL:
            raise MemoryError
        for index in range(count):
            self.load.flights[index].socket = self.load.sockets.sockets[index]
            self.load.flights[index].number = <uint64_t>index
        self.load.is_managed = is_managed
        self.load.incarnation = <uint64_t>clock_ns()
        if is_managed:
            self._introduce(name)

    def __dealloc__(self):
        sockets_close(&self.load.sockets)       # first: libzmq may still look at the payloads
        free(self.load.flights)
        free(self.load.payloads)
        free(self.load.stamps)
        free(self.load.sent_ns)
        free(self.load.samples)

    def run(self, *, size_t size, uint64_t window, uint64_t count=0, double seconds=0, bint is_timed=False):
        """The Tally of requests of `size` bytes, `window` under way for each client, until `count` or `seconds`.

        `is_timed`: with its round trips, which cost two looks at the clock a message.
        Raises NoAnswer, WrongReply, OSError; after that these clients are of no more use.
        """
        cdef int code
        if not 0 < window <= WINDOW_MAX or not (count or seconds > 0):
            raise ValueError(f"a window of 1 to {WINDOW_MAX} and a count or seconds are needed")
        if self.load.answered < self.load.sent:
            raise NoAnswer("requests of an earlier run are still under way: open new clients")
        self.load.size = size
        self.load.window = window
        self.load.is_timed = is_timed
        self.load.to_send = count or <uint64_t>UINT64_MAX
        libzmq_check(load_prepare(&self.load))
        self.load.until_ns = clock_ns() + <int64_t>(seconds * 1e9) if seconds > 0 else <int64_t>INT64_MAX
        with nogil:
            code = load_run(&self.load)
        self._check(code)
        return self._tally()

    cdef int _introduce(self, str name) except -1:
        cdef Flight* flight
        cdef bytes called
        cdef const char* spoken
        cdef int index
        cdef int code = 0
        for index in range(self.load.sockets.count):
            flight = &self.load.flights[index]
            called = (name or f"load-{self.load.incarnation:x}-{index}").encode()
            spoken = called
            with nogil:
                code = introduce(
                    self.load.sockets.zmq, flight.socket, False, spoken, self.load.incarnation,
                    self.load.timeout_ns, &flight.conversation,
                )
            self._check(<int>LOAD_SILENT if code == EAGAIN else code)
        return 0

    cdef int _check(self, int code) except -1:
        missing = self.load.sent - self.load.answered
        if code == LOAD_SILENT and not self.load.was_answered and self.load.answered == 0:
            waited = f"{self.load.timeout_ns / 1e9:g} s"
            raise NoAnswer(f"no proxy has answered at {self.endpoint} within {waited}: start one, or name another")
        if code == LOAD_SILENT:
            which = f"{missing} of {self.load.sent} requests to {self.endpoint}"
            raise NoAnswer(f"{which} were never answered: see the proxy's log")
        if code == LOAD_WRONG:
            raise WrongReply(f"a reply from {self.endpoint} is not its request: does another worker answer there?")
        return libzmq_check(code)

    cdef object _tally(self):
        seconds = (self.load.ended_ns - self.load.began_ns) / 1e9
        self.load.was_answered = True
        if not self.load.keeps_samples:
            return Tally(self.load.answered, seconds, None, None)
        qsort(self.load.samples, self.load.sample_count, sizeof(int64_t), sample_compare)
        return Tally(
            self.load.answered, seconds, sample_quantile_us(&self.load, 0.5), sample_quantile_us(&self.load, 0.99)
        )
