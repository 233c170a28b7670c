"""Reading: what the bytes of a readable connection become; see _reading.pxd for the contract."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from zproxy._fastpath cimport (
    managed_pass, managed_pass_large, peer_join, reply_pass, reply_pass_large, request_pass, request_pass_large,
    worker_freed, worker_recover
)
from zproxy.relay.admission cimport holder_lives
from zproxy.relay.block cimport Message, message_join, message_release
from zproxy.relay.cipher cimport OPEN_FORGED, OPEN_NO_MEMORY, OPEN_OK, OpenCode, cipher_open, cipher_prepare
from zproxy.relay.connection cimport (
    GREETING, HANDSHAKE, LINGER, LIST_CLOSING, LIST_READ, READY, REASON_EOF, REASON_FORGED, REASON_MALFORMED,
    REASON_NO_MEMORY, REASON_RESET, REASON_TOO_LARGE, SIDE_BACKEND, SIDE_FRONTEND, Connection, Reason,
    connection_is_read, list_append, list_has, list_remove
)
from zproxy.relay.hub cimport hub_doom
from zproxy.relay.inbox cimport (
    ITEM_ASSEMBLED, ITEM_COMMAND, ITEM_MESSAGE, ITEM_NEED, ITEM_NO_MEMORY, ITEM_TOO_LARGE, Item, ItemKind, inbox_accept,
    inbox_next, inbox_prepare, iovec
)
from zproxy.relay.intake cimport intake_admits, intake_assembled, intake_settle
from zproxy.relay.introduction cimport HANDSHAKES_TURN, introduction_greeting
from zproxy.relay.peering cimport peering_command
from zproxy.relay.refusal cimport (
    PEER_GOES_ON, PEER_IS_MALFORMED, PEER_IS_READY, Verdict, peer_abandon, peer_reject
)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* target, size_t count, int flags)

cdef extern from "<sys/uio.h>" nogil:
    ssize_t readv(int fd, const iovec* target, int entries)


# What it sent can never become right. Its stream must stand between two messages for an ERROR to be readable.
cdef void connection_reject(Fastpath* path, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    if connection.side == SIDE_BACKEND and connection.has_joined and worker_recover(path, connection):
        peer_abandon(path.hub, connection, reason, size)
        return
    peer_reject(path.hub, connection, reason, size)


cdef bint take_message(Fastpath* path, Connection* connection, const Item* item) noexcept nogil:
    if connection.state != READY:
        connection_reject(path, connection, REASON_MALFORMED, 0)
        return False
    if connection.is_managed:
        managed_pass(path, connection, item.bytes, item.count)
    elif connection.side == SIDE_FRONTEND:
        request_pass(path, connection, item.bytes, item.count)
    else:
        reply_pass(path, connection, item.bytes, item.count)
    return True


# A large message is whole. One that fits a block after all (it came in pieces) goes the way of the small ones, so that
# it does not keep the rest of its block occupied.
cdef bint take_assembled(Fastpath* path, Connection* connection) noexcept nogil:
    cdef Message message
    cdef Item item
    cdef bint is_taken
    memset(&message, 0, sizeof(Message))
    message_join(&message, &connection.inbox.assembly)
    intake_assembled(path.hub, connection)
    if message.head == message.tail or connection.state != READY:
        item.bytes = message.head.block.bytes + message.head.offset
        item.count = message.bytes
        is_taken = take_message(path, connection, &item)
        message_release(&path.hub.pool, &message)
        return is_taken
    if connection.is_managed:
        managed_pass_large(path, connection, &message, connection.inbox.frame_count)
    elif connection.side == SIDE_FRONTEND:
        request_pass_large(path, connection, &message)
    else:
        reply_pass_large(path, connection, &message)
    return True


cdef bint take_command(Fastpath* path, Connection* connection, const Item* item) noexcept nogil:
    cdef Verdict verdict = peering_command(path.hub, connection, item.bytes, item.count)
    if verdict == PEER_IS_READY:
        peer_join(path, connection)
    elif verdict == PEER_IS_MALFORMED:
        connection_reject(path, connection, REASON_MALFORMED, 0)
    if verdict != PEER_IS_READY and verdict != PEER_GOES_ON:
        return False
    return not list_has(connection, LIST_CLOSING)       # there was no memory for one more peer


# One thing the inbox found. False: this connection's bytes are of no more use.
cdef inline bint take_item(Fastpath* path, Connection* connection, ItemKind kind, const Item* item) noexcept nogil:
    if kind == ITEM_MESSAGE:
        return take_message(path, connection, item)
    if kind == ITEM_ASSEMBLED:
        return take_assembled(path, connection)
    if kind == ITEM_COMMAND:
        return take_command(path, connection, item)
    if kind == ITEM_NO_MEMORY:
        hub_doom(path.hub, connection, REASON_NO_MEMORY, 0)
    elif kind == ITEM_TOO_LARGE:
        connection_reject(path, connection, REASON_TOO_LARGE, item.count)
    else:
        connection_reject(path, connection, REASON_MALFORMED, 0)
    return False


# Everything whole in the window. False: the connection is over.
cdef bint inbox_drain(Fastpath* path, Connection* connection) noexcept nogil:
    cdef Item item
    cdef ItemKind kind
    cdef bint has_finished = False
    if connection.state == LINGER:
        return True             # read only for its end
    if connection.state == GREETING:
        if introduction_greeting(path.hub, connection) != PEER_GOES_ON:
            return False
        if connection.state == GREETING:
            return True
    while True:
        kind = inbox_next(&connection.inbox, &path.hub.pool, &item)
        if kind == ITEM_NEED:
            break
        if not take_item(path, connection, kind, &item):
            return False
        has_finished = has_finished or kind != ITEM_COMMAND
    # A message's frame before the handshake is done: no budget binds such a peer, so nothing of it is kept.
    if connection.inbox.is_assembling and connection.state != READY:
        connection_reject(path, connection, REASON_MALFORMED, 0)
        return False
    intake_settle(path.hub, connection, has_finished)
    return True


cdef void connection_heard(Fastpath* path, Connection* connection, size_t count) noexcept nogil:
    connection.bytes_read += count
    connection.heard_ms = path.hub.now_ms
    connection.pings_unheard = 0
    connection.unheard_messages = 0
    if connection.is_suspect:
        connection.is_suspect = False
        worker_freed(path, connection)
    if connection.is_challenged:
        holder_lives(path.hub, connection)


# May it be read on? One that was reset and is not read any more is over; so is a node that has hung up: nobody waits
# for what it still wants, and while it is not read its name would be held, and its requests would wait, for nobody.
cdef bint connection_may_read(Fastpath* path, Connection* connection) noexcept nogil:
    if intake_admits(path.hub, connection):
        return True
    if connection.has_reset:
        hub_doom(path.hub, connection, REASON_RESET, 0)
    elif connection.has_hangup and connection.is_managed and connection.side == SIDE_FRONTEND:
        hub_doom(path.hub, connection, REASON_EOF, 0)
    return False


# A read gave nothing: for now, or for ever. True: try again.
cdef bint connection_paused(Fastpath* path, Connection* connection, ssize_t count) noexcept nogil:
    if count < 0 and errno == EINTR:
        return True
    if count == 0:
        hub_doom(path.hub, connection, REASON_EOF, 0)
    elif errno != EAGAIN or connection.has_reset:
        hub_doom(path.hub, connection, REASON_RESET, 0)
    return False


# What is there for the prepared places. A single one is filled without the cost of a vector.
cdef inline ssize_t socket_read(int fd, iovec* target, int entries) noexcept nogil:
    return recv(fd, target[0].iov_base, target[0].iov_len, 0) if entries == 1 else readv(fd, target, entries)


cdef inline bint speaks_boxes(const Connection* connection) noexcept nogil:
    return connection.cipher != NULL and connection.cipher.is_on and connection.state != LINGER


cdef inline size_t places_bytes(const iovec* target, int entries) noexcept nogil:
    cdef size_t count = target[0].iov_len if entries else 0
    return count + target[1].iov_len if entries == 2 else count


# What was read is the inbox's, and whatever is whole is taken. False: the connection is over.
cdef inline bint bytes_take(Fastpath* path, Connection* connection, size_t count) noexcept nogil:
    if speaks_boxes(connection):
        return boxes_take(path, connection, count)
    inbox_accept(&connection.inbox, path.hub.read_buffer, count)
    return inbox_drain(path, connection)


# The same of boxes. What stands in front of a forged one is genuine, and was said.
cdef bint boxes_take(Fastpath* path, Connection* connection, size_t count) noexcept nogil:
    cdef OpenCode code = cipher_open(
        connection.cipher, &connection.inbox, &path.hub.pool, path.hub.raw_buffer, path.hub.read_buffer, &count
    )
    inbox_accept(&connection.inbox, path.hub.read_buffer, count)
    if not inbox_drain(path, connection):
        return False
    if code == OPEN_FORGED:
        connection_reject(path, connection, REASON_FORGED, 0)
    elif code == OPEN_NO_MEMORY:
        hub_doom(path.hub, connection, REASON_NO_MEMORY, 0)
    return code == OPEN_OK


# Reads its share of a turn. True: there may be more.
cdef bint connection_read(Fastpath* path, Connection* connection) noexcept nogil:
    cdef iovec[2] target
    cdef int entries
    cdef ssize_t count
    cdef size_t asked
    cdef size_t total = 0
    while total < READ_TURN_BYTES:
        entries = inbox_prepare(&connection.inbox, &path.hub.pool, path.hub.read_buffer, target)
        if entries < 0:
            hub_doom(path.hub, connection, REASON_NO_MEMORY, 0)
            return False
        if speaks_boxes(connection):
            entries = cipher_prepare(connection.cipher, &connection.inbox, path.hub.raw_buffer, target, entries)
        asked = places_bytes(target, entries)
        count = socket_read(connection.fd, target, entries) if entries else 0
        if count <= 0 and entries:
            return connection_paused(path, connection, count)
        connection_heard(path, connection, <size_t>count)
        if not bytes_take(path, connection, <size_t>count):
            return False
        if not connection.has_hangup and (<size_t>count < asked or not connection_is_read(connection)):
            return False        # the socket is empty, and the next byte a new edge; or it waits until it is let in
        if not connection_may_read(path, connection):
            return False
        total += <size_t>count
    return True


# Each connection that may be read has one share.
cdef void read_all(Fastpath* path) noexcept nogil:
    cdef Connection* connection
    cdef uint32_t left = path.hub.lists[<int>LIST_READ].count
    path.hub.handshakes_left = HANDSHAKES_TURN
    while left:
        left -= 1
        connection = path.hub.lists[<int>LIST_READ].first
        if connection == NULL:
            return
        list_remove(&path.hub.lists[<int>LIST_READ], connection, LIST_READ)
        if list_has(connection, LIST_CLOSING) or not connection_is_read(connection):
            continue
        if connection.state in (GREETING, HANDSHAKE) and connection.cipher != NULL and path.hub.handshakes_left == 0:
            list_append(&path.hub.lists[<int>LIST_READ], connection, LIST_READ)     # in the next turn
            continue
        if not connection_may_read(path, connection):
            continue
        if connection_read(path, connection) and not list_has(connection, LIST_CLOSING):
            list_append(&path.hub.lists[<int>LIST_READ], connection, LIST_READ)
