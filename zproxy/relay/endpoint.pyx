"""Endpoint: how connections come; see endpoint.pxd for the contract."""

from libc.errno cimport EAGAIN, ECONNABORTED, ECONNREFUSED, EINPROGRESS, EINTR, EPROTO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close

from zproxy.counters cimport ACCEPT_FAILURES, CONNECTIONS_ACCEPTED, CONNECTIONS_CONNECTED, CONNECT_FAILURES, counter_add
from zproxy.relay.address cimport (
    ADDRESS_BYTES, Address, address_family, address_key, address_key_is, address_key_is_none, address_text
)
from zproxy.relay.cipher cimport cipher_make
from zproxy.relay.connection cimport (
    CONNECTING, REASON_CONNECT, REASON_EOF, REASON_LIMIT, REASON_NO_MEMORY, REASON_PEER_ERROR, REASON_RESET,
    TIMER_HANDSHAKE, Connection, Side
)
from zproxy.relay.curve cimport curve_serve_former
from zproxy.relay.hub cimport (
    ADDRESS_CONNECTIONS_MAX, HANDSHAKES_MAX, Hub, hub_admit, hub_arm, hub_doom, hub_handshaking, hub_random,
    hub_tell_endpoint
)
from zproxy.relay.introduction cimport introduction_begin
from zproxy.relay.mailbox cimport EVENT_ACCEPT_FAILED, EVENT_CONNECT_FAILED
from zproxy.relay.poller cimport poller_add, poller_remove
from zproxy.relay.refusal cimport peer_refuse
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.tcp cimport tcp_tune

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_UNIX
    enum: SOCK_STREAM
    enum: SOCK_NONBLOCK
    enum: SOCK_CLOEXEC
    enum: SOL_SOCKET
    enum: SO_ERROR
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    int accept4(int fd, sockaddr* address, socklen_t* count, int flags)
    int connect(int fd, const sockaddr* address, socklen_t count)
    int socket(int family, int kind, int protocol)
    int getpeername(int fd, sockaddr* address, socklen_t* count)
    int getsockname(int fd, sockaddr* address, socklen_t* count)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* count)

cdef enum:
    BACKOFF_FIRST_MS = 100
    BACKOFF_MAX_MS = 5000


cdef void peer_describe(Connection* connection, const Address* address) noexcept nogil:
    address_text(address, connection.peer_text)
    address_key(address, connection.peer_address)


# Too many from its address already? Below the limit in all, nobody has to count.
cdef bint address_is_full(const Hub* hub, const Connection* newcomer) noexcept nogil:
    cdef uint32_t slot
    cdef uint32_t count = 0
    if hub.connection_count <= ADDRESS_CONNECTIONS_MAX or address_key_is_none(newcomer.peer_address):
        return False
    for slot in range(hub.capacity):
        if hub.table[slot] != NULL and address_key_is(hub.table[slot].peer_address, newcomer.peer_address):
            count += 1
    return count > ADDRESS_CONNECTIONS_MAX


# From now on it speaks CURVE; `server`: the key of the server it connects to, NULL: we are the server. False: no
# memory, and it is doomed.
cdef bint cipher_give(Hub* hub, Connection* connection, const uint8_t* server) noexcept nogil:
    connection.cipher = cipher_make(hub.identity.sodium, hub.identity.public, hub.identity.secret, server)
    if connection.cipher == NULL:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    if server == NULL and hub.identity.has_former:
        curve_serve_former(&connection.cipher.curve, hub.identity.former_public, hub.identity.former_secret)
    return True


# ---- listeners ----

# Stops or resumes listening, without closing.
cdef void listener_arm(Hub* hub, Listener* listener, bint is_armed) noexcept nogil:
    listener.rearm_ms = 0
    if listener.is_armed == is_armed:
        return
    if not is_armed:
        poller_remove(&hub.poller, listener.fd)
        listener.is_armed = False
    elif poller_add(&hub.poller, listener.fd, listener.tag, True) == 0:
        listener.is_armed = True
    else:
        listener.rearm_ms = hub.now_ms + REARM_MS       # the system's limit of watches (epoll(7)), or no memory


# Out of descriptors or memory: readiness would be reported for ever, so the listener rests a moment.
cdef void accept_failed(Hub* hub, Listener* listener, int code) noexcept nogil:
    listener_arm(hub, listener, False)
    listener.rearm_ms = hub.now_ms + REARM_MS
    counter_add(&hub.counters, ACCEPT_FAILURES, 1)
    hub_tell_endpoint(hub, EVENT_ACCEPT_FAILED, listener.side, listener.endpoint, code)


