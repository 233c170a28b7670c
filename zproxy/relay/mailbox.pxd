"""Mailbox: what Python tells the relay thread, and what it hears back. The one place with a lock.

    Python ── Command ──► ring ──► relay, woken by the poller's eventfd
    relay  ── Event ────► ring ──► Python, waiting without the GIL
    relay  ── Question ─► ring ──► Python ── Answer ──► ring ──► relay, woken
    relay  ── Snapshot ─► copied between two events, when asked; with it a report, if that is wanted, too

The relay takes the lock only when it is woken, or when it has an event to tell or a question: never for a message.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.relay.address cimport ADDRESS_TEXT_BYTES, Address
from zproxy.relay.sodium cimport KEY_BYTES

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum:
    COMMAND_CAPACITY = 64
    EVENT_CAPACITY = 4096
    COMMAND_NAME_BYTES = 64
    QUESTION_CAPACITY = 4096    # more than may shake hands at once

cdef enum CommandKind:
    COMMAND_STOP                # argument: drain time, ms
    COMMAND_ADDRESS             # connector `endpoint` connects to `address` from now on
    COMMAND_DISMISS             # the worker of that name takes no more
    COMMAND_REVOKE              # who came in by `key` is closed; with `argument` those who are plain
    COMMAND_PERMITS             # `content`: the rules from now on
    COMMAND_SERVER_KEYS         # `content`: the keys that the server at connector `endpoint` may have from now on

cdef struct Command:
    CommandKind kind
    int endpoint
    int64_t argument
    Address address
    uint8_t[COMMAND_NAME_BYTES] name
    uint8_t name_bytes
    uint8_t[KEY_BYTES] key
    uint8_t* content            # malloc'ed, the relay's to free; NULL: none
    size_t content_bytes

cdef enum EventKind:
    EVENT_CONNECTED
    EVENT_DISCONNECTED
    EVENT_REFUSED
    EVENT_CONNECT_FAILED
    EVENT_ACCEPT_FAILED
    EVENT_DENIED                # a managed peer wanted what its rights do not allow, and was told so
    EVENT_STOPPED

cdef struct Event:
    EventKind kind
    int side
    int endpoint
    int reason                  # Reason, of connection.pxd
    char[ADDRESS_TEXT_BYTES] peer
    uint8_t[256] routing_id
    uint32_t routing_id_bytes
    int socket_type
    uint64_t size
    uint64_t limit
    uint8_t name_bytes          # of the one that its key gives it; 0: none
    uint8_t[COMMAND_NAME_BYTES] name
    bint has_key                # it has proved to have `key`
    uint8_t[KEY_BYTES] key
    bint is_former              # it is in, and knows us by our former key

cdef struct Question:           # may it come in?
    uint64_t tag                # of its connection
    int side
    int endpoint
    bint has_key                # it has proved to have `key`
    uint8_t[KEY_BYTES] key
    int64_t uid                 # of the process at the other end of a Unix socket; -1: it is none
    bint is_managed
    char[ADDRESS_TEXT_BYTES] peer
    uint8_t[256] routing_id
    uint32_t routing_id_bytes

cdef struct Answer:
    uint64_t tag
    int reason                  # Reason, of connection.pxd, why not; REASON_NONE: it may
    uint32_t permit             # what it may do
    uint8_t name_bytes          # 0: it names itself
    uint8_t[COMMAND_NAME_BYTES] name

cdef struct Ring:               # of things of one size
    uint8_t* items              # owned
    size_t item_bytes
    uint64_t capacity
    uint64_t put
    uint64_t got

cdef struct Mailbox:            # owned by the Relay object; outlives the thread
    pthread_mutex_t lock
    pthread_cond_t changed      # an event came, a snapshot was served, the relay ended
    Command[COMMAND_CAPACITY] commands
    uint32_t command_count
    Ring events
    Ring questions
    Ring answers
    uint64_t snapshots_asked
    uint64_t snapshots_served
    uint64_t* snapshot          # counters, then gauges
    uint32_t snapshot_count
    bint wants_report
    void* report                # malloc'ed by the relay, freed by who takes it; what it holds is not known here
    bint has_ended

# 0, or -1: no memory.
cdef int mailbox_open(Mailbox* mailbox, uint32_t snapshot_count) noexcept nogil
cdef void mailbox_close(Mailbox* mailbox) noexcept nogil

# Python's side. Waits are bounded (ms) and made without the GIL.
# mailbox_post: 0, or -1 when COMMAND_CAPACITY commands wait. The caller wakes the poller.
cdef int mailbox_post(Mailbox* mailbox, const Command* command) noexcept nogil

# 1: filled, 0: nothing came in time.
cdef int mailbox_await_event(Mailbox* mailbox, Event* event, int64_t timeout_ms) noexcept nogil

cdef int mailbox_await_question(Mailbox* mailbox, Question* question, int64_t timeout_ms) noexcept nogil

# 0, or -1: the ring is full. The caller wakes the poller.
cdef int mailbox_answer(Mailbox* mailbox, const Answer* answer) noexcept nogil

# A snapshot's number, to be awaited; the caller wakes the poller in between. 1: filled, 0: not in time.
cdef uint64_t mailbox_ask_snapshot(Mailbox* mailbox, bint wants_report) noexcept nogil
cdef int mailbox_await_snapshot(Mailbox* mailbox, uint64_t number, uint64_t* values, int64_t timeout_ms) noexcept nogil

# The newest report, the caller's to free now, or NULL: none was served, or another took it.
cdef void* mailbox_take_report(Mailbox* mailbox) noexcept nogil

cdef bint mailbox_await_end(Mailbox* mailbox, int64_t timeout_ms) noexcept nogil

# The relay's side. mailbox_put, mailbox_ask: False when the ring is full, and the event or the question is lost.
cdef bint mailbox_take(Mailbox* mailbox, Command* command) noexcept nogil
cdef bint mailbox_put(Mailbox* mailbox, const Event* event) noexcept nogil
cdef bint mailbox_ask(Mailbox* mailbox, const Question* question) noexcept nogil
cdef bint mailbox_take_answer(Mailbox* mailbox, Answer* answer) noexcept nogil
cdef uint64_t mailbox_wants_snapshot(Mailbox* mailbox) noexcept nogil     # its number, or 0
cdef void mailbox_serve_snapshot(Mailbox* mailbox, uint64_t number, const uint64_t* values) noexcept nogil
cdef bint mailbox_wants_report(Mailbox* mailbox) noexcept nogil
cdef void mailbox_serve_report(Mailbox* mailbox, void* report) noexcept nogil      # before its snapshot
cdef void mailbox_end(Mailbox* mailbox) noexcept nogil
