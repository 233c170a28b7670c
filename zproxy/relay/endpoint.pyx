"""Endpoint: how connections come; see endpoint.pxd for the contract."""

from libc.errno cimport EAGAIN, ECONNABORTED, EINPROGRESS, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close

from zproxy.counters cimport (
    ACCEPT_FAILURES, CONNECT_FAILURES, CONNECTIONS_ACCEPTED, CONNECTIONS_CONNECTED, counter_add
)
from zproxy.relay.connection cimport (
    PEER_TEXT_BYTES, REASON_CONNECT, REASON_LIMIT, TIMER_HANDSHAKE, Connection
)
from zproxy.relay.hub cimport (
    ADDRESS_CONNECTIONS_MAX, HANDSHAKES_MAX, Hub, hub_admit, hub_arm, hub_doom, hub_handshaking, hub_random,
    hub_tell_endpoint
)
from zproxy.relay.mailbox cimport ADDRESS_BYTES, EVENT_ACCEPT_FAILED, EVENT_CONNECT_FAILED, Address
from zproxy.relay.peering cimport peering_greet, peering_refuse
from zproxy.relay.poller cimport poller_add, poller_remove

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6
    enum: AF_UNIX
    enum: SOCK_STREAM
    enum: SOCK_NONBLOCK
    enum: SOCK_CLOEXEC
    enum: SOL_SOCKET
    enum: SO_ERROR
    enum: SO_KEEPALIVE
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    int accept4(int fd, sockaddr* address, socklen_t* count, int flags)
    int connect(int fd, const sockaddr* address, socklen_t count)
    int socket(int family, int kind, int protocol)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* count)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t count)

cdef extern from "<netinet/in.h>" nogil:
    enum: IPPROTO_TCP
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t[16] s6_addr
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr

cdef extern from "<netinet/tcp.h>" nogil:
    enum: TCP_NODELAY
    enum: TCP_KEEPIDLE
    enum: TCP_KEEPINTVL
    enum: TCP_KEEPCNT
    enum: TCP_USER_TIMEOUT

cdef extern from "<sys/un.h>" nogil:
    cdef struct sockaddr_un:
        unsigned short sun_family
        char[108] sun_path

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* source, char* target, socklen_t count)
    int inet_pton(int family, const char* source, void* target)
    uint16_t htons(uint16_t port)
    uint16_t ntohs(uint16_t port)

cdef enum:
    KEEPALIVE_IDLE_S = 60       # before the first probe; then one every 10 s, three in vain end it
    KEEPALIVE_EVERY_S = 10
    KEEPALIVE_PROBES = 3
    UNACKNOWLEDGED_MS = 30000   # sent bytes nobody acknowledged for so long end the connection
    BACKOFF_FIRST_MS = 100
    BACKOFF_MAX_MS = 5000


cdef void option_set(int fd, int level, int option, int value) noexcept nogil:
    setsockopt(fd, level, option, &value, sizeof(int))


# Buffer sizes are left alone: setting them would stop the system's autotuning.
cdef void socket_tune(int fd, int family) noexcept nogil:
    if family == AF_UNIX:
        return
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES)
    option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


# The peer's address as text for the log, and as 16 bytes for the limit per address (zero for Unix sockets).
cdef void peer_describe(Connection* connection, const Address* address) noexcept nogil:
    cdef const sockaddr* generic = <const sockaddr*>address.bytes
    cdef const sockaddr_in* four = <const sockaddr_in*>address.bytes
    cdef const sockaddr_in6* six = <const sockaddr_in6*>address.bytes
    cdef char[48] ip
    memset(ip, 0, sizeof(ip))
    if generic.sa_family == AF_INET:
        memcpy(connection.peer_address, &four.sin_addr, 4)
        inet_ntop(AF_INET, &four.sin_addr, ip, sizeof(ip))
        snprintf(connection.peer_text, PEER_TEXT_BYTES, b"%s:%d", ip, <int>ntohs(four.sin_port))
    elif generic.sa_family == AF_INET6:
        memcpy(connection.peer_address, &six.sin6_addr, 16)
        inet_ntop(AF_INET6, &six.sin6_addr, ip, sizeof(ip))
        snprintf(connection.peer_text, PEER_TEXT_BYTES, b"[%s]:%d", ip, <int>ntohs(six.sin6_port))
    else:
        snprintf(connection.peer_text, PEER_TEXT_BYTES, b"ipc")


# Too many from its address already? Below the limit in all, nobody has to count.
cdef bint address_is_full(const Hub* hub, const Connection* newcomer) noexcept nogil:
    cdef uint8_t[16] unix_socket
    cdef uint32_t slot
    cdef uint32_t count = 0
    memset(unix_socket, 0, 16)
    if hub.connection_count <= ADDRESS_CONNECTIONS_MAX or memcmp(newcomer.peer_address, unix_socket, 16) == 0:
        return False
    for slot in range(hub.capacity):
        if hub.table[slot] != NULL and memcmp(hub.table[slot].peer_address, newcomer.peer_address, 16) == 0:
            count += 1
    return count > ADDRESS_CONNECTIONS_MAX