# One connection taken; False: no more for now.
cdef bint accept_one(Hub* hub, Listener* listener) noexcept nogil:
    cdef Address address
    cdef Connection* connection
    cdef int fd
    address.count = ADDRESS_BYTES
    fd = accept4(listener.fd, <sockaddr*>address.bytes, &address.count, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        if errno in (EINTR, ECONNABORTED):
            return True
        if errno != EAGAIN:
            accept_failed(hub, listener, errno)
        return False
    if address_family(&address) != AF_UNIX:
        tcp_tune(fd)
    connection = hub_admit(hub, fd, listener.side, listener.endpoint, -1)
    if connection == NULL:
        counter_add(&hub.counters, ACCEPT_FAILURES, 1)
        return True
    counter_add(&hub.counters, CONNECTIONS_ACCEPTED, 1)
    peer_describe(connection, &address)
    hub_arm(hub, connection, TIMER_HANDSHAKE)
    if listener.is_curve and not cipher_give(hub, connection, NULL):
        return True
    if address_is_full(hub, connection):
        peer_refuse(hub, connection, REASON_LIMIT)
    else:
        introduction_begin(hub, connection)
    return True


cdef void endpoints_accept(Hub* hub, Endpoints* endpoints, uint64_t tag) noexcept nogil:
    cdef Listener* listener = &endpoints.listeners[tag - 1]
    cdef int _index
    if not listener.is_armed:
        return
    for _index in range(ACCEPT_BATCH):
        if hub_handshaking(hub) >= HANDSHAKES_MAX:
            listener_arm(hub, listener, False)
            return
        if not accept_one(hub, listener):
            return


# Its rest is over: it had no descriptor, or too many others shook hands.
cdef bint may_listen(const Hub* hub, const Listener* listener) noexcept nogil:
    if listener.rearm_ms:
        return listener.rearm_ms <= hub.now_ms
    return hub_handshaking(hub) < HANDSHAKES_MAX


# ---- connectors ----

cdef void connector_retry(Hub* hub, Connector* connector) noexcept nogil:
    if hub.is_draining:
        return
    if connector.backoff_ms == 0:
        connector.backoff_ms = BACKOFF_FIRST_MS
    connector.due_ms = hub.now_ms + connector.backoff_ms // 2 + <int64_t>(
        hub_random(hub) % <uint64_t>(connector.backoff_ms // 2)
    )
    connector.backoff_ms = min(connector.backoff_ms * 2, BACKOFF_MAX_MS)


# `code`: an errno; 0: no memory, or no answer in time.
cdef void connector_failed(Hub* hub, Connector* connector, int code) noexcept nogil:
    counter_add(&hub.counters, CONNECT_FAILURES, 1)
    hub_tell_endpoint(hub, EVENT_CONNECT_FAILED, connector.side, connector.endpoint, code)
    connector_retry(hub, connector)


cdef void connector_dial(Hub* hub, Connector* connector, int index) noexcept nogil:
    cdef Connection* connection
    cdef int family = address_family(&connector.address)
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    connector.due_ms = 0
    if fd < 0:
        connector_failed(hub, connector, errno)
        return
    if family != AF_UNIX:
        tcp_tune(fd)
    if connect(fd, <const sockaddr*>connector.address.bytes, connector.address.count) != 0 and errno != EINPROGRESS:
        connector_failed(hub, connector, errno)
        close(fd)
        return
    connection = hub_admit(hub, fd, connector.side, connector.endpoint, index)
    if connection == NULL:
        connector_failed(hub, connector, 0)
        return
    peer_describe(connection, &connector.address)
    if connector.is_curve:
        cipher_give(hub, connection, connector.keys[connector.key_turn])
    hub_arm(hub, connection, TIMER_HANDSHAKE)


cdef void connector_try(Hub* hub, Connector* connector, int index) noexcept nogil:
    if connector.is_curve and connector.key_count == 0:
        connector_retry(hub, connector)         # somebody may be let in there by then
    else:
        connector_dial(hub, connector, index)


# Nobody listens there, but it is a port the system gives to those who connect, and it gave it to us: our own requests
# would come back as replies, and the port be taken for the peer we wait for.
cdef bint is_connected_to_itself(int fd) noexcept nogil:
    cdef Address own
    cdef Address peer
    own.count = peer.count = ADDRESS_BYTES
    if getsockname(fd, <sockaddr*>own.bytes, &own.count) != 0:
        return False
    if getpeername(fd, <sockaddr*>peer.bytes, &peer.count) != 0:
        return False
    return own.count == peer.count and memcmp(own.bytes, peer.bytes, own.count) == 0


cdef bint connector_settle(Hub* hub, Connection* connection) noexcept nogil:
    cdef int code = 0
    cdef socklen_t count = sizeof(int)
    getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &code, &count)
    if code == 0 and is_connected_to_itself(connection.fd):
        code = ECONNREFUSED
    if code == 0:
        counter_add(&hub.counters, CONNECTIONS_CONNECTED, 1)
        introduction_begin(hub, connection)
        return True
    hub_doom(hub, connection, REASON_CONNECT, <uint64_t>code)
    return False


cdef void endpoints_lost(Hub* hub, Endpoints* endpoints, const Connection* connection) noexcept nogil:
    cdef Connector* connector = &endpoints.connectors[connection.connector]
    if connection.state == CONNECTING and connection.reason == REASON_CONNECT:
        connector_failed(hub, connector, <int>connection.reason_size)
        return
    if connection.has_joined:
        connector.backoff_ms = 0
        connector_retry(hub, connector)
        return
    if connector.key_count:
        connector.key_turn = (connector.key_turn + 1) % connector.key_count
    if connection.reason in (REASON_EOF, REASON_RESET, REASON_PEER_ERROR):
        connector_failed(hub, connector, EPROTO)        # all that a CURVE server says whom we take for another
    else:
        connector_retry(hub, connector)                 # what was refused is told


