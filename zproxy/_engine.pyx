"""The turn of the relay; see _engine.pxd for the contract and the way through it."""

from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from zproxy._fastpath cimport (
    backlog_dispatch, client_forfeit, fastpath_close, reply_pass, reply_pass_large, request_pass, request_pass_large,
    worker_flushed, worker_join, worker_recover
)
from zproxy.counters cimport (
    BACKEND_CONNECTIONS, COUNTER_COUNT, FRONTEND_CONNECTIONS, GAUGE_COUNT, HANDSHAKING, MEMORY_BYTES, POOLED_BYTES,
    REFUSED_HANDSHAKE_TIMEOUT, SPINS, TRUNCATED_MESSAGES, TURNS, WAITING_BYTES, WAITING_REQUESTS,
    WAKEUPS, counter_add
)
from zproxy.relay.block cimport Message, message_join, message_release, pool_trim
from zproxy.relay.connection cimport (
    CONNECTING, GREETING, LINGER, LIST_CLOSING, LIST_FLUSH, LIST_PAUSED, LIST_READ, READY, REASON_CONNECT, REASON_EOF,
    REASON_HANDSHAKE_TIMEOUT, REASON_MALFORMED, REASON_NO_MEMORY, REASON_RESET, REASON_STOP, REASON_TOO_LARGE,
    SIDE_BACKEND, SIDE_FRONTEND, TIMER_CHALLENGE, TIMER_COUNT, TIMER_HANDSHAKE, TIMER_HEARTBEAT, TIMER_REFUSED,
    TIMER_STALL, Connection, Reason, connection_is_read, list_append, list_has, list_remove
)
from zproxy.relay.delivery cimport connection_flush, connection_linger
from zproxy.relay.endpoint cimport (
    Connector, Listener, connector_dial, connector_failed, connector_retry, connector_settle, listener_accept,
    listener_arm
)
from zproxy.relay.hub cimport (
    HANDSHAKES_MAX, clock_ns, hub_close, hub_doom, hub_find, hub_handshaking, hub_open, hub_release, hub_tell,
    hub_tell_endpoint
)
from zproxy.relay.inbox cimport (
    ITEM_ASSEMBLED, ITEM_COMMAND, ITEM_MESSAGE, ITEM_NEED, ITEM_NO_MEMORY, ITEM_TOO_LARGE, READ_BUFFER_BYTES, Item,
    ItemKind, inbox_accept, inbox_next, inbox_pending, inbox_prepare, iovec
)
from zproxy.relay.intake cimport (
    intake_admits, intake_assembled, intake_level, intake_resume, intake_settle, intake_stalled
)
from zproxy.relay.mailbox cimport (
    COMMAND_STOP, EVENT_DISCONNECTED, EVENT_REFUSED, EVENT_STOPPED, Command, mailbox_end,
    mailbox_serve_snapshot, mailbox_take, mailbox_wants_snapshot
)
from zproxy.relay.peering cimport (
    CHALLENGE_MS, PEER_GOES_ON, PEER_IS_MALFORMED, PEER_IS_READY, REFUSED_STEP_MS, Verdict, peering_abandon,
    peering_challenge_over, peering_command, peering_greeting, peering_heartbeat, peering_holder_lives, peering_inherit,
    peering_refused_over, peering_reject
)
from zproxy.relay.poller cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, POLL_WAKE, poller_wait, poller_wake_clear
)
from zproxy.relay.routes cimport routes_remove
from zproxy.relay.timer cimport Timer, timer_expire, timer_next

cdef extern from "<sys/uio.h>" nogil:
    ssize_t readv(int fd, const iovec* target, int entries)


# ---- reading ----

