"""Endpoint: how connections come: accepted by listeners, or made (and made again) by connectors.

Listening sockets arrive bound, from Python, which also resolves names: nothing here waits for a resolver.
A connector's next attempt waits 100 ms, doubling to 5 s, each half fixed and half random.
"""

from libc.stdint cimport int64_t, uint64_t

from zproxy.relay.connection cimport Connection, Side
from zproxy.relay.hub cimport Hub
from zproxy.relay.mailbox cimport Address

cdef enum:
    # Poller tags of listeners: generation 0 (no connection has it), index + 1 (0 is the eventfd).
    ACCEPT_BATCH = 64           # accepted from one listener in a turn
    REARM_MS = 100              # a listener out of descriptors rests this long

cdef struct Listener:           # owned by the relay, with its descriptor
    int fd
    Side side
    int endpoint
    bint is_armed
    int64_t rearm_ms            # when to listen again; 0 = armed, or waiting for handshakes to finish

cdef struct Connector:          # owned by the relay
    Side side
    int endpoint
    Address address
    int64_t backoff_ms
    int64_t due_ms              # of the next attempt; 0 = one is connected or under way

# Accepts up to ACCEPT_BATCH; each new connection has its greeting on the way.
cdef void listener_accept(Hub* hub, Listener* listener, uint64_t tag) noexcept nogil

# Stops or resumes listening, without closing.
cdef void listener_arm(Hub* hub, Listener* listener, uint64_t tag, bint is_armed) noexcept nogil

# Starts an attempt. Its outcome comes through the poller; connector_failed reschedules.
cdef void connector_dial(Hub* hub, Connector* connector, int index) noexcept nogil

# The poller reports on an attempt: True when it is connected (its greeting is on the way).
cdef bint connector_settle(Hub* hub, Connection* connection) noexcept nogil

# The attempt failed for `code` (an errno; 0: no memory, or no answer in time): counted, told, tried again.
cdef void connector_failed(Hub* hub, Connector* connector, int code) noexcept nogil

# Its connection ended: when to try again. A finished handshake has set `backoff_ms` to 0.
cdef void connector_retry(Hub* hub, Connector* connector) noexcept nogil

# Packs a numeric ip and port, or an ipc path. 0, or -1: not an address.
cdef int address_pack_ip(Address* address, const char* ip, int port) noexcept nogil
cdef int address_pack_path(Address* address, const char* path, size_t count) noexcept nogil
