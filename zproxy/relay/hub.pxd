"""Hub: what every part of the relay's I/O half shares: connections by slot, their lists and timers, memory,
counters, and the voice to the outside.

A connection is never freed where its end is noticed: hub_doom marks it, and the turn, which alone knows what else
hangs on it, buries it between two events. So nobody holds a pointer that dies under him.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.counters cimport Counters
from zproxy.names cimport Names
from zproxy.relay.block cimport Pool
from zproxy.relay.connection cimport (
    CONNECTING, LIST_COUNT, LIST_FLUSH, LIST_LEAVING, REFUSED, STATE_COUNT, TIMER_COUNT, WAITING, Connection,
    ConnectionList, ConnectionState, Reason, Side, TimerKind, list_append
)
from zproxy.relay.mailbox cimport EventKind, Mailbox
from zproxy.relay.poller cimport Poller
from zproxy.relay.sodium cimport KEY_BYTES, Sodium
from zproxy.relay.timer cimport TimerQueue, timer_arm, timer_disarm

cdef enum:
    REFUSED_STEP_MS = 250       # silence lasts 4 to 7 of these: 1 s and jitter
    REFUSED_STEPS_MIN = 4
    REFUSED_HELD_MAX = 1024     # silent refusals held at once; beyond, the oldest goes early
    ADDRESS_CONNECTIONS_MAX = 4096
    HANDSHAKES_MAX = 2048       # beyond, nothing is accepted until some are through

cdef struct Settings:           # integers only, fixed when the relay starts
    uint64_t max_message_bytes
    uint64_t memory_bytes
    uint64_t connection_bytes
    int64_t heartbeat_ms        # 0 = none sent
    int64_t stall_ms
    int64_t handshake_ms
    bint asks                   # about every peer: may it come in, by what name, and what may it do?

cdef struct Identity:           # of ours, for CURVE
    const Sodium* sodium        # NULL: no endpoint speaks CURVE
    uint8_t[KEY_BYTES] public
    uint8_t[KEY_BYTES] secret   # wiped by hub_close
    bint has_former             # peers may know us by the keys we had before, too
    uint8_t[KEY_BYTES] former_public
    uint8_t[KEY_BYTES] former_secret    # wiped likewise

cdef struct Hub:                # owned by the relay
    Settings settings
    Poller poller
    Pool pool
    Counters counters
    Mailbox mailbox
    Names routes                # routing id → connection slot
    Connection** table          # by slot; NULL = free
    uint32_t* generations       # by slot; grows with every use
    uint32_t* free_slots        # stack
    uint32_t free_count
    uint32_t capacity
    uint32_t connection_count
    uint32_t[STATE_COUNT][2] state_count    # connections by state and Side
    ConnectionList[LIST_COUNT] lists
    TimerQueue[TIMER_COUNT] timers
    uint8_t* read_buffer        # the one all small messages are parsed in
    uint8_t* raw_buffer         # the one all boxes are opened from
    Identity identity
    uint32_t handshakes_left    # CURVE's steps that this turn may still take
    bint is_draining            # clients are read no more
    int64_t now_ms              # of this turn
    uint32_t over_budget_count  # connections paused for their own waiting requests
    uint32_t over_rate_count    # and for what they have sent
    int paused_level            # highest level of memory at which one was paused
    uint64_t[2] unread_bytes    # by Side: what its peers have left in their outboxes
    uint64_t random_state

cdef int hub_open(Hub* hub) noexcept nogil
# Frees everything but the poller and the mailbox, which others may still call; returns the blocks that somebody leaked.
cdef uint64_t hub_close(Hub* hub) noexcept nogil

# A new connection around `fd` (taken over), watched by the poller; NULL: no memory (`fd` is closed).
cdef Connection* hub_admit(Hub* hub, int fd, Side side, int endpoint, int connector) noexcept nogil

# Moves the connection to `state` and keeps the counts: the one way states change.
cdef void hub_enter(Hub* hub, Connection* connection, ConnectionState state) noexcept nogil

# Its end was noticed, for `reason`; nothing of it is used from here on but its bookkeeping.
cdef void hub_doom(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil

# Its socket takes no more: what it has sent is still read, if it is read at all; then it ends.
cdef void hub_broken(Hub* hub, Connection* connection) noexcept nogil

# Last step of a burial: out of the table, memory returned.
cdef void hub_release(Hub* hub, Connection* connection) noexcept nogil

cdef void hub_tell(
    Hub* hub, EventKind kind, const Connection* connection, Reason reason, uint64_t size, uint64_t limit
) noexcept nogil

cdef void hub_tell_endpoint(Hub* hub, EventKind kind, Side side, int endpoint, int code) noexcept nogil

cdef uint64_t hub_random(Hub* hub) noexcept nogil
cdef int64_t clock_ns() noexcept nogil


# Names a connection for longer than it lives.
cdef inline uint64_t connection_tag(const Connection* connection) noexcept nogil:
    return <uint64_t>connection.generation << 32 | connection.slot


# The live connection behind a tag, or NULL for one that has gone.
cdef inline Connection* hub_find(const Hub* hub, uint64_t tag) noexcept nogil:
    cdef uint32_t slot = <uint32_t>tag
    if slot >= hub.capacity or hub.generations[slot] != <uint32_t>(tag >> 32):
        return NULL
    return hub.table[slot]


# FIN or RST was seen: no new work for it.
cdef inline void hub_hangup(Hub* hub, Connection* connection) noexcept nogil:
    connection.has_hangup = True
    if connection.is_managed:
        list_append(&hub.lists[<int>LIST_LEAVING], connection, LIST_LEAVING)


# Connections that still shake hands.
cdef inline uint32_t hub_handshaking(const Hub* hub) noexcept nogil:
    cdef uint32_t count = 0
    cdef int state
    for state in range(<int>CONNECTING, <int>WAITING + 1):
        count += hub.state_count[state][0] + hub.state_count[state][1]
    return count


# Refused ones that are kept silent for a while.
cdef inline uint32_t hub_refused(const Hub* hub) noexcept nogil:
    return hub.state_count[<int>REFUSED][0] + hub.state_count[<int>REFUSED][1]


cdef inline void hub_arm(Hub* hub, Connection* connection, TimerKind kind) noexcept nogil:
    timer_arm(&hub.timers[<int>kind], &connection.timers[<int>kind], hub.now_ms)


cdef inline void hub_disarm(Hub* hub, Connection* connection, TimerKind kind) noexcept nogil:
    timer_disarm(&hub.timers[<int>kind], &connection.timers[<int>kind])


# After a flush or a burial: what its peer leaves unread.
cdef inline void hub_weigh_outbox(Hub* hub, Connection* connection, uint64_t bytes) noexcept nogil:
    hub.unread_bytes[<int>connection.side] += bytes - connection.unread_bytes
    connection.unread_bytes = bytes


# Its outbox has something; it is written at the end of the turn, if the socket takes anything.
cdef inline void hub_want_flush(Hub* hub, Connection* connection) noexcept nogil:
    if connection.may_write and not connection.links[<int>LIST_FLUSH].is_linked:
        list_append(&hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
