"""The turn of the relay; see _engine.pxd for the contract and the way through it."""

from libc.errno cimport ENOMEM
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from zproxy._fastpath cimport (
    backlog_dispatch, broker_steps, client_forfeit, client_resume, fastpath_close, fastpath_open, fastpath_report,
    managed_abort, managed_drain, managed_due_ms, managed_live, managed_waiting, managed_waiting_bytes, peer_join,
    permits_set, worker_dismiss, worker_freed, worker_recover, worker_suspected
)
from zproxy._reading cimport read_all
from zproxy.counters cimport (
    BACKEND_CONNECTIONS, CLOSED_REVOKED, COUNTER_COUNT, FRONTEND_CONNECTIONS, GAUGE_COUNT, HANDSHAKING, MANAGED_IN,
    MANAGED_LIVE, MANAGED_WAITING, MANAGED_WAITING_BYTES, MEMORY_BYTES, PERMITS_REFUSED, POOLED_BYTES,
    REFUSED_HANDSHAKE_TIMEOUT, REPLIES_IN, REQUESTS_IN, SPINS, TRUNCATED_MESSAGES, TURNS, WAITING_BYTES,
    WAITING_REQUESTS, WAKEUPS, counter_add
)
from zproxy.names cimport names_remove
from zproxy.relay.admission cimport CHALLENGE_MS, admission_answer, admission_inherit, holder_challenge_over
from zproxy.relay.block cimport pool_trim
from zproxy.relay.connection cimport (
    ASKED, CONNECTING, LINGER, LIST_CLOSING, LIST_FLUSH, LIST_PAUSED, LIST_READ, READY, REASON_CONNECT, REASON_EOF,
    REASON_HANDSHAKE_TIMEOUT, REASON_REVOKED, REASON_STOP, SIDE_BACKEND, SIDE_FRONTEND, TIMER_ACKNOWLEDGE, TIMER_BEAT,
    TIMER_CHALLENGE, TIMER_COUNT, TIMER_HANDSHAKE, TIMER_HEARTBEAT, TIMER_RATE, TIMER_REFUSED, TIMER_STALL, Connection,
    connection_is_read, connection_pending, connection_takes, list_append, list_has, list_remove
)
from zproxy.relay.delivery cimport connection_flush, connection_linger
from zproxy.relay.endpoint cimport (
    connector_settle, endpoints_accept, endpoints_close, endpoints_lost, endpoints_next, endpoints_readdress,
    endpoints_rekey, endpoints_start, endpoints_stop, endpoints_tick
)
from zproxy.relay.hub cimport (
    REFUSED_STEP_MS, clock_ns, hub_broken, hub_close, hub_doom, hub_find, hub_handshaking, hub_hangup, hub_open,
    hub_release, hub_tell, hub_tell_endpoint
)
from zproxy.relay.intake cimport RATE_STEP_MS, intake_assembled, intake_stalled, intake_watch
from zproxy.relay.liveness cimport BEAT_MS, liveness_acknowledge, liveness_due
from zproxy.relay.mailbox cimport (
    COMMAND_DISMISS, COMMAND_PERMITS, COMMAND_REVOKE, COMMAND_SERVER_KEYS, COMMAND_STOP, EVENT_DISCONNECTED,
    EVENT_REFUSED, EVENT_STOPPED, Answer, Command, mailbox_end, mailbox_serve_report, mailbox_serve_snapshot,
    mailbox_take, mailbox_take_answer, mailbox_wants_report, mailbox_wants_snapshot
)
from zproxy.relay.poller cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, POLL_BATCH, POLL_WAKE, poller_wait, poller_wake_clear
)
from zproxy.relay.refusal cimport PEER_IS_READY, peer_refused_over
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.spin cimport spin_judge, spin_until_ns
from zproxy.relay.tcp cimport ACKNOWLEDGE_CHECK_MS
from zproxy.relay.timer cimport Timer, timer_expire, timer_next


# ---- writing and burying ----

