"""Intake: who may be read now; see intake.pxd for the contract. `IntakeProbe` is for the tests."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from zproxy.counters cimport CLOSED_STALLED, RATE_PAUSES, counter_add
from zproxy.relay.connection cimport (
    HANDSHAKE, LIST_ASSEMBLY_BACKEND, LIST_ASSEMBLY_FRONTEND, LIST_CLOSING, LIST_PAUSED, LIST_READ, READY,
    REASON_STALLED, SIDE_BACKEND, SIDE_FRONTEND, TIMER_RATE, TIMER_STALL, Connection, ListKind, assembly_list,
    connection_is_unread, connection_pending, list_append, list_has, list_remove
)
from zproxy.relay.hub cimport Hub, hub_arm, hub_disarm, hub_doom
from zproxy.relay.inbox cimport inbox_held

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
    if live < limit or hub.unread_bytes[<int>SIDE_FRONTEND] < limit // 8:
        return LEVEL_NO_CLIENT
    return LEVEL_SPENT


cdef bint is_over_own_budget(const Hub* hub, const Connection* connection) noexcept nogil:
    return connection.waiting_bytes >= hub.settings.connection_bytes


cdef bint is_oldest(const Hub* hub, const Connection* connection) noexcept nogil:
    return connection == hub.lists[<int>assembly_list(connection)].first


# All but its own message stays below the level at which no client is read.
cdef bint rest_is_low(const Hub* hub, const Connection* connection) noexcept nogil:
    cdef uint64_t limit = hub.settings.memory_bytes
    return hub.pool.live_bytes - inbox_held(&connection.inbox) < limit - limit // 8


cdef bint level_admits(const Hub* hub, const Connection* connection, int level) noexcept nogil:
    if hub.is_draining and connection.side == SIDE_FRONTEND and not connection.is_managed:
        return False            # managed ones are told that it drains
    if level == LEVEL_FREE:
        return True
    if connection.side == SIDE_FRONTEND and level >= LEVEL_NO_CLIENT:
        return is_oldest(hub, connection) and rest_is_low(hub, connection)
    return level != LEVEL_SPENT and (not connection.inbox.is_assembling or is_oldest(hub, connection))


cdef void unpause(Hub* hub, Connection* connection) noexcept nogil:
    list_remove(&hub.lists[<int>LIST_PAUSED], connection, LIST_PAUSED)
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


# The oldest large message of a side goes on, if it may.
cdef void oldest_wake(Hub* hub, ListKind assembly, int level) noexcept nogil:
    cdef Connection* oldest = hub.lists[<int>assembly].first
    if oldest != NULL and list_has(oldest, LIST_PAUSED) and level_admits(hub, oldest, level):
        unpause(hub, oldest)


# Over its budget, a client's unfinished message does not hold up the other large ones.
cdef void over_budget_begin(Hub* hub, Connection* connection) noexcept nogil:
    if connection.is_over_budget:
        return
    connection.is_over_budget = True
    hub.over_budget_count += 1
    intake_assembled(hub, connection)


cdef bint intake_admits(Hub* hub, Connection* connection) noexcept nogil:
    cdef int level
    if connection.state != READY:
        return True
    if connection.is_over_rate:
        return False
    if connection.is_over_budget or is_over_own_budget(hub, connection):
        over_budget_begin(hub, connection)      # intake_refund brings it back, whatever else it sends meanwhile
        return False
    level = intake_level(hub)
    if level_admits(hub, connection, level):
        return True
    hub.paused_level = max(hub.paused_level, level)
    list_append(&hub.lists[<int>LIST_PAUSED], connection, LIST_PAUSED)
    return False


cdef void intake_watch(Hub* hub) noexcept nogil:
    cdef int level
    if hub.lists[<int>LIST_PAUSED].first == NULL:
        return
    level = intake_level(hub)
    if level < hub.paused_level:
        hub.paused_level = LEVEL_FREE
        while hub.lists[<int>LIST_PAUSED].first != NULL:
            unpause(hub, hub.lists[<int>LIST_PAUSED].first)
        return
    oldest_wake(hub, LIST_ASSEMBLY_FRONTEND, level)
    oldest_wake(hub, LIST_ASSEMBLY_BACKEND, level)


cdef void intake_refund(Hub* hub, Connection* connection, uint64_t count) noexcept nogil:
    connection.waiting_bytes -= count
    # Half a budget of hysteresis: a client at its limit is woken for many messages, not for each.
    if not connection.is_over_budget or connection.waiting_bytes * 2 > hub.settings.connection_bytes:
        return
    connection.is_over_budget = False
    hub.over_budget_count -= 1
    if connection.inbox.is_assembling:
        list_append(&hub.lists[<int>LIST_ASSEMBLY_FRONTEND], connection, LIST_ASSEMBLY_FRONTEND)
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void intake_hold(Hub* hub, Connection* connection) noexcept nogil:
    if connection.is_over_rate:
        return
    connection.is_over_rate = True
    hub.over_rate_count += 1
    counter_add(&hub.counters, RATE_PAUSES, 1)
    hub_arm(hub, connection, TIMER_RATE)


cdef void intake_resume(Hub* hub, Connection* connection) noexcept nogil:
    connection.is_over_rate = False
    hub.over_rate_count -= 1
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void intake_assembled(Hub* hub, Connection* connection) noexcept nogil:
    cdef ListKind assembly = assembly_list(connection)
    list_remove(&hub.lists[<int>assembly], connection, assembly)
    if hub.lists[<int>LIST_PAUSED].first != NULL:
        oldest_wake(hub, assembly, intake_level(hub))


cdef void intake_settle(Hub* hub, Connection* connection, bint has_finished) noexcept nogil:
    if connection.inbox.is_assembling:
        list_append(&hub.lists[<int>assembly_list(connection)], connection, assembly_list(connection))
    if connection_pending(connection) == 0:
        hub_disarm(hub, connection, TIMER_STALL)
        return
    if hub.settings.stall_ms and (has_finished or connection.timers[<int>TIMER_STALL].due_ms == 0):
        connection.stall_mark = connection.bytes_read
        hub_arm(hub, connection, TIMER_STALL)


cdef void intake_stalled(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint64_t progress = connection.bytes_read - connection.stall_mark
    if connection_is_unread(connection) or progress >= STALL_PROGRESS_BYTES:
        connection.stall_mark = connection.bytes_read
        hub_arm(hub, connection, TIMER_STALL)
        return
    counter_add(&hub.counters, CLOSED_STALLED, 1)
    hub_doom(hub, connection, REASON_STALLED, connection_pending(connection))


# Nobody but the oldest is read, for what clients leave unread more than for what waits for workers.
cdef bint is_held_up(const Hub* hub) noexcept nogil:
    cdef int level = intake_level(hub)
    if level == LEVEL_NO_CLIENT:
        return hub.unread_bytes[<int>SIDE_FRONTEND] >= hub.settings.memory_bytes // 2
    return level == LEVEL_SPENT


cdef bint intake_holds_up(Hub* hub, Connection* connection) noexcept nogil:
    if connection.side == SIDE_BACKEND or connection.state != READY or hub.settings.stall_ms == 0:
        return False
    if connection.outbox.bytes == 0 or connection.outbox.bytes_written - connection.taken_mark >= STALL_PROGRESS_BYTES:
        connection.taken_mark = connection.outbox.bytes_written
        connection.taken_ms = hub.now_ms
        return False
    return hub.now_ms - connection.taken_ms >= hub.settings.stall_ms and is_held_up(hub)


cdef class IntakeProbe:
    """Intake by itself: connections that are no more than what intake looks at, by slot."""

    cdef Hub hub
    cdef Connection* connections
    cdef uint32_t count

    def __cinit__(self, uint32_t count, uint64_t memory_bytes, uint64_t connection_bytes):
        cdef uint32_t slot
        self.hub.settings.memory_bytes = memory_bytes
        self.hub.settings.connection_bytes = connection_bytes
        self.hub.settings.stall_ms = self.hub.timers[<int>TIMER_STALL].delay_ms = 1
        self.count = count
        self.connections = <Connection*>calloc(count, sizeof(Connection))
        if self.connections == NULL:
            raise MemoryError
        for slot in range(count):
            self.connections[slot].state = READY

    def __dealloc__(self):
        free(self.connections)

    def set_live(self, uint64_t live_bytes, uint64_t unread_bytes=0):
        """Memory in use is so much now, and of it what clients leave unread; the level."""
        self.hub.pool.live_bytes = live_bytes
        self.hub.unread_bytes[<int>SIDE_FRONTEND] = unread_bytes
        return intake_level(&self.hub)

    def become(self, uint32_t slot, *, bint is_frontend=True, bint is_ready=True):
        """What kind of connection it is."""
        self._at(slot).side = SIDE_FRONTEND if is_frontend else SIDE_BACKEND
        self._at(slot).state = READY if is_ready else HANDSHAKE

    def begin_large(self, uint32_t slot, uint64_t count=1):
        """A read left it in the middle of a large message, of which so much has come."""
        self._at(slot).inbox.is_assembling = True
        self._at(slot).inbox.assembly.bytes = count
        intake_settle(&self.hub, self._at(slot), False)

    def end_large(self, uint32_t slot):
        """Its large message is complete, or given up."""
        self._at(slot).inbox.is_assembling = False
        self._at(slot).inbox.assembly.bytes = 0
        intake_assembled(&self.hub, self._at(slot))
        intake_settle(&self.hub, self._at(slot), True)

    def admits(self, uint32_t slot):
        """May it be read at the present level?"""
        list_remove(&self.hub.lists[<int>LIST_READ], self._at(slot), LIST_READ)
        return intake_admits(&self.hub, self._at(slot))

    def watch(self):
        """A turn ends."""
        intake_watch(&self.hub)

    def charge(self, uint32_t slot, uint64_t count):
        """A request of its waits."""
        self._at(slot).waiting_bytes += count

    def refund(self, uint32_t slot, uint64_t count):
        """A request of its was taken."""
        intake_refund(&self.hub, self._at(slot), count)

    def read(self, uint32_t slot, uint64_t count):
        """So many bytes came, none of which ended a message."""
        self._at(slot).bytes_read += count
        intake_settle(&self.hub, self._at(slot), False)

    def hold(self, uint32_t slot):
        """It has sent more than it may for now."""
        intake_hold(&self.hub, self._at(slot))

    def resume(self, uint32_t slot):
        """It may send on."""
        intake_resume(&self.hub, self._at(slot))

    def stalled(self, uint32_t slot):
        """--stall is over for it: is it closed?"""
        intake_stalled(&self.hub, self._at(slot))
        return list_has(self._at(slot), LIST_CLOSING)

    def holds_up(self, uint32_t slot, int64_t now_ms, uint64_t unread_bytes, uint64_t taken_bytes):
        """Its outbox is looked at: so much is left, so much was taken since the beginning. Is it to be closed?"""
        self.hub.now_ms = now_ms
        self._at(slot).outbox.bytes = unread_bytes
        self._at(slot).outbox.bytes_written = taken_bytes
        return intake_holds_up(&self.hub, self._at(slot))

    def is_paused(self, uint32_t slot):
        """It waits for the level to fall."""
        return list_has(self._at(slot), LIST_PAUSED)

    def is_wanted(self, uint32_t slot):
        """It stands in the list of those to be read."""
        return list_has(self._at(slot), LIST_READ)

    def is_timed(self, uint32_t slot):
        """--stall runs for it."""
        return self._at(slot).timers[<int>TIMER_STALL].due_ms != 0

    @property
    def over_budget_count(self):
        """Clients not read for their own waiting requests."""
        return self.hub.over_budget_count

    @property
    def outbox_bytes(self):
        """What one outbox may hold now."""
        return outbox_budget(&self.hub)

    cdef Connection* _at(self, uint32_t slot) except NULL:
        if slot >= self.count:
            raise IndexError(slot)
        return &self.connections[slot]
