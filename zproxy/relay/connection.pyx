"""Connection: one peer, from accept or connect to close; see connection.pxd for the contract."""

from libc.stdint cimport uint32_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort
from posix.unistd cimport close

from zproxy.relay.block cimport Pool
from zproxy.relay.cipher cimport cipher_end
from zproxy.relay.inbox cimport inbox_clear
from zproxy.relay.outbox cimport outbox_clear

cdef extern from "<sys/socket.h>" nogil:
    enum: SHUT_RDWR
    int shutdown(int fd, int how)

# State → the states it may go to, in the enum's order. Everything may go to CLOSED.
cdef uint32_t[<int>STATE_COUNT] TRANSITIONS = [
    1 << <int>GREETING | 1 << <int>REFUSED,                                                 # CONNECTING
    1 << <int>HANDSHAKE | 1 << <int>REFUSED | 1 << <int>REJECTED,                           # GREETING
    1 << <int>READY | 1 << <int>ASKED | 1 << <int>WAITING | 1 << <int>REFUSED | 1 << <int>REJECTED,     # HANDSHAKE
    1 << <int>READY | 1 << <int>WAITING | 1 << <int>REFUSED | 1 << <int>REJECTED,           # ASKED
    1 << <int>READY | 1 << <int>REFUSED | 1 << <int>REJECTED,                               # WAITING
    1 << <int>REJECTED | 1 << <int>LINGER,                                                  # READY
    0,                                                                                      # REFUSED
    1 << <int>LINGER,                                                                       # REJECTED
    0,                                                                                      # LINGER
    0,                                                                                      # CLOSED
]

STATES = (
    "CONNECTING", "GREETING", "HANDSHAKE", "ASKED", "WAITING", "READY", "REFUSED", "REJECTED", "LINGER", "CLOSED",
)
assert len(STATES) == STATE_COUNT


def legal_transitions():
    """The table by name: each state and the states it may enter; CLOSED, open to all, is left out."""
    return {
        name: [other for index, other in enumerate(STATES) if TRANSITIONS[state] >> index & 1]
        for state, name in enumerate(STATES)
        if name != "CLOSED"
    }


# The log's words for each Reason, in its order.
REASONS = (
    "", "eof", "reset", "stop", "socket_type", "mechanism", "version", "malformed", "handshake_timeout",
    "name_in_use", "routing_id", "limit", "too_large", "stalled", "heartbeat", "unacknowledged", "fenced", "peer_error",
    "no_memory", "connect", "forged", "unknown_key", "expired", "wrong_role", "wrong_user", "denied", "revoked",
)
assert len(REASONS) == REASON_COUNT


cdef void connection_enter(Connection* connection, ConnectionState state) noexcept nogil:
    if state != CLOSED and not TRANSITIONS[<int>connection.state] >> <int>state & 1:
        fprintf(stderr, "zproxy: illegal transition %d -> %d\n", <int>connection.state, <int>state)
        abort()
    connection.state = state


cdef void connection_clear(Connection* connection, Pool* pool) noexcept nogil:
    inbox_clear(&connection.inbox, pool)
    outbox_clear(&connection.outbox, pool)
    if connection.cipher != NULL:
        cipher_end(connection.cipher, pool)
        connection.cipher = NULL
    if connection.fd >= 0:
        shutdown(connection.fd, SHUT_RDWR)      # a process forked from ours may hold the descriptor, too
        close(connection.fd)
        connection.fd = -1


cdef void list_append(ConnectionList* members, Connection* connection, ListKind kind) noexcept nogil:
    cdef Link* link = &connection.links[<int>kind]
    if link.is_linked:
        return
    link.is_linked = True
    link.before = members.last
    link.after = NULL
    if members.last != NULL:
        members.last.links[<int>kind].after = connection
    else:
        members.first = connection
    members.last = connection
    members.count += 1


cdef void list_remove(ConnectionList* members, Connection* connection, ListKind kind) noexcept nogil:
    cdef Link* link = &connection.links[<int>kind]
    if not link.is_linked:
        return
    if link.before != NULL:
        link.before.links[<int>kind].after = link.after
    else:
        members.first = link.after
    if link.after != NULL:
        link.after.links[<int>kind].before = link.before
    else:
        members.last = link.before
    link.before = link.after = NULL
    link.is_linked = False
    members.count -= 1
