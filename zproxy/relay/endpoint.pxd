"""Endpoint: how connections come: accepted by listeners, or made (and made again) by connectors.

Listening sockets arrive bound, from Python, which also resolves names: nothing here waits for a resolver.
A connector's next attempt waits 100 ms, doubling to 5 s, each half fixed and half random; a connection that shook
hands begins the count anew. Called by the turn; a relay that drains accepts and dials no more.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from zproxy.relay.address cimport Address
from zproxy.relay.connection cimport Connection, Side
from zproxy.relay.hub cimport Hub
from zproxy.relay.sodium cimport KEY_BYTES

cdef enum:
    ACCEPT_BATCH = 64           # accepted from one listener in a turn
    REARM_MS = 100              # a listener out of descriptors rests this long
    KEYS_MAX = 2                # of one peer: the second while they are rotated

cdef struct Listener:           # owned by Endpoints, with its descriptor
    int fd                      # -1 once closed
    Side side
    int endpoint
    bint is_curve               # who comes here speaks CURVE; else NULL
    uint64_t tag                # in the poller: generation 0 (no connection has it), index + 1 (0 is the eventfd)
    bint is_armed
    int64_t rearm_ms            # when to listen again; 0 = armed, or waiting for handshakes to finish

cdef struct Connector:          # owned by Endpoints
    Side side
    int endpoint
    Address address
    bint is_curve               # the server there has to have one of `keys`; else NULL is spoken
    uint8_t key_count           # 0: nobody may be there at present, and nobody is dialled
    uint8_t key_turn            # which of them is tried next: another one after each handshake that failed
    uint8_t[KEYS_MAX][KEY_BYTES] keys
    int64_t backoff_ms          # before the next attempt; 0 = the first one
    int64_t due_ms              # of the next attempt; 0 = one is connected or under way

cdef struct Endpoints:          # owned by the engine; zeroed means none
    Listener* listeners
    Connector* connectors
    int listener_count
    int connector_count

# Before the start, by the Python wall. `fd`, listening and non-blocking, is taken over. 0, or -1: no memory.
cdef int endpoints_listen(Endpoints* endpoints, Side side, int endpoint, int fd, bint is_curve) noexcept nogil

# `keys` of them, one behind the other, at most KEYS_MAX; none: it speaks NULL.
cdef int endpoints_connect(
    Endpoints* endpoints, Side side, int endpoint, const Address* address, const uint8_t* keys, uint8_t key_count
) noexcept nogil

# Listens and dials from now on / no more. What is connected stays.
cdef void endpoints_start(Hub* hub, Endpoints* endpoints) noexcept nogil
cdef void endpoints_stop(Hub* hub, Endpoints* endpoints) noexcept nogil

# Frees everything; listeners that still listen are closed.
cdef void endpoints_close(Endpoints* endpoints) noexcept nogil

# Rested listeners listen again, connectors that are due dial. When it is due next, or `due_ms` if that is earlier.
cdef void endpoints_tick(Hub* hub, Endpoints* endpoints) noexcept nogil
cdef int64_t endpoints_next(const Endpoints* endpoints, int64_t due_ms) noexcept nogil

# The poller found a listener readable: accepts up to ACCEPT_BATCH, each with our greeting on the way.
cdef void endpoints_accept(Hub* hub, Endpoints* endpoints, uint64_t tag) noexcept nogil

# The poller reports on an attempt to connect: True when it succeeded (our greeting is on the way).
cdef bint connector_settle(Hub* hub, Connection* connection) noexcept nogil

# A connection one of the connectors made is being buried: counted and told if it never was one, or hung up before it
# shook hands; tried again.
cdef void endpoints_lost(Hub* hub, Endpoints* endpoints, const Connection* connection) noexcept nogil

# From now on the connectors of this endpoint dial `address`.
cdef void endpoints_readdress(Endpoints* endpoints, int endpoint, const Address* address) noexcept nogil

# From now on the CURVE server that the connectors of this endpoint dial has one of these keys; without any they wait.
# One that waits tries at once. What is connected stays: it is closed by its key (COMMAND_REVOKE).
cdef void endpoints_rekey(
    Hub* hub, Endpoints* endpoints, int endpoint, const uint8_t* keys, uint8_t key_count
) noexcept nogil
