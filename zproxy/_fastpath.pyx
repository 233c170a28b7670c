"""Fast path: a whole message's way from one side to the other; see _fastpath.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.broker.balance cimport (
    WORKER_NONE, balance_add, balance_close, balance_pick, balance_remove, balance_set_usable
)
from zproxy.counters cimport (
    DROPPED_CLIENT_GONE, DROPPED_NO_MEMORY, DROPPED_SLOW_READER, DROPPED_UNROUTABLE, REPLIES_IN, REPLIES_IN_BYTES,
    REPLIES_LOST, REPLIES_OUT, REPLIES_OUT_BYTES, REQUESTS_IN, REQUESTS_IN_BYTES, REQUESTS_LOST, REQUESTS_NO_MEMORY,
    REQUESTS_OUT, REQUESTS_OUT_BYTES, REQUESTS_REROUTED, REQUESTS_UNDELIVERED, counter_add
)
from zproxy.names cimport NAME_NONE, names_find
from zproxy.relay.backlog cimport (
    OWNER_NONE, backlog_clear, backlog_open, backlog_orphan, backlog_pack, backlog_pop, backlog_push, parcel_charge
)
from zproxy.relay.block cimport SMALL_BYTES, Message, message_join, message_release, message_skip
from zproxy.relay.connection cimport READY, REASON_NO_MEMORY, SIDE_BACKEND, Connection, connection_takes
from zproxy.relay.delivery cimport connection_flush, deliver_chain, deliver_copy
from zproxy.relay.hub cimport Hub, hub_doom
from zproxy.relay.intake cimport intake_refund, reply_budget
from zproxy.relay.outbox cimport outbox_reclaim
from zproxy.relay.zmtp cimport Frame, routing_frame_read


# ---- frontend → backend ----


# The worker has one message more: a full outbox is written at once, one still full takes nothing for now.
cdef inline void worker_loaded(Fastpath* path, Connection* worker) noexcept nogil:
    if worker.outbox.bytes < WORKER_BUSY_BYTES:
        return
    if worker.may_write:
        connection_flush(path.hub, worker)
    if worker.outbox.bytes >= WORKER_BUSY_BYTES:
        balance_set_usable(&path.balance, worker.slot, False)


# The worker whose turn it is, or NULL: nobody can take a message now. One whose end was seen is passed over.
cdef inline Connection* worker_pick(Fastpath* path) noexcept nogil:
    cdef uint32_t slot
    cdef Connection* worker
    while True:
        slot = balance_pick(&path.balance)
        if slot == <uint32_t>WORKER_NONE:
            return NULL
        worker = path.hub.table[slot]
        if connection_takes(worker):
            return worker
        balance_set_usable(&path.balance, slot, False)


cdef inline void request_passed(Fastpath* path, Connection* worker, uint64_t count) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_OUT, 1)
    counter_add(&path.hub.counters, REQUESTS_OUT_BYTES, count)
    worker_loaded(path, worker)


# Nobody can take it: it waits in order, charged to its client.
cdef void request_hold(Fastpath* path, Connection* client, Message* message) noexcept nogil:
    cdef uint64_t count = parcel_charge(message)
    if backlog_push(&path.backlog, &path.hub.pool, &client.lane, message) != 0:
        message_release(&path.hub.pool, message)
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    client.waiting_bytes += count


cdef void request_wait(Fastpath* path, Connection* client, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Message message
    if backlog_pack(
        &path.backlog, &path.hub.pool, client.routing_frame, client.routing_frame_bytes, bytes, count, &message
    ) != 0:
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    request_hold(path, client, &message)


# A request came in: the worker for it, or NULL when it has to wait, behind those that wait already.
cdef inline Connection* request_route(Fastpath* path, uint64_t count) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_IN, 1)
    counter_add(&path.hub.counters, REQUESTS_IN_BYTES, count)
    return worker_pick(path) if path.backlog.count == 0 else NULL


# A whole request, contiguous in the read buffer.
cdef void request_pass(Fastpath* path, Connection* client, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Connection* worker = request_route(path, count)
    if worker == NULL:
        request_wait(path, client, bytes, count)
        return
    if deliver_copy(path.hub, worker, client.routing_frame, client.routing_frame_bytes, bytes, count) != 0:
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    request_passed(path, worker, client.routing_frame_bytes + count)


# A whole request in blocks of its own.
cdef void request_pass_large(Fastpath* path, Connection* client, Message* message) noexcept nogil:
    cdef Message whole
    cdef Connection* worker = request_route(path, message.bytes)
    cdef uint64_t count = client.routing_frame_bytes + message.bytes
    if worker != NULL:
        if deliver_chain(path.hub, worker, client.routing_frame, client.routing_frame_bytes, message) == 0:
            request_passed(path, worker, count)
            return
    elif backlog_pack(
        &path.backlog, &path.hub.pool, client.routing_frame, client.routing_frame_bytes, NULL, 0, &whole
    ) == 0:
        message_join(&whole, message)
        request_hold(path, client, &whole)
        return
    message_release(&path.hub.pool, message)
    counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)


cdef void waiting_deliver(Fastpath* path, Connection* worker, Message* message) noexcept nogil:
    cdef uint64_t count = message.bytes
    cdef const uint8_t* bytes = message.head.block.bytes + message.head.offset
    cdef int code
    if message.head == message.tail and count <= SMALL_BYTES:
        code = deliver_copy(path.hub, worker, bytes, <uint32_t>count, bytes, 0)
    else:
        code = deliver_chain(path.hub, worker, NULL, 0, message)
    message_release(&path.hub.pool, message)
    if code != 0:
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    request_passed(path, worker, count)


# What waits goes out while somebody can take it.
cdef void backlog_dispatch(Fastpath* path) noexcept nogil:
    cdef Message message
    cdef Connection* worker
    cdef uint32_t owner
    while path.backlog.count:
        worker = worker_pick(path)
        if worker == NULL:
            return
        backlog_pop(&path.backlog, &path.hub.pool, &message, &owner)
        if owner != <uint32_t>OWNER_NONE:
            intake_refund(path.hub, path.hub.table[owner], parcel_charge(&message))
        waiting_deliver(path, worker, &message)


# ---- backend → frontend ----

# Is its outbox within its budget, at the latest once what the socket takes is written?
cdef bint may_take_more(Fastpath* path, Connection* client) noexcept nogil:
    if client.outbox.bytes < reply_budget(path.hub, client):
        return True
    if client.may_write:
        connection_flush(path.hub, client)
    return client.outbox.bytes == 0 or client.outbox.bytes < reply_budget(path.hub, client)


# A reply came in: the client it is for, if it can have it; else it is counted why not.
cdef inline Connection* reply_target(
    Fastpath* path, const uint8_t* bytes, size_t count, Frame* frame, uint64_t reply_bytes
) noexcept nogil:
    cdef uint32_t slot
    cdef Connection* client
    counter_add(&path.hub.counters, REPLIES_IN, 1)
    counter_add(&path.hub.counters, REPLIES_IN_BYTES, reply_bytes)
    if not routing_frame_read(bytes, count, frame):
        counter_add(&path.hub.counters, DROPPED_UNROUTABLE, 1)
        return NULL
    slot = names_find(&path.hub.routes, bytes + frame.header_bytes, <uint8_t>frame.body_bytes)
    if slot == <uint32_t>NAME_NONE or path.hub.table[slot].state != READY:
        counter_add(&path.hub.counters, DROPPED_CLIENT_GONE, 1)
        return NULL
    client = path.hub.table[slot]
    if client.outbox.bytes and not may_take_more(path, client):
        counter_add(&path.hub.counters, DROPPED_SLOW_READER, 1)
        return NULL
    return client


cdef inline void reply_passed(Fastpath* path, int code, uint64_t count) noexcept nogil:
    if code != 0:
        counter_add(&path.hub.counters, DROPPED_NO_MEMORY, 1)
        return
    counter_add(&path.hub.counters, REPLIES_OUT, 1)
    counter_add(&path.hub.counters, REPLIES_OUT_BYTES, count)


# A whole reply, contiguous in the read buffer: its first frame says whose it is and stays here.
cdef void reply_pass(Fastpath* path, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    cdef Connection* client = reply_target(path, bytes, count, &frame, count)
    cdef uint32_t routing_bytes
    if client == NULL:
        return
    routing_bytes = frame.header_bytes + <uint32_t>frame.body_bytes
    count -= routing_bytes
    reply_passed(path, deliver_copy(path.hub, client, bytes, 0, bytes + routing_bytes, count), count)


# A whole reply in blocks of its own. A routing id that fits stands whole in the first of them.
cdef void reply_pass_large(Fastpath* path, Message* message) noexcept nogil:
    cdef const uint8_t* bytes = message.head.block.bytes + message.head.offset
    cdef Frame frame
    cdef Connection* client = reply_target(path, bytes, message.head.length, &frame, message.bytes)
    cdef uint64_t count
    if client == NULL:
        message_release(&path.hub.pool, message)
        return
    message_skip(&path.hub.pool, message, frame.header_bytes + frame.body_bytes)
    message.head.flags = 0
    count = message.bytes
    reply_passed(path, deliver_chain(path.hub, client, bytes, 0, message), count)
    message_release(&path.hub.pool, message)


# ---- a connection's end ----


# Unwritten requests of a worker that takes no more go back in front of the queue; a partly written one is lost.
cdef uint64_t worker_recover(Fastpath* path, Connection* worker) noexcept nogil:
    cdef Message message
    cdef uint64_t torn = 0
    balance_remove(&path.balance, worker.slot)
    while outbox_reclaim(&worker.outbox, &path.hub.pool, &message, &torn):
        if backlog_push(&path.backlog, &path.hub.pool, &path.backlog.recovered, &message) == 0:
            counter_add(&path.hub.counters, REQUESTS_REROUTED, 1)
            continue
        message_release(&path.hub.pool, &message)
        torn += 1
    counter_add(&path.hub.counters, REQUESTS_LOST, torn)
    return torn


# Replies that never left whole are lost with their client; its waiting requests stay, nobody's.
cdef uint64_t client_forfeit(Fastpath* path, Connection* client) noexcept nogil:
    cdef Message message
    cdef uint64_t lost = 0
    backlog_orphan(&path.backlog, &client.lane)
    while outbox_reclaim(&client.outbox, &path.hub.pool, &message, &lost):
        message_release(&path.hub.pool, &message)
        lost += 1
    counter_add(&path.hub.counters, REPLIES_LOST, lost)
    return lost


# ---- peers come and go ----

cdef void peer_join(Fastpath* path, Connection* peer) noexcept nogil:
    peer.has_joined = True
    if peer.side == SIDE_BACKEND and balance_add(&path.balance, peer.slot) != 0:
        hub_doom(path.hub, peer, REASON_NO_MEMORY, 0)


cdef void worker_flushed(Fastpath* path, Connection* worker) noexcept nogil:
    if worker.outbox.bytes < WORKER_BUSY_BYTES and connection_takes(worker):
        balance_set_usable(&path.balance, worker.slot, True)


cdef void fastpath_open(Fastpath* path, Hub* hub) noexcept nogil:
    path.hub = hub
    backlog_open(&path.backlog)


cdef void fastpath_close(Fastpath* path) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_UNDELIVERED, backlog_clear(&path.backlog, &path.hub.pool))
    balance_close(&path.balance)
