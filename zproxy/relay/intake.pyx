"""Intake: who may be read now; see intake.pxd for the contract."""

from libc.stdint cimport uint64_t

from zproxy.counters cimport CLOSED_STALLED, counter_add
from zproxy.relay.connection cimport (
    LIST_ASSEMBLY, LIST_PAUSED, LIST_READ, READY, REASON_STALLED, SIDE_FRONTEND, TIMER_STALL, Connection, list_append,
    list_has, list_remove
)
from zproxy.relay.hub cimport Hub, hub_arm, hub_disarm, hub_doom
from zproxy.relay.inbox cimport inbox_pending

cdef enum:
    LEVEL_FREE
    LEVEL_NO_LARGE
    LEVEL_NO_CLIENT
    LEVEL_SPENT


cdef int intake_level(const Hub* hub) noexcept nogil:
    cdef uint64_t live = hub.pool.live_bytes
    cdef uint64_t limit = hub.settings.memory_bytes
    if live < limit - limit // 4:
        return LEVEL_FREE
    if live < limit - limit // 8:
        return LEVEL_NO_LARGE
    return LEVEL_NO_CLIENT if live < limit else LEVEL_SPENT


cdef bint is_over_own_budget(const Hub* hub, const Connection* connection) noexcept nogil:
    return connection.waiting_bytes >= hub.settings.connection_bytes


cdef bint level_admits(const Hub* hub, const Connection* connection, int level) noexcept nogil:
    if connection.state != READY:
        return True
    if hub.is_draining and connection.side == SIDE_FRONTEND:
        return False
    if level == LEVEL_FREE:
        return True
    if connection == hub.lists[<int>LIST_ASSEMBLY].first:
        return True
    if connection.inbox.is_assembling or level == LEVEL_SPENT:
        return False
    return level == LEVEL_NO_LARGE or connection.side != SIDE_FRONTEND


cdef void over_budget_set(Hub* hub, Connection* connection, bint is_over) noexcept nogil:
    if connection.is_over_budget != is_over:
        connection.is_over_budget = is_over
        hub.over_budget_count += 1 if is_over else -1


cdef bint intake_admits(Hub* hub, Connection* connection, int level) noexcept nogil:
    if is_over_own_budget(hub, connection):
        over_budget_set(hub, connection, True)  # intake_refund brings it back
        return False
    if level_admits(hub, connection, level):
        return True
    list_append(&hub.lists[<int>LIST_PAUSED], connection, LIST_PAUSED)
    return False


cdef void unpause(Hub* hub, Connection* connection) noexcept nogil:
    list_remove(&hub.lists[<int>LIST_PAUSED], connection, LIST_PAUSED)
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void intake_resume(Hub* hub) noexcept nogil:
    while hub.lists[<int>LIST_PAUSED].first != NULL:
        unpause(hub, hub.lists[<int>LIST_PAUSED].first)


cdef void intake_refund(Hub* hub, Connection* connection, uint64_t count) noexcept nogil:
    connection.waiting_bytes -= count
    # Half a budget of hysteresis: a client at its limit is woken for many messages, not for each.
    if connection.is_over_budget and connection.waiting_bytes * 2 <= hub.settings.connection_bytes:
        over_budget_set(hub, connection, False)
        list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void intake_assembled(Hub* hub, Connection* connection) noexcept nogil:
    cdef Connection* oldest
    list_remove(&hub.lists[<int>LIST_ASSEMBLY], connection, LIST_ASSEMBLY)
    oldest = hub.lists[<int>LIST_ASSEMBLY].first
    if oldest != NULL and list_has(oldest, LIST_PAUSED):
        unpause(hub, oldest)


cdef void intake_settle(Hub* hub, Connection* connection, bint has_finished) noexcept nogil:
    if connection.inbox.is_assembling:
        list_append(&hub.lists[<int>LIST_ASSEMBLY], connection, LIST_ASSEMBLY)
    if inbox_pending(&connection.inbox) == 0:
        hub_disarm(hub, connection, TIMER_STALL)
    elif has_finished or connection.timers[<int>TIMER_STALL].due_ms == 0:
        connection.stall_mark = connection.bytes_read
        hub_arm(hub, connection, TIMER_STALL)


cdef void intake_stalled(Hub* hub, Connection* connection) noexcept nogil:
    cdef bint is_ours = connection.is_over_budget or list_has(connection, LIST_PAUSED)
    is_ours = is_ours or list_has(connection, LIST_READ)
    if is_ours or connection.bytes_read - connection.stall_mark >= STALL_PROGRESS_BYTES:
        connection.stall_mark = connection.bytes_read
        hub_arm(hub, connection, TIMER_STALL)
        return
    counter_add(&hub.counters, CLOSED_STALLED, 1)
    hub_doom(hub, connection, REASON_STALLED, inbox_pending(&connection.inbox))
