"""Hub: what every part of the relay's I/O half shares; see hub.pxd for the contract."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from zproxy.counters cimport CLOSED_NO_MEMORY, CONNECTIONS_CLOSED, EVENTS_LOST, counter_add
from zproxy.names cimport names_close, names_open
from zproxy.relay.block cimport pool_clear
from zproxy.relay.connection cimport (
    CLOSED, CONNECTING, LIST_CLOSING, LIST_COUNT, LIST_LEAVING, LIST_READ, REASON_NONE, REASON_NO_MEMORY, REASON_RESET,
    TIMER_COUNT, Connection, ConnectionState, ListKind, Reason, Side, connection_clear, connection_enter,
    connection_is_held, connection_is_read, list_append, list_has, list_remove
)
from zproxy.relay.inbox cimport READ_BUFFER_BYTES
from zproxy.relay.mailbox cimport Event, EventKind, mailbox_put
from zproxy.relay.poller cimport poller_add, poller_open
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.timer cimport timer_disarm

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* buffer, size_t count, unsigned int flags)

cdef extern from "<time.h>" nogil:
    enum: CLOCK_MONOTONIC
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)

cdef enum:
    CAPACITY_FIRST = 64


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef uint64_t hub_random(Hub* hub) noexcept nogil:
    hub.random_state ^= hub.random_state << 13
    hub.random_state ^= hub.random_state >> 7
    hub.random_state ^= hub.random_state << 17
    return hub.random_state


cdef int hub_open(Hub* hub) noexcept nogil:
    cdef int code = poller_open(&hub.poller)
    if code:
        return code
    hub.read_buffer = <unsigned char*>malloc(READ_BUFFER_BYTES)
    if hub.identity.sodium != NULL:
        hub.raw_buffer = <unsigned char*>malloc(READ_BUFFER_BYTES)
    if hub.read_buffer == NULL or hub.identity.sodium != NULL and hub.raw_buffer == NULL:
        return ENOMEM
    if getrandom(&hub.random_state, sizeof(uint64_t), 0) != sizeof(uint64_t) or hub.random_state == 0:
        hub.random_state = <uint64_t>clock_ns() | 1
    hub.now_ms = clock_ns() // 1000000
    return 0 if names_open(&hub.routes, hub_random(hub)) == 0 else ENOMEM


cdef uint64_t hub_close(Hub* hub) noexcept nogil:
    cdef uint64_t leaked = hub.pool.live_blocks + hub.pool.live_slices + hub.connection_count
    names_close(&hub.routes)
    pool_clear(&hub.pool)
    free(hub.table)
    free(hub.generations)
    free(hub.free_slots)
    free(hub.read_buffer)
    free(hub.raw_buffer)
    if hub.identity.sodium != NULL:
        hub.identity.sodium.wipe(hub.identity.secret, KEY_BYTES)
        hub.identity.sodium.wipe(hub.identity.former_secret, KEY_BYTES)
    hub.read_buffer = hub.raw_buffer = NULL
    hub.table = NULL
    hub.generations = hub.free_slots = NULL
    hub.capacity = 0
    return leaked


cdef int table_grow(Hub* hub) noexcept nogil:
    cdef uint32_t capacity = hub.capacity * 2 if hub.capacity else <uint32_t>CAPACITY_FIRST
    cdef uint32_t slot
    cdef void* grown = realloc(hub.table, capacity * sizeof(Connection*))
    if grown == NULL:
        return -1
    hub.table = <Connection**>grown
    grown = realloc(hub.generations, capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    hub.generations = <uint32_t*>grown
    grown = realloc(hub.free_slots, capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    hub.free_slots = <uint32_t*>grown
    for slot in range(hub.capacity, capacity):
        hub.table[slot] = NULL
        hub.generations[slot] = 0
        hub.free_slots[hub.free_count] = capacity - 1 - (slot - hub.capacity)
        hub.free_count += 1
    hub.capacity = capacity
    return 0


cdef Connection* hub_admit(Hub* hub, int fd, Side side, int endpoint, int connector) noexcept nogil:
    cdef Connection* connection = <Connection*>calloc(1, sizeof(Connection))
    cdef uint32_t slot
    cdef int kind
    if connection == NULL or (hub.free_count == 0 and table_grow(hub) != 0):
        free(connection)
        close(fd)
        return NULL
    hub.free_count -= 1
    slot = hub.free_slots[hub.free_count]
    hub.generations[slot] += 1
    hub.table[slot] = connection
    hub.connection_count += 1
    hub.state_count[<int>CONNECTING][<int>side] += 1
    connection.fd = fd
    connection.slot = slot
    connection.generation = hub.generations[slot]
    connection.side = side
    connection.endpoint = endpoint
    connection.connector = connector
    connection.state = CONNECTING
    connection.heard_ms = hub.now_ms
    connection.inbox.max_message_bytes = hub.settings.max_message_bytes
    connection.lane.owner = slot
    for kind in range(TIMER_COUNT):
        connection.timers[kind].slot = slot
    if poller_add(&hub.poller, fd, connection_tag(connection), False) != 0:
        hub_release(hub, connection)
        return NULL
    return connection


cdef void hub_enter(Hub* hub, Connection* connection, ConnectionState state) noexcept nogil:
    hub.state_count[<int>connection.state][<int>connection.side] -= 1
    connection_enter(connection, state)
    hub.state_count[<int>state][<int>connection.side] += 1


cdef void hub_doom(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    if list_has(connection, LIST_CLOSING):
        return
    if connection.reason == REASON_NONE:
        connection.reason = reason
        connection.reason_size = size
    if reason == REASON_NO_MEMORY:
        counter_add(&hub.counters, CLOSED_NO_MEMORY, 1)
    list_append(&hub.lists[<int>LIST_CLOSING], connection, LIST_CLOSING)
    if connection.is_managed:
        list_append(&hub.lists[<int>LIST_LEAVING], connection, LIST_LEAVING)


cdef void hub_broken(Hub* hub, Connection* connection) noexcept nogil:
    hub_hangup(hub, connection)
    connection.has_reset = True
    connection.may_write = False
    if not connection_is_read(connection) or connection_is_held(connection):
        hub_doom(hub, connection, REASON_RESET, 0)
        return
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void hub_release(Hub* hub, Connection* connection) noexcept nogil:
    cdef int kind
    for kind in range(LIST_COUNT):
        list_remove(&hub.lists[kind], connection, <ListKind>kind)
    for kind in range(TIMER_COUNT):
        timer_disarm(&hub.timers[kind], &connection.timers[kind])
    hub.over_budget_count -= connection.is_over_budget
    hub.over_rate_count -= connection.is_over_rate
    hub_weigh_outbox(hub, connection, 0)
    hub_enter(hub, connection, CLOSED)
    connection_clear(connection, &hub.pool)
    counter_add(&hub.counters, CONNECTIONS_CLOSED, 1)
    hub.table[connection.slot] = NULL
    hub.free_slots[hub.free_count] = connection.slot
    hub.free_count += 1
    hub.connection_count -= 1
    free(connection)


cdef void event_put(Hub* hub, const Event* event) noexcept nogil:
    if not mailbox_put(&hub.mailbox, event):
        counter_add(&hub.counters, EVENTS_LOST, 1)


cdef void hub_tell(
    Hub* hub, EventKind kind, const Connection* connection, Reason reason, uint64_t size, uint64_t limit
) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = kind
    event.side = connection.side
    event.endpoint = connection.endpoint
    event.reason = reason
    event.socket_type = connection.socket_type
    event.size = size
    event.limit = limit
    event.routing_id_bytes = connection.routing_id_bytes
    memcpy(event.peer, connection.peer_text, sizeof(event.peer))
    memcpy(event.routing_id, connection.routing_id, connection.routing_id_bytes)
    event.name_bytes = connection.name_bytes
    memcpy(event.name, connection.name, connection.name_bytes)
    event.has_key = connection.has_key
    memcpy(event.key, connection.key, KEY_BYTES)
    event.is_former = connection.cipher != NULL and connection.cipher.is_former
    event_put(hub, &event)


cdef void hub_tell_endpoint(Hub* hub, EventKind kind, Side side, int endpoint, int code) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = kind
    event.side = side
    event.endpoint = endpoint
    event.limit = <uint64_t>code
    event_put(hub, &event)