cdef void flush_all(Engine* engine) noexcept nogil:
    cdef Connection* connection
    cdef uint32_t left = engine.hub.lists[<int>LIST_FLUSH].count
    while left:
        left -= 1
        connection = engine.hub.lists[<int>LIST_FLUSH].first
        if connection == NULL:
            return
        if connection.side == SIDE_BACKEND and connection.state == READY and not connection_takes(connection):
            list_remove(&engine.hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
            continue                            # what is not written yet may still go to another worker
        connection_flush(&engine.hub, connection)
        if connection.side == SIDE_BACKEND:
            worker_freed(&engine.path, connection)


# The one place where connections are freed.
cdef void connection_bury(Engine* engine, Connection* connection) noexcept nogil:
    cdef uint64_t lost = 0
    cdef Connection* heir
    if connection_pending(connection) and connection.state == READY:
        counter_add(&engine.hub.counters, TRUNCATED_MESSAGES, 1)
    intake_assembled(&engine.hub, connection)
    if connection.has_joined and connection.side == SIDE_BACKEND:
        lost = worker_recover(&engine.path, connection)
    elif connection.has_joined:
        lost = client_forfeit(&engine.path, connection)
    if connection.state == READY or connection.state == LINGER and connection.reason == REASON_STOP:
        hub_tell(&engine.hub, EVENT_DISCONNECTED, connection, connection.reason, lost, 0)
    if connection.routing_frame_bytes:
        names_remove(&engine.hub.routes, connection.routing_id, connection.routing_id_bytes, connection.slot)
        heir = admission_inherit(&engine.hub, connection)
        if heir != NULL:
            peer_join(&engine.path, heir)
    if connection.connector >= 0:
        endpoints_lost(&engine.hub, &engine.endpoints, connection)
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
    elif kind == TIMER_HEARTBEAT or kind == TIMER_BEAT:
        if liveness_due(&engine.hub, connection):
            worker_suspected(&engine.path, connection)
    elif kind == TIMER_ACKNOWLEDGE:
        liveness_acknowledge(&engine.hub, connection)
    elif kind == TIMER_RATE:
        client_resume(&engine.path, connection)
    elif kind == TIMER_CHALLENGE:
        holder_challenge_over(&engine.hub, connection)
    else:
        peer_refused_over(&engine.hub, connection)


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
    endpoints_tick(&engine.hub, &engine.endpoints)
    trim_tick(engine)


# ---- events ----

cdef void connection_event(Engine* engine, Connection* connection, uint32_t events) noexcept nogil:
    if connection.state == CONNECTING and not connector_settle(&engine.hub, connection):
        return
    if events & EPOLLERR:
        hub_broken(&engine.hub, connection)     # what came before the reset is still read
        return
    if events & (EPOLLRDHUP | EPOLLHUP):
        hub_hangup(&engine.hub, connection)
        if not connection_is_read(connection):
            hub_doom(&engine.hub, connection, REASON_EOF, 0)
            return
    if events & EPOLLOUT:
        connection.may_write = True
        if connection.outbox.bytes:
            list_append(&engine.hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) and connection_is_read(connection):
        if connection.is_managed and connection.has_hangup or not list_has(connection, LIST_PAUSED):
            list_append(&engine.hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void stop_begin(Engine* engine, int64_t drain_ms) noexcept nogil:
    engine.phase_due_ms = engine.hub.now_ms + drain_ms
    if engine.phase != PHASE_RUNNING:
        return
    engine.phase = PHASE_DRAINING
    engine.hub.is_draining = True
    managed_drain(&engine.path)
    broker_steps(&engine.path)      # before the peers are let go: they hear that it drains
    endpoints_stop(&engine.hub, &engine.endpoints)


# Who came in by this key has to go.
cdef void revoke(Engine* engine, const uint8_t* key, bint is_plain_only) noexcept nogil:
    cdef uint32_t slot
    cdef Connection* connection
    for slot in range(engine.hub.capacity):
        connection = engine.hub.table[slot]
        if connection == NULL or not connection.has_key or list_has(connection, LIST_CLOSING):
            continue
        if is_plain_only and connection.is_managed:
            continue
        if memcmp(connection.key, key, KEY_BYTES) == 0:
            counter_add(&engine.hub.counters, CLOSED_REVOKED, 1)
            hub_doom(&engine.hub, connection, REASON_REVOKED, 0)


# Those who asked whether they may come in.
cdef void answers_take(Engine* engine) noexcept nogil:
    cdef Answer answer
    cdef Connection* connection
    while mailbox_take_answer(&engine.hub.mailbox, &answer):
        connection = hub_find(&engine.hub, answer.tag)
        if connection == NULL or connection.state != ASKED or list_has(connection, LIST_CLOSING):
            continue                            # it did not wait
        if admission_answer(&engine.hub, connection, &answer) == PEER_IS_READY:
            peer_join(&engine.path, connection)
            list_append(&engine.hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void commands_take(Engine* engine) noexcept nogil:
    cdef Command command
    while mailbox_take(&engine.hub.mailbox, &command):
        if command.kind == COMMAND_STOP:
            stop_begin(engine, command.argument)
        elif command.kind == COMMAND_DISMISS:
            worker_dismiss(&engine.path, command.name, command.name_bytes)
        elif command.kind == COMMAND_PERMITS:
            if permits_set(&engine.path, command.content, command.content_bytes) != 0:
                counter_add(&engine.hub.counters, PERMITS_REFUSED, 1)
        elif command.kind == COMMAND_REVOKE:
            revoke(engine, command.key, command.argument != 0)
        elif command.kind == COMMAND_SERVER_KEYS:
            endpoints_rekey(
                &engine.hub, &engine.endpoints, command.endpoint, command.content,
                <uint8_t>(command.content_bytes // KEY_BYTES)
            )
        else:
            endpoints_readdress(&engine.endpoints, command.endpoint, &command.address)
        free(command.content)


cdef void snapshot_serve(Engine* engine, uint64_t number) noexcept nogil:
    cdef uint64_t[<int>COUNTER_COUNT + <int>GAUGE_COUNT] values
    engine_measure(engine, values)
    if mailbox_wants_report(&engine.hub.mailbox):
        mailbox_serve_report(&engine.hub.mailbox, fastpath_report(&engine.path))
    mailbox_serve_snapshot(&engine.hub.mailbox, number, values)


# In this order: a snapshot shows all that was commanded before it was asked for.
cdef void mailbox_serve(Engine* engine) noexcept nogil:
    cdef uint64_t number
    poller_wake_clear(&engine.hub.poller)
    number = mailbox_wants_snapshot(&engine.hub.mailbox)
    answers_take(engine)        # before what revokes them
    commands_take(engine)
    if number:
        snapshot_serve(engine, number)


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
            endpoints_accept(&engine.hub, &engine.endpoints, tag)
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
    for kind in range(TIMER_COUNT):
        due_ms = timer_next(&engine.hub.timers[kind], due_ms)
    if engine.phase != PHASE_RUNNING:
        due_ms = min(due_ms, engine.phase_due_ms)
    if engine.trim_due_ms:
        due_ms = min(due_ms, engine.trim_due_ms)
    return min(endpoints_next(&engine.endpoints, due_ms), managed_due_ms(&engine.path))


# Polls without blocking, until something happens or its time is over.
cdef int wait_spinning(Engine* engine) noexcept nogil:
    cdef int64_t until_ns = spin_until_ns(&engine.spin)
    cdef int count = 0
    if until_ns == 0:
        return 0
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
    cdef int count
    if has_work(engine):
        return poller_wait(&engine.hub.poller, 0)
    count = wait_spinning(engine)
    return count if count else wait_blocking(engine)


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
    # Requests wait only while there is somebody who will be able to take them.
    cdef bint may_wait = engine.path.backlog.count != 0 and engine.path.balance.count != 0
    if engine.phase == PHASE_DRAINING and is_over:
        managed_abort(&engine.path)
        broker_steps(&engine.path)
        flush_all(engine)       # once: who reads hears of it
    may_wait |= managed_live(&engine.path) != 0
    if engine.phase == PHASE_DRAINING:
        if is_over or not (may_wait or has_unwritten(engine)):
            linger_all(engine)
    elif is_over:
        engine.phase = PHASE_ENDED
    if engine.phase == PHASE_LINGERING and engine.hub.connection_count == 0:
        engine.phase = PHASE_ENDED


# Messages read since the relay began.
cdef inline uint64_t messages_in(const Engine* engine) noexcept nogil:
    cdef const uint64_t* values = engine.hub.counters.values
    return values[<int>REQUESTS_IN] + values[<int>REPLIES_IN] + values[<int>MANAGED_IN]


# Something is due: nobody is judged by his silence while what he said until now waits in the poller, behind a batch of
# others' events, or since before the process stood still for a while.
cdef bint events_take_rest(Engine* engine) noexcept nogil:
    cdef uint32_t batches = engine.hub.connection_count // POLL_BATCH + 1
    cdef int count = POLL_BATCH
    cdef bint is_woken = False
    while count == POLL_BATCH and batches:
        batches -= 1
        count = poller_wait(&engine.hub.poller, 0)
        is_woken |= events_take(engine, count)
    return is_woken


cdef void turn(Engine* engine) noexcept nogil:
    cdef int count = turn_wait(engine)
    cdef int64_t began_ns = clock_ns()
    cdef uint64_t messages = messages_in(engine)
    cdef bint is_woken
    engine.hub.now_ms = began_ns // 1000000
    counter_add(&engine.hub.counters, TURNS, 1)
    is_woken = events_take(engine, count)
    if next_due_ms(engine) <= engine.hub.now_ms:
        is_woken |= events_take_rest(engine)
    read_all(&engine.path)
    backlog_dispatch(&engine.path)
    broker_steps(&engine.path)
    flush_all(engine)
    bury_all(engine)
    tick(engine)
    intake_watch(&engine.hub)
    if is_woken:
        mailbox_serve(engine)
    if engine.phase != PHASE_RUNNING:
        phase_advance(engine)
    if engine.spin.limit_ns:
        spin_judge(&engine.spin, messages_in(engine) - messages, began_ns, clock_ns())


cdef void engine_run(Engine* engine) noexcept nogil:
    endpoints_start(&engine.hub, &engine.endpoints)
    while engine.phase != PHASE_ENDED:
        turn(engine)
    engine_close(engine)
    hub_tell_endpoint(&engine.hub, EVENT_STOPPED, SIDE_FRONTEND, -1, 0)
    mailbox_end(&engine.hub.mailbox)


cdef int engine_open(Engine* engine) noexcept nogil:
    cdef int code = hub_open(&engine.hub)
    if code:
        return code
    if fastpath_open(&engine.path, &engine.hub) != 0:
        return ENOMEM
    engine.hub.pool.limit_bytes = engine.hub.settings.memory_bytes
    engine.hub.timers[<int>TIMER_HANDSHAKE].delay_ms = engine.hub.settings.handshake_ms
    engine.hub.timers[<int>TIMER_STALL].delay_ms = engine.hub.settings.stall_ms
    engine.hub.timers[<int>TIMER_HEARTBEAT].delay_ms = engine.hub.settings.heartbeat_ms
    engine.hub.timers[<int>TIMER_ACKNOWLEDGE].delay_ms = ACKNOWLEDGE_CHECK_MS
    engine.hub.timers[<int>TIMER_CHALLENGE].delay_ms = CHALLENGE_MS
    engine.hub.timers[<int>TIMER_REFUSED].delay_ms = REFUSED_STEP_MS
    engine.hub.timers[<int>TIMER_BEAT].delay_ms = BEAT_MS
    engine.hub.timers[<int>TIMER_RATE].delay_ms = RATE_STEP_MS
    return 0


cdef void engine_close(Engine* engine) noexcept nogil:
    cdef uint32_t slot
    cdef uint64_t[<int>COUNTER_COUNT + <int>GAUGE_COUNT] values
    for slot in range(engine.hub.capacity):
        if engine.hub.table[slot] != NULL:
            connection_bury(engine, engine.hub.table[slot])
    endpoints_close(&engine.endpoints)
    mailbox_serve_report(&engine.hub.mailbox, fastpath_report(&engine.path))
    fastpath_close(&engine.path)
    engine_measure(engine, values)
    mailbox_serve_snapshot(&engine.hub.mailbox, 0, values)
    engine.leaked = hub_close(&engine.hub)


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
    if index == MANAGED_LIVE:
        return managed_live(&engine.path)
    if index == MANAGED_WAITING:
        return managed_waiting(&engine.path)
    if index == MANAGED_WAITING_BYTES:
        return managed_waiting_bytes(&engine.path)
    if index == MEMORY_BYTES:
        return engine.hub.pool.live_bytes
    if index == POOLED_BYTES:
        return engine.hub.pool.pooled_bytes
    return engine.hub.lists[<int>LIST_PAUSED].count + engine.hub.over_budget_count + engine.hub.over_rate_count


cdef void engine_measure(const Engine* engine, uint64_t* values) noexcept nogil:
    cdef int index
    memcpy(values, engine.hub.counters.values, sizeof(engine.hub.counters.values))
    for index in range(GAUGE_COUNT):
        values[<int>COUNTER_COUNT + index] = gauge(engine, index)