cdef void listener_arm(Hub* hub, Listener* listener, uint64_t tag, bint is_armed) noexcept nogil:
    if listener.is_armed == is_armed:
        return
    listener.is_armed = is_armed
    listener.rearm_ms = 0
    if is_armed:
        poller_add(&hub.poller, listener.fd, tag, True)
    else:
        poller_remove(&hub.poller, listener.fd)


# Out of descriptors or memory: readiness would be reported for ever, so the listener rests a moment.
cdef void accept_failed(Hub* hub, Listener* listener, uint64_t tag, int code) noexcept nogil:
    listener_arm(hub, listener, tag, False)
    listener.rearm_ms = hub.now_ms + REARM_MS
    counter_add(&hub.counters, ACCEPT_FAILURES, 1)
    hub_tell_endpoint(hub, EVENT_ACCEPT_FAILED, listener.side, listener.endpoint, code)


cdef void listener_accept(Hub* hub, Listener* listener, uint64_t tag) noexcept nogil:
    cdef Address address
    cdef Connection* connection
    cdef int fd
    cdef int _accepted
    for _accepted in range(ACCEPT_BATCH):
        if hub_handshaking(hub) >= HANDSHAKES_MAX:
            listener_arm(hub, listener, tag, False)
            return
        address.count = ADDRESS_BYTES
        fd = accept4(listener.fd, <sockaddr*>address.bytes, &address.count, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno not in (EAGAIN, EINTR, ECONNABORTED):
                accept_failed(hub, listener, tag, errno)
            return
        socket_tune(fd, (<sockaddr*>address.bytes).sa_family)
        connection = hub_admit(hub, fd, listener.side, listener.endpoint, -1)
        if connection == NULL:
            counter_add(&hub.counters, ACCEPT_FAILURES, 1)
            continue
        counter_add(&hub.counters, CONNECTIONS_ACCEPTED, 1)
        peer_describe(connection, &address)
        hub_arm(hub, connection, TIMER_HANDSHAKE)
        if address_is_full(hub, connection):
            peering_refuse(hub, connection, REASON_LIMIT)
            continue
        peering_greet(hub, connection)


cdef void connector_failed(Hub* hub, Connector* connector, int code) noexcept nogil:
    counter_add(&hub.counters, CONNECT_FAILURES, 1)
    hub_tell_endpoint(hub, EVENT_CONNECT_FAILED, connector.side, connector.endpoint, code)
    connector_retry(hub, connector)


cdef void connector_dial(Hub* hub, Connector* connector, int index) noexcept nogil:
    cdef const sockaddr* address = <const sockaddr*>connector.address.bytes
    cdef Connection* connection
    cdef int fd = socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    connector.due_ms = 0
    if fd < 0:
        connector_failed(hub, connector, errno)
        return
    socket_tune(fd, address.sa_family)
    if connect(fd, address, connector.address.count) != 0 and errno != EINPROGRESS:
        connector_failed(hub, connector, errno)
        close(fd)
        return
    connection = hub_admit(hub, fd, connector.side, connector.endpoint, index)
    if connection == NULL:
        connector_failed(hub, connector, 0)
        return
    peer_describe(connection, &connector.address)
    hub_arm(hub, connection, TIMER_HANDSHAKE)


cdef bint connector_settle(Hub* hub, Connection* connection) noexcept nogil:
    cdef int code = 0
    cdef socklen_t count = sizeof(int)
    getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &code, &count)
    if code == 0:
        counter_add(&hub.counters, CONNECTIONS_CONNECTED, 1)
        peering_greet(hub, connection)
        return True
    hub_doom(hub, connection, REASON_CONNECT, <uint64_t>code)
    return False


cdef void connector_retry(Hub* hub, Connector* connector) noexcept nogil:
    if connector.backoff_ms == 0:
        connector.backoff_ms = BACKOFF_FIRST_MS
    connector.due_ms = hub.now_ms + connector.backoff_ms // 2 + <int64_t>(
        hub_random(hub) % <uint64_t>(connector.backoff_ms // 2)
    )
    connector.backoff_ms = min(connector.backoff_ms * 2, BACKOFF_MAX_MS)


cdef int address_pack_ip(Address* address, const char* ip, int port) noexcept nogil:
    cdef sockaddr_in* four = <sockaddr_in*>address.bytes
    cdef sockaddr_in6* six = <sockaddr_in6*>address.bytes
    memset(address, 0, sizeof(Address))
    if inet_pton(AF_INET, ip, &four.sin_addr) == 1:
        four.sin_family = AF_INET
        four.sin_port = htons(<uint16_t>port)
        address.count = sizeof(sockaddr_in)
        return 0
    memset(address, 0, sizeof(Address))
    if inet_pton(AF_INET6, ip, &six.sin6_addr) == 1:
        six.sin6_family = AF_INET6
        six.sin6_port = htons(<uint16_t>port)
        address.count = sizeof(sockaddr_in6)
        return 0
    return -1


cdef int address_pack_path(Address* address, const char* path, size_t count) noexcept nogil:
    cdef sockaddr_un* unix_address = <sockaddr_un*>address.bytes
    memset(address, 0, sizeof(Address))
    if count >= sizeof(unix_address.sun_path):
        return -1
    unix_address.sun_family = AF_UNIX
    memcpy(unix_address.sun_path, path, count)
    address.count = sizeof(sockaddr_un)
    return 0
