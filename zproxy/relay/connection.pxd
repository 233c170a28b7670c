"""Connection: one peer, from accept or connect to close.

One machine, one enum, one table of legal transitions (connection.pyx); the drawing in docs/architecture.md is
made from it.

    CONNECTING ─► GREETING ─► HANDSHAKE ──► (ASKED) ──► READY ───────────┐
                     │            │            │  └───► WAITING ─► READY │
                     ▼            ▼            ▼           ▼             ▼
                  REFUSED (silent, closed later)     REJECTED (ERROR is flushed, then closed)     LINGER (stop)
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.relay.address cimport ADDRESS_KEY_BYTES, ADDRESS_TEXT_BYTES
from zproxy.relay.backlog cimport Lane
from zproxy.relay.block cimport Pool
from zproxy.relay.cipher cimport Cipher, cipher_pending
from zproxy.relay.handshake cimport SocketType
from zproxy.relay.inbox cimport Inbox, inbox_pending
from zproxy.relay.outbox cimport Outbox
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.timer cimport Timer

cdef enum Side:
    SIDE_FRONTEND               # we are ROUTER; peers are clients
    SIDE_BACKEND                # we are DEALER; peers are workers

cdef enum ConnectionState:
    CONNECTING                  # connect(2) is under way
    GREETING                    # our greeting is out, theirs is awaited
    HANDSHAKE                   # our READY is out, theirs is awaited
    ASKED                       # it has said who it is; whether it may come in is being asked
    WAITING                     # shaken hands, but the holder of its routing id may still live
    READY                       # messages pass
    REFUSED                     # unread and silent until its time is up: the peer will try again
    REJECTED                    # unread; an ERROR leaves, then it is closed: the peer will not come back
    LINGER                      # the relay stops: all is written, the peer's end is awaited
    CLOSED
    STATE_COUNT

cdef enum Reason:               # why a connection ended; words for the log in connection.pyx
    REASON_NONE
    REASON_EOF
    REASON_RESET
    REASON_STOP
    REASON_SOCKET_TYPE
    REASON_MECHANISM
    REASON_VERSION
    REASON_MALFORMED
    REASON_HANDSHAKE_TIMEOUT
    REASON_NAME_IN_USE
    REASON_ROUTING_ID
    REASON_LIMIT
    REASON_TOO_LARGE
    REASON_STALLED
    REASON_HEARTBEAT
    REASON_UNACKNOWLEDGED
    REASON_FENCED
    REASON_PEER_ERROR
    REASON_NO_MEMORY
    REASON_CONNECT
    REASON_FORGED
    REASON_UNKNOWN_KEY
    REASON_EXPIRED
    REASON_WRONG_ROLE
    REASON_WRONG_USER
    REASON_DENIED
    REASON_REVOKED
    REASON_COUNT

cdef struct Link:               # a place in one of the relay's lists of connections
    Connection* before
    Connection* after
    bint is_linked

cdef enum ListKind:
    LIST_READ                   # may be read now
    LIST_FLUSH                  # has something to write, and the socket may take it
    LIST_ASSEMBLY_FRONTEND      # clients in the middle of a large message that may be read on; the oldest first
    LIST_ASSEMBLY_BACKEND       # workers likewise
    LIST_PAUSED                 # may be read, but is over a budget
    LIST_CLOSING                # its end was noticed; buried at the end of the turn
    LIST_LEAVING                # managed, and takes no more: the broker is told before it decides again
    LIST_COUNT

cdef enum TimerKind:
    TIMER_HANDSHAKE             # connect, greeting and READY together
    TIMER_STALL                 # an incomplete message must grow
    TIMER_HEARTBEAT             # when to look for a sign of life
    TIMER_BEAT                  # the same for managed peers, which have a rhythm of their own
    TIMER_ACKNOWLEDGE           # was what we wrote acknowledged? Runs from a write until all is
    TIMER_CHALLENGE             # a newcomer waits for the holder of its routing id, or a managed holder is asked
    TIMER_REFUSED               # a refused peer is let go
    TIMER_RATE                  # a client that has sent too much for now is looked at again
    TIMER_COUNT

cdef struct Connection:         # owned by the relay's table; one calloc for the connection's life
    int fd                      # owned; -1 once closed
    uint32_t slot               # index in the table
    uint32_t generation         # of the slot: tells a stale event from a live one
    Side side
    ConnectionState state
    int endpoint                # number of the endpoint it came by
    int connector               # index of the connector that made it; -1 = accepted
    bint may_write              # the socket took everything so far
    bint has_hangup             # FIN or RST seen: read until the end, then close; no new work for it
    bint has_reset              # RST seen, or a write failed: nothing more can be written
    bint has_joined             # its handshake was finished: messages may be owed to it, or it to others
    bint is_managed             # speaks the managed protocol, for its whole life
    bint is_suspect             # managed, and silent for longer than a beat: no new work
    bint can_ping               # ZMTP >= 3.1, or has sent a PING itself
    bint is_challenged          # a newcomer wants its name: any byte until the timer means life
    bint is_over_budget         # not read until half of its waiting requests are taken
    bint is_over_rate           # not read until it may send on
    SocketType socket_type      # the peer's
    Cipher* cipher              # owned; NULL: its bytes are plain
    bint has_key                # it has proved to have `key`
    uint8_t[KEY_BYTES] key
    uint32_t permit             # what it may do, as the answer said; 0: anything
    int64_t denied_ms           # when it was last told, outside, that something was denied to it
    uint8_t name_bytes          # 0: it names itself
    uint8_t[64] name            # the one that its key gives it
    Inbox inbox
    Outbox outbox
    Timer[TIMER_COUNT] timers
    Link[LIST_COUNT] links
    int64_t heard_ms            # last byte received
    int pings_unheard           # PINGs sent since its last byte
    int64_t unacknowledged_ms   # since when TCP has had no acknowledgement it waits for; 0 = it waits for none
    uint64_t stall_mark         # bytes received when TIMER_STALL was armed
    uint64_t bytes_read
    uint64_t unheard_messages   # messages sent since its last byte: it may be too busy to answer
    Lane lane                   # its requests nobody has taken yet …
    uint64_t waiting_bytes      # … charged to its budget
    int64_t written_ms          # its socket last took anything: a client is slow a second later
    int64_t taken_ms            # since when it has taken next to nothing; intake's, while something is unwritten
    uint64_t taken_mark         # bytes written by then
    uint64_t unread_bytes       # left in its outbox by the last flush; summed up in the hub
    uint64_t words_bytes        # of a managed peer: said to it since its outbox went over the budget
    Reason reason               # why it is being closed
    uint64_t reason_size        # bytes involved
    uint32_t refused_steps      # TIMER_REFUSED runs left before it is closed
    uint8_t[ADDRESS_KEY_BYTES] peer_address     # for the limit per address; zero for Unix sockets
    char[ADDRESS_TEXT_BYTES] peer_text
    uint8_t routing_id_bytes
    uint8_t[256] routing_id
    uint8_t[264] routing_frame  # the routing id as a whole frame, as it precedes every request
    uint32_t routing_frame_bytes

cdef struct ConnectionList:
    Connection* first
    Connection* last
    uint32_t count

# Moves to `state`; the one place that does. An illegal transition is a bug: it aborts in a debug build.
cdef void connection_enter(Connection* connection, ConnectionState state) noexcept nogil

# Frees what it holds, not the struct. The descriptor is closed.
cdef void connection_clear(Connection* connection, Pool* pool) noexcept nogil

# Appends if it is not in the list yet / takes it out if it is.
cdef void list_append(ConnectionList* members, Connection* connection, ListKind kind) noexcept nogil
cdef void list_remove(ConnectionList* members, Connection* connection, ListKind kind) noexcept nogil


cdef inline bint list_has(const Connection* connection, ListKind kind) noexcept nogil:
    return connection.links[<int>kind].is_linked


# Bytes that wait for the rest of their message, or of its box.
cdef inline uint64_t connection_pending(const Connection* connection) noexcept nogil:
    return inbox_pending(&connection.inbox) + cipher_pending(connection.cipher)


# The list of its side's large messages.
cdef inline ListKind assembly_list(const Connection* connection) noexcept nogil:
    return LIST_ASSEMBLY_FRONTEND if connection.side == SIDE_FRONTEND else LIST_ASSEMBLY_BACKEND


# Is it not to be read for now?
cdef inline bint connection_is_held(const Connection* connection) noexcept nogil:
    return connection.is_over_budget or connection.is_over_rate or list_has(connection, LIST_PAUSED)


# Is it left unread, by our own choice? Then its silence says nothing.
cdef inline bint connection_is_unread(const Connection* connection) noexcept nogil:
    return connection_is_held(connection) or list_has(connection, LIST_READ)


# The timer of its signs of life.
cdef inline TimerKind beat_timer(const Connection* connection) noexcept nogil:
    return TIMER_BEAT if connection.is_managed else TIMER_HEARTBEAT


# May it be given a message? Not once its end was seen, though it is not buried yet.
cdef inline bint connection_takes(const Connection* connection) noexcept nogil:
    return connection.state == READY and not connection.has_hangup and not list_has(connection, LIST_CLOSING)


# Does the peer's state allow that its bytes are looked at?
cdef inline bint connection_is_read(const Connection* connection) noexcept nogil:
    return connection.state in (GREETING, HANDSHAKE, READY, LINGER)