# What it sent can never become right. Its stream must stand between two messages for an ERROR to be readable.
cdef void connection_reject(Engine* engine, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    if connection.side == SIDE_BACKEND and connection.has_joined and worker_recover(&engine.path, connection):
        peering_abandon(&engine.hub, connection, reason, size)
        return
    peering_reject(&engine.hub, connection, reason, size)


cdef bint take_message(Engine* engine, Connection* connection, const Item* item) noexcept nogil:
    engine.turn_messages += 1
    if connection.state != READY:
        connection_reject(engine, connection, REASON_MALFORMED, 0)
        return False
    if connection.side == SIDE_FRONTEND:
        request_pass(&engine.path, connection, item.bytes, item.count)
    else:
        reply_pass(&engine.path, item.bytes, item.count)
    return True


cdef bint take_assembled(Engine* engine, Connection* connection) noexcept nogil:
    cdef Message message
    memset(&message, 0, sizeof(Message))
    message_join(&message, &connection.inbox.assembly)
    intake_assembled(&engine.hub, connection)
    engine.turn_messages += 1
    if connection.state != READY:
        message_release(&engine.hub.pool, &message)
        connection_reject(engine, connection, REASON_MALFORMED, 0)
        return False
    if connection.side == SIDE_FRONTEND:
        request_pass_large(&engine.path, connection, &message)
    else:
        reply_pass_large(&engine.path, &message)
    return True


cdef void peer_joined(Engine* engine, Connection* connection) noexcept nogil:
    connection.has_joined = True
    if connection.connector >= 0:
        engine.connectors[connection.connector].backoff_ms = 0
    if connection.side == SIDE_BACKEND and worker_join(&engine.path, connection) != 0:
        hub_doom(&engine.hub, connection, REASON_NO_MEMORY, 0)


cdef bint take_command(Engine* engine, Connection* connection, const Item* item) noexcept nogil:
    cdef Verdict verdict = peering_command(&engine.hub, connection, item.bytes, item.count)
    if verdict == PEER_IS_READY:
        peer_joined(engine, connection)
    elif verdict == PEER_IS_MALFORMED:
        connection_reject(engine, connection, REASON_MALFORMED, 0)
    return verdict == PEER_IS_READY or verdict == PEER_GOES_ON


# One thing the inbox found. False: this connection's bytes are of no more use.
cdef inline bint take_item(Engine* engine, Connection* connection, ItemKind kind, const Item* item) noexcept nogil:
    if kind == ITEM_MESSAGE:
        return take_message(engine, connection, item)
    if kind == ITEM_ASSEMBLED:
        return take_assembled(engine, connection)
    if kind == ITEM_COMMAND:
        return take_command(engine, connection, item)
    if kind == ITEM_NO_MEMORY:
        hub_doom(&engine.hub, connection, REASON_NO_MEMORY, 0)
    elif kind == ITEM_TOO_LARGE:
        connection_reject(engine, connection, REASON_TOO_LARGE, item.count)
    else:
        connection_reject(engine, connection, REASON_MALFORMED, 0)
    return False


# Everything whole in the window. False: the connection is over.
cdef bint inbox_drain(Engine* engine, Connection* connection) noexcept nogil:
    cdef Item item
    cdef ItemKind kind
    cdef bint has_finished = False
    if connection.state == LINGER:
        return True             # read only for its end
    if connection.state == GREETING:
        if peering_greeting(&engine.hub, connection) != PEER_GOES_ON:
            return False
        if connection.state == GREETING:
            return True
    while True:
        kind = inbox_next(&connection.inbox, &engine.hub.pool, &item)
        if kind == ITEM_NEED:
            break
        if not take_item(engine, connection, kind, &item):
            return False
        has_finished = True
    intake_settle(&engine.hub, connection, has_finished)
    return True


cdef void connection_heard(Engine* engine, Connection* connection, size_t count) noexcept nogil:
    connection.bytes_read += count
    connection.heard_ms = engine.hub.now_ms
    connection.pinged_ms = 0
    connection.unheard_messages = 0
    if connection.is_challenged:
        peering_holder_lives(&engine.hub, connection)


# Reads its share of a turn. True: there may be more.
cdef bint connection_read(Engine* engine, Connection* connection) noexcept nogil:
    cdef iovec[2] target
    cdef int entries
    cdef ssize_t count
    cdef size_t asked
    cdef size_t total = 0
    while total < READ_TURN_BYTES:
        entries = inbox_prepare(&connection.inbox, &engine.hub.pool, engine.read_buffer, target)
        if entries < 0:
            hub_doom(&engine.hub, connection, REASON_NO_MEMORY, 0)
            return False
        asked = target[0].iov_len + (target[1].iov_len if entries == 2 else 0)
        count = readv(connection.fd, target, entries)
        if count <= 0:
            if count == 0:
                hub_doom(&engine.hub, connection, REASON_EOF, 0)
            elif errno != EAGAIN and errno != EINTR:
                hub_doom(&engine.hub, connection, REASON_RESET, 0)
            return count < 0 and errno == EINTR
        connection_heard(engine, connection, <size_t>count)
        inbox_accept(&connection.inbox, engine.read_buffer, <size_t>count)
        if not inbox_drain(engine, connection):
            return False
        if <size_t>count < asked and not connection.has_hangup:
            return False        # the socket is empty: the next byte is a new edge
        if not intake_admits(&engine.hub, connection, intake_level(&engine.hub)):
            return False
        total += <size_t>count
    return True


# Each connection that may be read has one share.
cdef void read_all(Engine* engine) noexcept nogil:
    cdef Connection* connection
    cdef uint32_t left = engine.hub.lists[<int>LIST_READ].count
    while left:
        left -= 1
        connection = engine.hub.lists[<int>LIST_READ].first
        if connection == NULL:
            return
        list_remove(&engine.hub.lists[<int>LIST_READ], connection, LIST_READ)
        if list_has(connection, LIST_CLOSING) or not connection_is_read(connection):
            continue
        if engine.phase != PHASE_RUNNING and connection.side == SIDE_FRONTEND and connection.state == READY:
            continue
        if not intake_admits(&engine.hub, connection, intake_level(&engine.hub)):
            continue
        if connection_read(engine, connection) and not list_has(connection, LIST_CLOSING):
            list_append(&engine.hub.lists[<int>LIST_READ], connection, LIST_READ)


# ---- writing and burying ----

cdef void flush_all(Engine* engine) noexcept nogil:
    cdef Connection* connection
    cdef uint32_t left = engine.hub.lists[<int>LIST_FLUSH].count
    while left:
        left -= 1
        connection = engine.hub.lists[<int>LIST_FLUSH].first
        if connection == NULL:
            return
        connection_flush(&engine.hub, connection)
        if connection.side == SIDE_BACKEND:
            worker_flushed(&engine.path, connection)


cdef void connector_lost(Engine* engine, Connection* connection) noexcept nogil:
    cdef Connector* connector = &engine.connectors[connection.connector]
    if connection.state == CONNECTING and connection.reason == REASON_CONNECT:
        connector_failed(&engine.hub, connector, <int>connection.reason_size)
    else:
        connector_retry(&engine.hub, connector)


# The one place where connections are freed.
cdef void connection_bury(Engine* engine, Connection* connection) noexcept nogil:
    cdef uint64_t lost = 0
    cdef Connection* heir
    if inbox_pending(&connection.inbox) and connection.state == READY:
        counter_add(&engine.hub.counters, TRUNCATED_MESSAGES, 1)
    intake_assembled(&engine.hub, connection)
    if connection.has_joined and connection.side == SIDE_BACKEND:
        lost = worker_recover(&engine.path, connection)
    elif connection.has_joined:
        lost = client_forfeit(&engine.path, connection)
    if connection.state == READY:
        hub_tell(&engine.hub, EVENT_DISCONNECTED, connection, connection.reason, lost, 0)
    if connection.routing_frame_bytes:
        routes_remove(&engine.hub.routes, connection.routing_id, connection.routing_id_bytes, connection.slot)
        heir = peering_inherit(&engine.hub, connection)
        if heir != NULL:
            peer_joined(engine, heir)
    if connection.connector >= 0:
        connector_lost(engine, connection)
    hub_release(&engine.hub, connection)


cdef void bury_all(Engine* engine) noexcept nogil:
    while engine.hub.lists[<int>LIST_CLOSING].first != NULL:
        connection_bury(engine, engine.hub.lists[<int>LIST_CLOSING].first)


# ---- what is due ----

cdef void handshake_over(Engine* engine, Connection* connection) noexcept nogil:
    if connection.state == CONNECTING:
        hub_doom(&engine.hub, connection, REASON_CONNECT, 0)
        return
    counter_add(&engine.hub.counters, REFUSED_HANDSHAKE_TIMEOUT, 1)
    hub_tell(&engine.hub, EVENT_REFUSED, connection, REASON_HANDSHAKE_TIMEOUT, 0, 0)
    hub_doom(&engine.hub, connection, REASON_HANDSHAKE_TIMEOUT, 0)


cdef void timer_due(Engine* engine, int kind, Connection* connection) noexcept nogil:
    if kind == TIMER_HANDSHAKE:
        handshake_over(engine, connection)
    elif kind == TIMER_STALL:
        intake_stalled(&engine.hub, connection)
    elif kind == TIMER_HEARTBEAT:
        peering_heartbeat(&engine.hub, connection)
    elif kind == TIMER_CHALLENGE:
        peering_challenge_over(&engine.hub, connection)
    else:
        peering_refused_over(&engine.hub, connection)


# Its rest is over: it had no descriptor, or too many others shook hands.
cdef bint may_listen(const Engine* engine, const Listener* listener) noexcept nogil:
    if listener.rearm_ms:
        return listener.rearm_ms <= engine.hub.now_ms
    return hub_handshaking(&engine.hub) < HANDSHAKES_MAX


cdef void endpoints_tick(Engine* engine) noexcept nogil:
    cdef int index
    if engine.phase != PHASE_RUNNING:
        return
    for index in range(engine.listener_count):
        if not engine.listeners[index].is_armed and may_listen(engine, &engine.listeners[index]):
            listener_arm(&engine.hub, &engine.listeners[index], <uint64_t>index + 1, True)
    for index in range(engine.connector_count):
        if engine.connectors[index].due_ms and engine.connectors[index].due_ms <= engine.hub.now_ms:
            connector_dial(&engine.hub, &engine.connectors[index], index)


cdef void trim_tick(Engine* engine) noexcept nogil:
    if engine.trim_due_ms == 0:
        if engine.hub.pool.pooled_bytes:
            engine.trim_due_ms = engine.hub.now_ms + TRIM_EVERY_MS
    elif engine.trim_due_ms <= engine.hub.now_ms:
        engine.trim_due_ms = engine.hub.now_ms + TRIM_EVERY_MS if pool_trim(&engine.hub.pool) else 0


cdef void tick(Engine* engine) noexcept nogil:
    cdef int kind
    cdef Timer* timer
    for kind in range(TIMER_COUNT):
        while True:
            timer = timer_expire(&engine.hub.timers[kind], engine.hub.now_ms)
            if timer == NULL:
                break
            timer_due(engine, kind, engine.hub.table[timer.slot])
    endpoints_tick(engine)
    trim_tick(engine)


# ---- events ----

cdef void connection_event(Engine* engine, Connection* connection, uint32_t events) noexcept nogil:
    if connection.state == CONNECTING and not connector_settle(&engine.hub, connection):
        return
    if events & EPOLLERR:
        hub_doom(&engine.hub, connection, REASON_RESET, 0)
        return
    if events & (EPOLLRDHUP | EPOLLHUP):
        connection.has_hangup = True
        if not connection_is_read(connection):
            hub_doom(&engine.hub, connection, REASON_EOF, 0)
            return
    if events & EPOLLOUT:
        connection.may_write = True
        if connection.outbox.bytes:
            list_append(&engine.hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) and connection_is_read(connection):
        if not list_has(connection, LIST_PAUSED):
            list_append(&engine.hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void stop_begin(Engine* engine, int64_t drain_ms) noexcept nogil:
    cdef int index
    engine.phase_due_ms = engine.hub.now_ms + drain_ms
    if engine.phase != PHASE_RUNNING:
        return
    engine.phase = PHASE_DRAINING
    for index in range(engine.listener_count):
        close(engine.listeners[index].fd)
        engine.listeners[index].fd = -1


cdef void commands_take(Engine* engine) noexcept nogil:
    cdef Command command
    cdef int index
    poller_wake_clear(&engine.hub.poller)
    while mailbox_take(&engine.hub.mailbox, &command):
        if command.kind == COMMAND_STOP:
            stop_begin(engine, command.argument)
            continue
        for index in range(engine.connector_count):
            if engine.connectors[index].endpoint == command.endpoint:
                engine.connectors[index].address = command.address


cdef void snapshot_serve(Engine* engine) noexcept nogil:
    cdef uint64_t[<int>COUNTER_COUNT + <int>GAUGE_COUNT] values
    cdef uint64_t number = mailbox_wants_snapshot(&engine.hub.mailbox)
    if number == 0:
        return
    engine_measure(engine, values)
    mailbox_serve_snapshot(&engine.hub.mailbox, number, values)


# Spreads the poller's events; True when the eventfd was among them.
cdef bint events_take(Engine* engine, int count) noexcept nogil:
    cdef int index
    cdef uint64_t tag
    cdef Connection* connection
    cdef bint is_woken = False
    for index in range(count):
        tag = engine.hub.poller.events[index].data.u64
        if tag == POLL_WAKE:
            is_woken = True
        elif tag >> 32 == 0:
            listener_accept(&engine.hub, &engine.listeners[tag - 1], tag)
        else:
            connection = hub_find(&engine.hub, tag)
            if connection != NULL and not list_has(connection, LIST_CLOSING):
                connection_event(engine, connection, engine.hub.poller.events[index].events)
    return is_woken


# ---- waiting ----

# Something is left to do without any new event.
cdef bint has_work(const Engine* engine) noexcept nogil:
    if engine.hub.lists[<int>LIST_READ].count or engine.hub.lists[<int>LIST_FLUSH].count:
        return True
    if engine.hub.lists[<int>LIST_CLOSING].count:
        return True
    return engine.path.backlog.count != 0 and engine.path.balance.usable_count != 0


cdef int64_t next_due_ms(const Engine* engine) noexcept nogil:
    cdef int64_t due_ms = INT64_MAX
    cdef int kind
    cdef int index
    for kind in range(TIMER_COUNT):
        due_ms = timer_next(&engine.hub.timers[kind], due_ms)
    if engine.phase != PHASE_RUNNING:
        due_ms = min(due_ms, engine.phase_due_ms)
    for index in range(engine.listener_count):
        if engine.listeners[index].rearm_ms:
            due_ms = min(due_ms, engine.listeners[index].rearm_ms)
    for index in range(engine.connector_count):
        if engine.connectors[index].due_ms:
            due_ms = min(due_ms, engine.connectors[index].due_ms)
    if engine.trim_due_ms:
        due_ms = min(due_ms, engine.trim_due_ms)
    return due_ms


cdef bint may_spin(const Engine* engine) noexcept nogil:
    if engine.hub.settings.spin_us == 0:
        return False
    return not engine.hub.settings.spin_auto or engine.spin_streak >= SPIN_STREAK


# Polls without blocking until something happens or the spin time since the last turn is over.
cdef int wait_spinning(Engine* engine) noexcept nogil:
    cdef int64_t until_ns = engine.turn_ended_ns + engine.hub.settings.spin_us * 1000
    cdef int count = 0
    while clock_ns() < until_ns:
        count = poller_wait(&engine.hub.poller, 0)
        if count:
            counter_add(&engine.hub.counters, SPINS, 1)
            break
    return count


cdef int wait_blocking(Engine* engine) noexcept nogil:
    cdef int64_t due_ms = next_due_ms(engine)
    cdef int64_t timeout_ms = -1
    if due_ms != INT64_MAX:
        timeout_ms = max(due_ms - clock_ns() // 1000000, 0)
    counter_add(&engine.hub.counters, WAKEUPS, 1)
    return poller_wait(&engine.hub.poller, timeout_ms)


cdef int turn_wait(Engine* engine) noexcept nogil:
    cdef int count = 0
    if has_work(engine):
        return poller_wait(&engine.hub.poller, 0)
    if may_spin(engine):
        count = wait_spinning(engine)
    return count if count else wait_blocking(engine)


# --spin auto: spin only while single messages come closer together than a spin lasts.
cdef void spin_judge(Engine* engine, int64_t began_ns) noexcept nogil:
    if engine.turn_messages == 0:
        return
    if engine.turn_messages <= SPIN_MESSAGES and began_ns - engine.turn_ended_ns <= engine.hub.settings.spin_us * 1000:
        engine.spin_streak += 1
    else:
        engine.spin_streak = 0


# ---- the turn ----

cdef bint has_unwritten(const Engine* engine) noexcept nogil:
    cdef uint32_t slot
    for slot in range(engine.hub.capacity):
        if engine.hub.table[slot] != NULL and engine.hub.table[slot].outbox.bytes:
            return True
    return False


cdef void linger_all(Engine* engine) noexcept nogil:
    cdef uint32_t slot
    cdef Connection* connection
    for slot in range(engine.hub.capacity):
        connection = engine.hub.table[slot]
        if connection == NULL:
            continue
        if connection.state == READY:
            connection.reason = REASON_STOP
            connection_linger(&engine.hub, connection)
        elif connection.state != LINGER:
            hub_doom(&engine.hub, connection, REASON_STOP, 0)
    engine.phase = PHASE_LINGERING
    engine.phase_due_ms = min(engine.phase_due_ms, engine.hub.now_ms + LINGER_MS)


# On the way to a stop: is this phase's work done, or its time over?
cdef void phase_advance(Engine* engine) noexcept nogil:
    cdef bint is_over = engine.phase_due_ms <= engine.hub.now_ms
    cdef bint is_taken
    if engine.phase == PHASE_DRAINING:
        # Requests wait only while there is somebody who will be able to take them.
        is_taken = engine.path.backlog.count == 0 or engine.path.balance.count == 0
        if is_over or (is_taken and not has_unwritten(engine)):
            linger_all(engine)
    elif is_over:
        engine.phase = PHASE_ENDED
    if engine.phase == PHASE_LINGERING and engine.hub.connection_count == 0:
        engine.phase = PHASE_ENDED


cdef void level_watch(Engine* engine) noexcept nogil:
    cdef int level = intake_level(&engine.hub)
    if level < engine.level:
        intake_resume(&engine.hub)
    engine.level = level


cdef void turn(Engine* engine) noexcept nogil:
    cdef int count = turn_wait(engine)
    cdef int64_t began_ns = clock_ns()
    cdef bint is_woken
    engine.hub.now_ms = began_ns // 1000000
    engine.turn_messages = 0
    counter_add(&engine.hub.counters, TURNS, 1)
    is_woken = events_take(engine, count)
    read_all(engine)
    backlog_dispatch(&engine.path)
    flush_all(engine)
    bury_all(engine)
    tick(engine)
    level_watch(engine)
    if is_woken:
        commands_take(engine)
        snapshot_serve(engine)
    if engine.phase != PHASE_RUNNING:
        phase_advance(engine)
    if engine.hub.settings.spin_us:
        spin_judge(engine, began_ns)
        engine.turn_ended_ns = clock_ns()


cdef void engine_begin(Engine* engine) noexcept nogil:
    cdef int index
    for index in range(engine.listener_count):
        listener_arm(&engine.hub, &engine.listeners[index], <uint64_t>index + 1, True)
    for index in range(engine.connector_count):
        engine.connectors[index].due_ms = engine.hub.now_ms


cdef void engine_run(Engine* engine) noexcept nogil:
    engine_begin(engine)
    while engine.phase != PHASE_ENDED:
        turn(engine)
    engine_close(engine)
    hub_tell_endpoint(&engine.hub, EVENT_STOPPED, SIDE_FRONTEND, -1, 0)
    mailbox_end(&engine.hub.mailbox)


cdef int engine_open(Engine* engine) noexcept nogil:
    engine.path.hub = &engine.hub
    engine.read_buffer = <unsigned char*>malloc(READ_BUFFER_BYTES)
    if engine.read_buffer == NULL:
        return ENOMEM
    engine.hub.timers[<int>TIMER_HANDSHAKE].delay_ms = engine.hub.settings.handshake_ms
    engine.hub.timers[<int>TIMER_STALL].delay_ms = engine.hub.settings.stall_ms
    engine.hub.timers[<int>TIMER_HEARTBEAT].delay_ms = engine.hub.settings.heartbeat_ms
    engine.hub.timers[<int>TIMER_CHALLENGE].delay_ms = CHALLENGE_MS
    engine.hub.timers[<int>TIMER_REFUSED].delay_ms = REFUSED_STEP_MS
    return hub_open(&engine.hub)


cdef void engine_close(Engine* engine) noexcept nogil:
    cdef uint32_t slot
    cdef int index
    cdef uint64_t[<int>COUNTER_COUNT + <int>GAUGE_COUNT] values
    for slot in range(engine.hub.capacity):
        if engine.hub.table[slot] != NULL:
            connection_bury(engine, engine.hub.table[slot])
    for index in range(engine.listener_count):
        if engine.listeners[index].fd >= 0:
            close(engine.listeners[index].fd)
    fastpath_close(&engine.path)
    engine_measure(engine, values)
    mailbox_serve_snapshot(&engine.hub.mailbox, 0, values)
    engine.leaked = hub_close(&engine.hub)
    free(engine.listeners)
    free(engine.connectors)
    free(engine.read_buffer)
    engine.listeners = NULL
    engine.connectors = NULL
    engine.read_buffer = NULL
    engine.listener_count = engine.connector_count = 0


cdef uint64_t gauge(const Engine* engine, int index) noexcept nogil:
    if index == FRONTEND_CONNECTIONS:
        return engine.hub.state_count[<int>READY][<int>SIDE_FRONTEND]
    if index == BACKEND_CONNECTIONS:
        return engine.hub.state_count[<int>READY][<int>SIDE_BACKEND]
    if index == HANDSHAKING:
        return hub_handshaking(&engine.hub)
    if index == WAITING_REQUESTS:
        return engine.path.backlog.count
    if index == WAITING_BYTES:
        return engine.path.backlog.bytes
    if index == MEMORY_BYTES:
        return engine.hub.pool.live_bytes
    if index == POOLED_BYTES:
        return engine.hub.pool.pooled_bytes
    return engine.hub.lists[<int>LIST_PAUSED].count + engine.hub.over_budget_count


cdef void engine_measure(const Engine* engine, uint64_t* values) noexcept nogil:
    cdef int index
    memcpy(values, engine.hub.counters.values, sizeof(engine.hub.counters.values))
    for index in range(GAUGE_COUNT):
        values[<int>COUNTER_COUNT + index] = gauge(engine, index)
