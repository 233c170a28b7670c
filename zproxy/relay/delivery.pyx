"""Delivery: whole messages into a connection's outbox, and onto the wire; see delivery.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zproxy.relay.block cimport SLICE_CONTINUES, Message, message_append, message_release
from zproxy.relay.cipher cimport cipher_flush, cipher_forfeit
from zproxy.relay.connection cimport (
    LINGER, LIST_FLUSH, LIST_PAUSED, LIST_READ, REASON_NO_MEMORY, REJECTED, TIMER_ACKNOWLEDGE, TIMER_REFUSED,
    TIMER_STALL, Connection, beat_timer, list_append, list_remove
)
from zproxy.relay.hub cimport (
    REFUSED_STEPS_MIN, Hub, hub_arm, hub_broken, hub_disarm, hub_doom, hub_enter, hub_want_flush, hub_weigh_outbox
)
from zproxy.relay.inbox cimport inbox_clear
from zproxy.relay.outbox cimport (
    FLUSH_AGAIN, FLUSH_BLOCKED, FLUSH_FAILED, FlushCode, outbox_flush, outbox_link, outbox_reclaim, outbox_room,
    outbox_wire
)

cdef extern from "<sys/socket.h>" nogil:
    enum: SHUT_WR
    int shutdown(int fd, int how)


# The body becomes a chain of its own, behind the head.
cdef int deliver_parts(
    Hub* hub, Connection* connection, const uint8_t* head, uint32_t head_bytes, const uint8_t* body, size_t body_bytes
) noexcept nogil:
    cdef Message message
    message.head = message.tail = NULL
    message.bytes = 0
    if message_append(&hub.pool, &message, body, body_bytes) != 0:
        message_release(&hub.pool, &message)
        return -1
    if deliver_chain(hub, connection, head, head_bytes, &message) != 0:
        message_release(&hub.pool, &message)
        return -1
    return 0


cdef int deliver_chain(
    Hub* hub, Connection* connection, const uint8_t* head, uint32_t head_bytes, Message* message
) noexcept nogil:
    cdef uint8_t* target
    if head_bytes:
        target = outbox_room(&connection.outbox, &hub.pool, head_bytes)
        if target == NULL:
            return -1
        memcpy(target, head, head_bytes)
        message.head.flags |= SLICE_CONTINUES
    outbox_link(&connection.outbox, message)
    delivered(hub, connection)
    return 0


cdef bint say(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil:
    cdef uint8_t* target = outbox_room(&connection.outbox, &hub.pool, count)
    if target == NULL:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    memcpy(target, frame, count)
    hub_want_flush(hub, connection)
    return True


cdef bint say_as_it_is(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil:
    if outbox_wire(&connection.outbox, &hub.pool, frame, count) != 0:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    hub_want_flush(hub, connection)
    return True


cdef FlushCode outbox_write(Hub* hub, Connection* connection) noexcept nogil:
    if connection.cipher == NULL:
        return outbox_flush(&connection.outbox, &hub.pool, connection.fd, 0)
    return cipher_flush(connection.cipher, &connection.outbox, &hub.pool, connection.fd)


cdef int connection_reclaim(Hub* hub, Connection* connection, Message* message, uint64_t* torn) noexcept nogil:
    if connection.cipher != NULL:
        cipher_forfeit(connection.cipher, &connection.outbox, &hub.pool, torn)
    return outbox_reclaim(&connection.outbox, &hub.pool, message, torn)


cdef void connection_flush(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint64_t bytes_written = connection.outbox.bytes_written
    cdef FlushCode code = outbox_write(hub, connection)
    if connection.outbox.bytes_written != bytes_written:
        connection.written_ms = hub.now_ms
    if connection.timers[<int>TIMER_ACKNOWLEDGE].due_ms == 0:
        connection.taken_mark = connection.outbox.bytes_written
        connection.taken_ms = hub.now_ms
        hub_arm(hub, connection, TIMER_ACKNOWLEDGE)
    hub_weigh_outbox(hub, connection, connection.outbox.bytes)
    list_remove(&hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
    if code == FLUSH_FAILED:
        hub_broken(hub, connection)
    elif code == FLUSH_BLOCKED:
        connection.may_write = False
    elif code == FLUSH_AGAIN:
        list_append(&hub.lists[<int>LIST_FLUSH], connection, LIST_FLUSH)
    elif connection.state == REJECTED:
        connection_linger(hub, connection)


cdef void connection_linger(Hub* hub, Connection* connection) noexcept nogil:
    hub_enter(hub, connection, LINGER)
    hub_disarm(hub, connection, beat_timer(connection))
    hub_disarm(hub, connection, TIMER_STALL)
    # Read to its end, whatever the budgets, for bytes left unread make the close a reset; nothing of them is kept.
    list_remove(&hub.lists[<int>LIST_PAUSED], connection, LIST_PAUSED)
    inbox_clear(&connection.inbox, &hub.pool)
    connection.refused_steps = REFUSED_STEPS_MIN
    hub_arm(hub, connection, TIMER_REFUSED)
    shutdown(connection.fd, SHUT_WR)
    list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)
