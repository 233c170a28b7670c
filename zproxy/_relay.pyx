"""Relay: the Python wall of one engine and its thread.

Python configures, asks and observes; no message ever comes here. Codes become exceptions at this wall and
nowhere else. The thread is a plain pthread with all signals blocked: it never holds the GIL and cannot be
interrupted, and Python's main thread keeps every signal.
"""

import os
import threading
import time
from typing import NamedTuple

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport getpid

from zproxy._engine cimport Engine, engine_close, engine_open, engine_run
from zproxy._fastpath cimport DEDUP_IDS as PATH_DEDUP_IDS, FRAMES_MAX, Notice
from zproxy._report cimport report_unwrap
from zproxy.counters cimport COUNTER_COUNT, GAUGE_COUNT
from zproxy.relay.address cimport Address, address_pack_ip, address_pack_path
from zproxy.relay.connection cimport SIDE_BACKEND, SIDE_FRONTEND, Side
from zproxy.relay.endpoint cimport KEYS_MAX, endpoints_connect, endpoints_listen
from zproxy.relay.liveness cimport BEAT_MS as LIVENESS_BEAT_MS
from zproxy.relay.mailbox cimport (
    COMMAND_ADDRESS, COMMAND_DISMISS, COMMAND_NAME_BYTES, COMMAND_PERMITS, COMMAND_REVOKE, COMMAND_SERVER_KEYS,
    COMMAND_STOP, EVENT_CAPACITY, QUESTION_CAPACITY, Answer as CAnswer, Command, Event as CEvent,
    Question as CQuestion, mailbox_answer, mailbox_ask_snapshot, mailbox_await_end, mailbox_await_event,
    mailbox_await_question, mailbox_await_snapshot, mailbox_close, mailbox_open, mailbox_post, mailbox_take_report
)
from zproxy.relay.poller cimport poller_close, poller_wake
from zproxy.relay.sodium cimport KEY_BYTES, sodium_table
from zproxy.relay.zmtp cimport LONG_HEADER_BYTES, header_write

from zproxy.counters import COUNTER_NAMES, GAUGE_NAMES
from zproxy.errors import AlreadyStarted, ForkedProxy, RelayStuck
from zproxy.relay.connection import REASONS

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, void* attributes, void* (*body)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum: SIG_SETMASK
    int sigfillset(sigset_t* signals)
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* before)

cdef extern from *:
    """
    #ifdef ZPROXY_DEBUG
    #define ZPROXY_IS_DEBUG 1
    #else
    #define ZPROXY_IS_DEBUG 0
    #endif
    """
    bint ZPROXY_IS_DEBUG

MAX_FRAMES = <int>FRAMES_MAX
DEDUP_IDS = <int>PATH_DEDUP_IDS
BEAT_MS = <int>LIVENESS_BEAT_MS
FRONTEND = <int>SIDE_FRONTEND
BACKEND = <int>SIDE_BACKEND

EVENT_KINDS = ("connected", "disconnected", "refused", "connect_failed", "accept_failed", "denied", "stopped")
SOCKET_TYPES = ("", "REQ", "REP", "DEALER", "ROUTER")

POST_PAUSE_S = 0.005

cdef enum:
    SNAPSHOT_TIMEOUT_MS = 10000
    POST_ATTEMPTS = 200
    RETRY_AFTER_MS = 2000           # when a peer whose name is in use, or who was refused for now, may come again


class Question(NamedTuple):
    """May this peer come in? `answer` it by its tag.

    `key`: the public key (32 bytes) it has proved to have, b"" where it speaks no CURVE; `uid`: of a Unix socket's
    peer, -1 for TCP.
    """

    tag: int
    side: int
    endpoint: int
    key: bytes
    uid: int
    peer: str
    is_managed: bool
    routing_id: bytes


class Event(NamedTuple):
    """One thing the relay thread saw besides messages; `kind` is one of EVENT_KINDS, `reason` one of REASONS.

    `name`: the one that its key gives the peer; `key`: the public key (32 bytes) it has proved to have, b"" for none;
    `is_former`: it is in, and knows the relay by its former key.
    """

    kind: str
    side: int
    endpoint: int
    reason: str
    peer: str
    routing_id: bytes
    socket_type: str
    size: int
    limit: int
    name: str = ""
    key: bytes = b""
    is_former: bool = False


