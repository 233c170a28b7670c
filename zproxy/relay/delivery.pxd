"""Delivery: whole messages, and what we say ourselves, into a connection's outbox, and the outbox onto the wire.

Called by the turn once it knows where a message goes, and by the rooms of the conversation. Decides nothing.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zproxy.relay.block cimport MEDIUM_BYTES, Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub, hub_want_flush
from zproxy.relay.outbox cimport outbox_room

# The two parts behind each other, larger together than one block. 0, or -1: no memory, nothing was delivered.
cdef int deliver_parts(
    Hub* hub, Connection* connection, const uint8_t* head, uint32_t head_bytes, const uint8_t* body, size_t body_bytes
) noexcept nogil

# `head` (may be empty), then the chain, which is empty afterwards. 0, or -1: no memory, the chain is the caller's.
cdef int deliver_chain(
    Hub* hub, Connection* connection, const uint8_t* head, uint32_t head_bytes, Message* message
) noexcept nogil

# Queues a frame of our own, boxed where the peer speaks CURVE / as it is, whatever it speaks. False: no memory, and the
# connection is doomed.
cdef bint say(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil
cdef bint say_as_it_is(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil

# Writes what the socket takes. A rejected peer whose ERROR has left is given its end.
cdef void connection_flush(Hub* hub, Connection* connection) noexcept nogil

# Takes the messages out of its outbox of which nothing was written yet, as outbox_reclaim does.
cdef int connection_reclaim(Hub* hub, Connection* connection, Message* message, uint64_t* torn) noexcept nogil

# All is written: our end of the stream closes, the peer's is awaited, so that nothing written is lost to a reset.
cdef void connection_linger(Hub* hub, Connection* connection) noexcept nogil


cdef inline void delivered(Hub* hub, Connection* connection) noexcept nogil:
    connection.unheard_messages += 1
    hub_want_flush(hub, connection)


# Copies `head`, then `body`: the hot path. 0, or -1: no memory, nothing was delivered.
cdef inline int deliver_copy(
    Hub* hub, Connection* connection, const uint8_t* head, uint32_t head_bytes, const uint8_t* body, size_t body_bytes
) noexcept nogil:
    cdef uint8_t* target
    if head_bytes + body_bytes > MEDIUM_BYTES:
        return deliver_parts(hub, connection, head, head_bytes, body, body_bytes)
    target = outbox_room(&connection.outbox, &hub.pool, head_bytes + body_bytes)
    if target == NULL:
        return -1
    memcpy(target, head, head_bytes)
    memcpy(target + head_bytes, body, body_bytes)
    delivered(hub, connection)
    return 0