cdef void keys_set(Connector* connector, const uint8_t* keys, uint8_t key_count) noexcept nogil:
    connector.key_count = key_count
    connector.key_turn = 0
    if key_count:
        memcpy(connector.keys, keys, <size_t>key_count * KEY_BYTES)


# ---- all of them ----

cdef int endpoints_listen(Endpoints* endpoints, Side side, int endpoint, int fd, bint is_curve) noexcept nogil:
    cdef void* grown = realloc(endpoints.listeners, (endpoints.listener_count + 1) * sizeof(Listener))
    cdef Listener* listener
    if grown == NULL:
        return -1
    endpoints.listeners = <Listener*>grown
    listener = &endpoints.listeners[endpoints.listener_count]
    endpoints.listener_count += 1
    memset(listener, 0, sizeof(Listener))
    listener.fd = fd
    listener.side = side
    listener.endpoint = endpoint
    listener.is_curve = is_curve
    listener.tag = <uint64_t>endpoints.listener_count
    return 0


cdef int endpoints_connect(
    Endpoints* endpoints, Side side, int endpoint, const Address* address, const uint8_t* keys, uint8_t key_count
) noexcept nogil:
    cdef void* grown = realloc(endpoints.connectors, (endpoints.connector_count + 1) * sizeof(Connector))
    cdef Connector* connector
    if grown == NULL:
        return -1
    endpoints.connectors = <Connector*>grown
    connector = &endpoints.connectors[endpoints.connector_count]
    endpoints.connector_count += 1
    memset(connector, 0, sizeof(Connector))
    connector.side = side
    connector.endpoint = endpoint
    connector.address = address[0]
    connector.is_curve = key_count != 0
    keys_set(connector, keys, key_count)
    return 0


cdef void endpoints_start(Hub* hub, Endpoints* endpoints) noexcept nogil:
    cdef int index
    for index in range(endpoints.listener_count):
        listener_arm(hub, &endpoints.listeners[index], True)
    for index in range(endpoints.connector_count):
        endpoints.connectors[index].due_ms = hub.now_ms


cdef void listeners_close(Endpoints* endpoints) noexcept nogil:
    cdef int index
    for index in range(endpoints.listener_count):
        if endpoints.listeners[index].fd >= 0:
            close(endpoints.listeners[index].fd)
        endpoints.listeners[index].fd = -1


cdef void endpoints_stop(Hub* hub, Endpoints* endpoints) noexcept nogil:
    cdef int index
    for index in range(endpoints.listener_count):
        listener_arm(hub, &endpoints.listeners[index], False)
    listeners_close(endpoints)
    for index in range(endpoints.connector_count):
        endpoints.connectors[index].due_ms = 0


cdef void endpoints_close(Endpoints* endpoints) noexcept nogil:
    listeners_close(endpoints)
    free(endpoints.listeners)
    free(endpoints.connectors)
    memset(endpoints, 0, sizeof(Endpoints))


cdef void endpoints_tick(Hub* hub, Endpoints* endpoints) noexcept nogil:
    cdef int index
    if hub.is_draining:
        return
    for index in range(endpoints.listener_count):
        if not endpoints.listeners[index].is_armed and may_listen(hub, &endpoints.listeners[index]):
            listener_arm(hub, &endpoints.listeners[index], True)
    for index in range(endpoints.connector_count):
        if endpoints.connectors[index].due_ms and endpoints.connectors[index].due_ms <= hub.now_ms:
            connector_try(hub, &endpoints.connectors[index], index)


cdef int64_t endpoints_next(const Endpoints* endpoints, int64_t due_ms) noexcept nogil:
    cdef int index
    for index in range(endpoints.listener_count):
        if endpoints.listeners[index].rearm_ms:
            due_ms = min(due_ms, endpoints.listeners[index].rearm_ms)
    for index in range(endpoints.connector_count):
        if endpoints.connectors[index].due_ms:
            due_ms = min(due_ms, endpoints.connectors[index].due_ms)
    return due_ms


cdef void endpoints_readdress(Endpoints* endpoints, int endpoint, const Address* address) noexcept nogil:
    cdef int index
    for index in range(endpoints.connector_count):
        if endpoints.connectors[index].endpoint == endpoint:
            endpoints.connectors[index].address = address[0]


cdef void endpoints_rekey(
    Hub* hub, Endpoints* endpoints, int endpoint, const uint8_t* keys, uint8_t key_count
) noexcept nogil:
    cdef int index
    cdef Connector* connector
    for index in range(endpoints.connector_count):
        connector = &endpoints.connectors[index]
        if connector.endpoint != endpoint or not connector.is_curve:
            continue
        keys_set(connector, keys, key_count)
        if connector.due_ms:
            connector.backoff_ms = 0
            connector.due_ms = hub.now_ms