MOST = (1 << 64) - 1


cdef void* thread_body(void* argument) noexcept nogil:
    engine_run(<Engine*>argument)
    return NULL


cdef object event_wrap(const CEvent* event):
    return Event(
        EVENT_KINDS[event.kind],
        event.side,
        event.endpoint,
        REASONS[event.reason],
        (<const char*>event.peer).decode(),
        (<const char*>event.routing_id)[:event.routing_id_bytes],
        SOCKET_TYPES[event.socket_type],
        event.size,
        event.limit,
        (<const char*>event.name)[:event.name_bytes].decode(errors="replace"),
        event.key[:KEY_BYTES] if event.has_key else b"",
        bool(event.is_former),
    )


cdef object question_wrap(const CQuestion* question):
    return Question(
        question.tag,
        question.side,
        question.endpoint,
        question.key[:KEY_BYTES] if question.has_key else b"",
        question.uid,
        (<const char*>question.peer).decode(),
        bool(question.is_managed),
        (<const char*>question.routing_id)[:question.routing_id_bytes],
    )


# `body` as the frame that ends a message.
cdef bytes frame_of(bytes body):
    cdef uint8_t[<int>LONG_HEADER_BYTES] header
    return header[:header_write(header, False, len(body))] + body


cdef void notice_set(Notice* notice, bytes frame) noexcept:
    notice.bytes = <const uint8_t*><const char*>frame
    notice.count = len(frame)


cdef class Relay:
    """One relay and its thread. All methods may be called from any thread of the process that made it.

    Sizes in bytes, times as the names say. After a fork every method raises ForkedProxy.
    """

    cdef Engine engine
    cdef pthread_t thread
    cdef bint is_started
    cdef bint is_joined
    cdef bint is_closed
    cdef bytes welcome              # the engine borrows these two: __dealloc__ comes before they are let go
    cdef bytes accepted
    cdef object reporting           # a lock
    cdef tuple rows                 # of the newest report
    cdef int owner_pid              # no object: __dealloc__ needs it after the collector has cleared those

    def __cinit__(
        self, *, uint64_t max_message_bytes, uint64_t memory_bytes, uint64_t connection_bytes,
        int64_t heartbeat_ms=0, int64_t stall_ms=30_000, int64_t handshake_ms=5_000, int64_t spin_us=100,
        bint spin_auto=True, int64_t no_worker_wait_ms=0, uint32_t policy=0, bytes policies=b"",
        uint64_t window_bytes=0, uint64_t queue_bytes=MOST, uint64_t queue_node_bytes=MOST,
        uint64_t queue_service_bytes=MOST, uint64_t retain_bytes=0, uint64_t dedup_bytes=0, int64_t dedup_ms=600000,
        int64_t absence_ms=60000,
        bytes welcome=b"", bytes accepted=b"", bint asks=False, bytes curve_public=b"", bytes curve_secret=b"",
        bytes curve_former_public=b"", bytes curve_former_secret=b"",
    ):
        cdef int code
        for pair in ((curve_public, curve_secret), (curve_former_public, curve_former_secret)):
            if {len(key) for key in pair} not in ({0}, {<int>KEY_BYTES}):
                raise ValueError(f"a key has {<int>KEY_BYTES} bytes")
        self.owner_pid = getpid()
        self.reporting = threading.Lock()
        if mailbox_open(&self.engine.hub.mailbox, <int>COUNTER_COUNT + <int>GAUGE_COUNT) != 0:
            raise MemoryError
        self.engine.hub.settings.max_message_bytes = max_message_bytes
        self.engine.hub.settings.memory_bytes = memory_bytes
        self.engine.hub.settings.connection_bytes = connection_bytes
        self.engine.hub.settings.heartbeat_ms = heartbeat_ms
        self.engine.hub.settings.stall_ms = stall_ms
        self.engine.hub.settings.handshake_ms = handshake_ms
        self.engine.hub.settings.asks = asks
        if curve_secret:
            self.engine.hub.identity.sodium = sodium_table()
            memcpy(self.engine.hub.identity.public, <const char*>curve_public, KEY_BYTES)
            memcpy(self.engine.hub.identity.secret, <const char*>curve_secret, KEY_BYTES)
        if curve_former_secret:
            self.engine.hub.identity.has_former = True
            memcpy(self.engine.hub.identity.former_public, <const char*>curve_former_public, KEY_BYTES)
            memcpy(self.engine.hub.identity.former_secret, <const char*>curve_former_secret, KEY_BYTES)
        self.engine.spin.limit_ns = spin_us * 1000
        self.engine.spin.is_auto = spin_auto
        self.engine.path.limits.no_worker_wait_ms = no_worker_wait_ms
        self.engine.path.limits.retry_after_ms = RETRY_AFTER_MS
        self.engine.path.limits.window_bytes = window_bytes
        self.engine.path.limits.queue_bytes = queue_bytes
        self.engine.path.limits.queue_node_bytes = queue_node_bytes
        self.engine.path.limits.queue_service_bytes = queue_service_bytes
        self.engine.path.limits.retain_bytes = retain_bytes
        self.engine.path.limits.retain_node_bytes = retain_bytes // 2
        self.engine.path.limits.dedup_bytes = dedup_bytes
        self.engine.path.limits.dedup_ms = dedup_ms
        self.engine.path.limits.absence_ms = absence_ms
        self.engine.path.limits.policy = policy
        self.engine.path.limits.policies = <const uint8_t*><const char*>policies    # read by engine_open, and not kept
        self.engine.path.limits.policies_bytes = len(policies)
        self.welcome, self.accepted = frame_of(welcome), frame_of(accepted)
        notice_set(&self.engine.path.welcome, self.welcome)
        notice_set(&self.engine.path.accepted, self.accepted)
        code = engine_open(&self.engine)
        self.engine.path.limits.policies = NULL
        if code:
            raise OSError(code, os.strerror(code))

    def __dealloc__(self):
        if self.owner_pid != getpid():
            return                      # after a fork: the thread and what it owns belong to the parent
        if self.is_started and not self.is_joined:
            self._post_stop(0)
            with nogil:
                pthread_join(self.thread, NULL)
        elif not self.is_started and self.engine.hub.read_buffer != NULL:
            engine_close(&self.engine)
        poller_close(&self.engine.hub.poller)
        mailbox_close(&self.engine.hub.mailbox)

    def add_listener(self, int side, int endpoint, int fd, bint is_curve=False):
        """Accepts from `fd`, a bound, listening, non-blocking socket, which is the relay's from here on.

        `is_curve`: who comes there speaks CURVE, and nothing else; a relay without keys of its own cannot.
        """
        self._check_configurable()
        self._check_keys(is_curve)
        if endpoints_listen(&self.engine.endpoints, <Side>side, endpoint, fd, is_curve) != 0:
            raise MemoryError

    def add_connector(self, int side, int endpoint, address, server_keys=()):
        """Connects to `address`, a numeric (ip, port) or a Unix socket's path, again and again.

        With `server_keys`, one or two public keys, it speaks CURVE with a server that has one of them.
        """
        cdef Address packed = address_wrap(address)
        cdef bytes keys = keys_wrap(server_keys)
        self._check_configurable()
        self._check_keys(bool(keys))
        if endpoints_connect(
            &self.engine.endpoints, <Side>side, endpoint, &packed, <const uint8_t*><const char*>keys, len(server_keys)
        ) != 0:
            raise MemoryError

    def set_address(self, int endpoint, address):
        """From now on the connector `endpoint` connects there; a live connection stays."""
        cdef Command command
        self._check_owner()
        if self.has_ended:
            return
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_ADDRESS
        command.endpoint = endpoint
        command.address = address_wrap(address)
        self._post(&command)

    def set_server_keys(self, int endpoint, server_keys):
        """From now on the server that connector `endpoint` dials has one of these keys, two at most; none: it waits.

        A live connection stays. A connector that was added without keys speaks NULL for ever.
        """
        cdef Command command
        self._check_owner()
        if self.has_ended:
            return
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_SERVER_KEYS
        command.endpoint = endpoint
        self._post_content(&command, keys_wrap(server_keys))

    def start(self):
        """Starts the thread."""
        cdef sigset_t all_signals
        cdef sigset_t before
        cdef int code
        self._check_configurable()
        sigfillset(&all_signals)
        pthread_sigmask(SIG_SETMASK, &all_signals, &before)     # the thread inherits the mask
        code = pthread_create(&self.thread, NULL, thread_body, &self.engine)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if code:
            raise OSError(code, os.strerror(code))
        self.is_started = True

    def close(self):
        """Closes the listeners of a relay that was never started, and will not be; a started one closes its own."""
        self._check_owner()
        if not self.is_started and not self.is_closed and self.engine.hub.read_buffer != NULL:
            engine_close(&self.engine)
        self.is_closed = True

    @property
    def has_started(self):
        return self.is_started

    @property
    def has_ended(self):
        """Is the thread's work done? Its last events may still be fetched."""
        return self.is_started and bool(mailbox_await_end(&self.engine.hub.mailbox, 0))

    def stop(self, int64_t drain_ms):
        """Asks the thread to end once what was accepted is written, `drain_ms` from now at the latest."""
        self._check_owner()
        if self.is_started and not self.is_joined:
            self._post_stop(drain_ms)

    def dismiss(self, bytes name):
        """The managed worker of that name, 64 bytes at most, is given nothing more; no-op where there is none."""
        cdef Command command
        self._check_owner()
        if not self.is_started or self.has_ended:
            return
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_DISMISS
        command.name_bytes = len(name[:COMMAND_NAME_BYTES])
        memcpy(command.name, <const char*>name, command.name_bytes)
        self._post(&command)

    def revoke(self, bytes key, bint is_plain_only=False):
        """Who came in by this public key, 32 bytes, is closed; or those of them that are plain. Nobody may have."""
        cdef Command command
        self._check_owner()
        if not self.is_started or self.has_ended:
            return
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_REVOKE
        command.argument = is_plain_only
        memcpy(command.key, <const char*>key, min(len(key), <int>KEY_BYTES))
        self._post(&command)

    def set_permits(self, bytes packed):
        """Who may do what, from now on, as permits_pack makes it; before the start, from the start on."""
        cdef Command command
        self._check_owner()
        if self.has_ended:
            return
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_PERMITS
        self._post_content(&command, packed)

    def questions(self, int64_t timeout_ms):
        """Who waits to come in, since the last call; waits up to `timeout_ms` for a first one."""
        cdef CQuestion question
        cdef bint is_filled
        self._check_owner()
        found = []
        while len(found) < QUESTION_CAPACITY:
            with nogil:
                is_filled = mailbox_await_question(&self.engine.hub.mailbox, &question, timeout_ms)
            if not is_filled:
                break
            found.append(question_wrap(&question))
            timeout_ms = 0
        return found

    def answer(self, uint64_t tag, reason="", bytes name=b"", uint32_t permit=0):
        """Lets the peer of that question in, or, with one of REASONS, not.

        `name`, 64 bytes at most, is the only one it may give itself, b"": any; `permit`: the number of its rights.
        """
        cdef CAnswer answer
        self._check_owner()
        memset(&answer, 0, sizeof(CAnswer))
        answer.tag = tag
        answer.reason = REASONS.index(reason)
        answer.permit = permit
        answer.name_bytes = len(name[:COMMAND_NAME_BYTES])
        memcpy(answer.name, <const char*>name, answer.name_bytes)
        if mailbox_answer(&self.engine.hub.mailbox, &answer) != 0:
            raise RelayStuck("4096 answers wait for the relay's thread, and it does not take them")
        poller_wake(&self.engine.hub.poller)

    def join(self, int64_t timeout_ms):
        """True once the thread has ended; False when it has not within `timeout_ms`."""
        cdef bint has_ended
        self._check_owner()
        if not self.is_started or self.is_joined:
            return True
        with nogil:
            has_ended = mailbox_await_end(&self.engine.hub.mailbox, timeout_ms)
        if not has_ended or self.is_joined:
            return has_ended
        self.is_joined = True
        with nogil:
            pthread_join(self.thread, NULL)
        if ZPROXY_IS_DEBUG and self.engine.leaked:
            raise AssertionError(f"the relay ended with {self.engine.leaked} blocks, slices or connections left")
        return True

    def snapshot(self):
        """All counters and gauges by name, copied between two events; after the end, the last ones."""
        return self._snapshot(False)

    def report(self):
        """A snapshot, and of the same moment who is there: (counters, services, peers), as ServiceRow and PeerRow.

        After the end the last ones, and no peers; before the start, nobody.
        """
        cdef void* report
        self._check_owner()
        with self.reporting:        # one at a time: a report is taken by whoever comes first
            counters = self._snapshot(True)
            report = mailbox_take_report(&self.engine.hub.mailbox)
            if report != NULL or not self.has_ended:
                self.rows = report_unwrap(report)
            services, peers = self.rows
        return counters, services, peers

    def _snapshot(self, wants_report):
        cdef uint64_t[<int>COUNTER_COUNT + <int>GAUGE_COUNT] values
        cdef uint64_t number
        cdef bint is_filled
        self._check_owner()
        if not self.is_started:
            memset(values, 0, sizeof(values))
        else:
            number = mailbox_ask_snapshot(&self.engine.hub.mailbox, wants_report)
            if not self.is_joined:
                poller_wake(&self.engine.hub.poller)
            with nogil:
                is_filled = mailbox_await_snapshot(&self.engine.hub.mailbox, number, values, SNAPSHOT_TIMEOUT_MS)
            if not is_filled:
                raise RelayStuck(f"the relay's thread did not answer within {SNAPSHOT_TIMEOUT_MS} ms")
        return {name: values[index] for index, name in enumerate(COUNTER_NAMES + GAUGE_NAMES)}

    def events(self, int64_t timeout_ms):
        """What happened since the last call, a mailbox full at most; waits up to `timeout_ms` for a first event."""
        cdef CEvent event
        cdef bint is_filled
        self._check_owner()
        found = []
        while len(found) < EVENT_CAPACITY:
            with nogil:
                is_filled = mailbox_await_event(&self.engine.hub.mailbox, &event, timeout_ms)
            if not is_filled:
                break
            found.append(event_wrap(&event))
            timeout_ms = 0
        return found

    def _check_owner(self):
        if self.owner_pid != getpid():
            raise ForkedProxy("this proxy was made before a fork and belongs to the parent process: make a new one")

    def _check_keys(self, is_curve):
        if is_curve and self.engine.hub.identity.sodium == NULL:
            raise ValueError("this relay has no keys: it cannot speak CURVE")

    def _check_configurable(self):
        self._check_owner()
        if self.is_started or self.is_closed:
            raise AlreadyStarted("this proxy has been started or stopped before, and each runs once: make a new one")

    cdef int _post(self, const Command* command) except -1:
        cdef int _attempt
        for _attempt in range(POST_ATTEMPTS):
            if mailbox_post(&self.engine.hub.mailbox, command) == 0:
                poller_wake(&self.engine.hub.poller)
                return 0
            time.sleep(POST_PAUSE_S)        # many keys are revoked at once
        raise RelayStuck("64 commands wait for the relay's thread, and it does not take them")

    cdef int _post_content(self, Command* command, bytes content) except -1:
        command.content = <uint8_t*>malloc(max(len(content), 1))
        if command.content == NULL:
            raise MemoryError
        command.content_bytes = len(content)
        memcpy(command.content, <const char*>content, len(content))
        try:
            self._post(command)
        except BaseException:
            free(command.content)
            raise
        return 0

    cdef int _post_stop(self, int64_t drain_ms) except -1:
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.kind = COMMAND_STOP
        command.argument = max(drain_ms, 0)
        return self._post(&command)


# One behind the other.
cdef bytes keys_wrap(server_keys):
    cdef bytes keys = b"".join(server_keys)
    if len(keys) != len(server_keys) * KEY_BYTES or len(server_keys) > KEYS_MAX:
        raise ValueError(f"a server has at most {<int>KEYS_MAX} keys, of {<int>KEY_BYTES} bytes each")
    return keys


cdef Address address_wrap(address) except *:
    cdef Address packed
    if isinstance(address, str):
        path = os.fsencode(address)
        if address_pack_path(&packed, path, len(path)) != 0:
            raise ValueError(f"Unix socket path {address!r} is longer than 107 bytes")
        return packed
    ip, port = address
    if address_pack_ip(&packed, ip.encode(), port) != 0:
        raise ValueError(f"{ip!r} is no numeric IP address")
    return packed
