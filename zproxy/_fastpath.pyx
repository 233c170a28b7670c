"""Fast path: a whole message's way from one side to the other; see _fastpath.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from zproxy.broker.balance cimport (
    WORKER_NONE, balance_add, balance_close, balance_load, balance_pick, balance_remove, balance_set_usable,
    balance_unload
)
from zproxy.broker.broker cimport (
    CONTENT_ACCEPTED, CONTENT_WELCOME, PAYLOAD_NONE, PEER_NONE, ROLE_NODE, ROLE_WORKER, VERDICT_KEEP, VERDICT_PASS,
    VERDICT_SAY, VERDICT_SEND, Content, Verdict, broker_abort, broker_address, broker_close, broker_dismiss,
    broker_drain, broker_due_ms, broker_join, broker_leave, broker_live, broker_malformed, broker_message, broker_open,
    broker_set_permits, broker_set_usable, broker_step, broker_undelivered, broker_unkept, broker_unretained,
    broker_unsent, broker_waiting, broker_waiting_bytes
)
from zproxy.broker.gate cimport gate_charge, gate_may_send, gate_message_max
from zproxy.broker.report cimport Report, report_make
from zproxy.counters cimport (
    CLOSED_FENCED, DROPPED_CLIENT_GONE, DROPPED_NO_MEMORY, DROPPED_SLOW_READER, DROPPED_UNROUTABLE, MANAGED_IN,
    MANAGED_IN_BYTES, MANAGED_OUT, MANAGED_OUT_BYTES, MANAGED_UNTOLD, REPLIES_IN, REPLIES_IN_BYTES, REPLIES_LOST,
    REPLIES_OUT, REPLIES_OUT_BYTES, REQUESTS_IN, REQUESTS_IN_BYTES, REQUESTS_LOST, REQUESTS_NO_MEMORY, REQUESTS_OUT,
    REQUESTS_OUT_BYTES, REQUESTS_REROUTED, REQUESTS_UNDELIVERED, counter_add
)
from zproxy.envelope cimport (
    CHUNK as KIND_CHUNK, DENIED as CODE_DENIED, ENVELOPE_BYTES_MAX, FAULT_LENGTH, FAULT_NONE, FAULT_SHORT, FAULT_WORDS,
    HEAD_BYTES, READY as KIND_READY, EnvelopeFault, EnvelopeView, envelope_bytes, envelope_read, envelope_write
)
from zproxy.names cimport NAME_NONE, names_find
from zproxy.relay.address cimport ADDRESS_TEXT_BYTES
from zproxy.relay.admission cimport holder_challenge
from zproxy.relay.backlog cimport (
    OWNER_NONE, backlog_clear, backlog_open, backlog_orphan, backlog_pack, backlog_pop, backlog_push, parcel_charge
)
from zproxy.relay.block cimport SMALL_BYTES, Message, Slice, message_join, message_release, message_share, message_skip
from zproxy.relay.connection cimport (
    LIST_CLOSING, LIST_LEAVING, READY, REASON_DENIED, REASON_FENCED, REASON_NO_MEMORY, SIDE_BACKEND, SIDE_FRONTEND,
    TIMER_RATE, Connection, connection_takes, list_has, list_remove
)
from zproxy.relay.delivery cimport connection_flush, connection_reclaim, deliver_chain, deliver_copy
from zproxy.relay.handshake cimport SOCKET_REP
from zproxy.relay.hub cimport Hub, connection_tag, hub_arm, hub_doom, hub_random, hub_tell
from zproxy.relay.intake cimport intake_hold, intake_refund, intake_resume, reply_budget
from zproxy.relay.mailbox cimport EVENT_DENIED
from zproxy.relay.payload cimport (
    STAY_BRIEF, STAY_LONG, Stay, payload_copy, payload_drop, payload_fetch, payload_keep, payload_share, payloads_close,
    payloads_inherit
)
from zproxy.relay.zmtp cimport (
    FRAME_MORE, LONG_HEADER_BYTES, SCAN_MESSAGE, Frame, frame_read, frames_count, header_write, routing_frame_read
)


# ---- frontend → backend ----


# It can take messages now, or cannot.
cdef inline void worker_set_usable(Fastpath* path, const Connection* worker, bint is_usable) noexcept nogil:
    if worker.is_managed:
        broker_set_usable(&path.broker, worker.slot, is_usable)
    else:
        balance_set_usable(&path.balance, worker.slot, is_usable)


# The worker has one message more: a full outbox is written at once, one still full takes nothing for now.
cdef inline void worker_loaded(Fastpath* path, Connection* worker) noexcept nogil:
    if worker.outbox.bytes < WORKER_BUSY_BYTES:
        return
    if worker.may_write:
        connection_flush(path.hub, worker)
    if worker.outbox.bytes >= WORKER_BUSY_BYTES:
        worker_set_usable(path, worker, False)


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


# Does what stands behind the routing id begin with the empty frame of a request, and have a frame more? A REP answers
# each of those exactly once, by the same frames, and drops all others without a word.
cdef inline bint has_delimiter(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    return frame_read(bytes, count, &frame) == SCAN_MESSAGE and frame.body_bytes == 0 and frame.flags & FRAME_MORE != 0


cdef inline bint must_answer(const Connection* worker, const uint8_t* bytes, size_t count) noexcept nogil:
    return worker.socket_type == SOCKET_REP and has_delimiter(bytes, count)


# Of a message that has its routing id in front, which may lie in a block of its own.
cdef inline bint must_answer_parcel(const Connection* worker, const Message* message) noexcept nogil:
    cdef const Slice* slice = message.head
    cdef const uint8_t* bytes = slice.block.bytes + slice.offset
    cdef Frame frame
    cdef size_t routing_bytes
    if worker.socket_type != SOCKET_REP:
        return False
    frame_read(bytes, slice.length, &frame)
    routing_bytes = frame.header_bytes + <size_t>frame.body_bytes
    if routing_bytes < slice.length:
        return has_delimiter(bytes + routing_bytes, slice.length - routing_bytes)
    slice = slice.next
    return slice != NULL and has_delimiter(slice.block.bytes + slice.offset, slice.length)


cdef inline void request_passed(
    Fastpath* path, Connection* worker, uint64_t count, bint is_to_be_answered
) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_OUT, 1)
    counter_add(&path.hub.counters, REQUESTS_OUT_BYTES, count)
    if is_to_be_answered:
        balance_load(&path.balance, worker.slot)
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
cdef inline Connection* request_route(Fastpath* path, Connection* client, uint64_t count) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_IN, 1)
    counter_add(&path.hub.counters, REQUESTS_IN_BYTES, count)
    if client.permit and not gate_charge(&path.broker, client.permit, count, path.hub.now_ms):
        intake_hold(path.hub, client)
    return worker_pick(path) if path.backlog.count == 0 else NULL


# A whole request, contiguous in the read buffer.
cdef void request_pass(Fastpath* path, Connection* client, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Connection* worker = request_route(path, client, count)
    if worker == NULL:
        request_wait(path, client, bytes, count)
        return
    if deliver_copy(path.hub, worker, client.routing_frame, client.routing_frame_bytes, bytes, count) != 0:
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    request_passed(path, worker, client.routing_frame_bytes + count, must_answer(worker, bytes, count))


# A whole request in blocks of its own.
cdef void request_pass_large(Fastpath* path, Connection* client, Message* message) noexcept nogil:
    cdef Message whole
    cdef Connection* worker = request_route(path, client, message.bytes)
    cdef uint64_t count = client.routing_frame_bytes + message.bytes
    cdef bint is_to_be_answered
    if worker != NULL:
        is_to_be_answered = must_answer(worker, message.head.block.bytes + message.head.offset, message.head.length)
        if deliver_chain(path.hub, worker, client.routing_frame, client.routing_frame_bytes, message) == 0:
            request_passed(path, worker, count, is_to_be_answered)
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
    cdef bint is_to_be_answered = must_answer_parcel(worker, message)
    cdef int code
    if message.head == message.tail and count <= SMALL_BYTES:
        code = deliver_copy(path.hub, worker, bytes, <uint32_t>count, bytes, 0)
    else:
        code = deliver_chain(path.hub, worker, NULL, 0, message)
    message_release(&path.hub.pool, message)
    if code != 0:
        counter_add(&path.hub.counters, REQUESTS_NO_MEMORY, 1)
        return
    request_passed(path, worker, count, is_to_be_answered)


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


# What a worker says, as far as it lies in one piece: has it one less to answer?
cdef inline void reply_note(
    Fastpath* path, const Connection* worker, const uint8_t* bytes, size_t count
) noexcept nogil:
    cdef Frame frame
    cdef size_t routing_bytes
    if worker.socket_type != SOCKET_REP or not routing_frame_read(bytes, count, &frame):
        return
    routing_bytes = frame.header_bytes + <size_t>frame.body_bytes
    if has_delimiter(bytes + routing_bytes, count - routing_bytes):
        balance_unload(&path.balance, worker.slot)


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
cdef void reply_pass(Fastpath* path, const Connection* worker, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    cdef Connection* client = reply_target(path, bytes, count, &frame, count)
    cdef uint32_t routing_bytes
    reply_note(path, worker, bytes, count)
    if client == NULL:
        return
    routing_bytes = frame.header_bytes + <uint32_t>frame.body_bytes
    count -= routing_bytes
    reply_passed(path, deliver_copy(path.hub, client, bytes, 0, bytes + routing_bytes, count), count)


# A whole reply in blocks of its own. A routing id that fits stands whole in the first of them.
cdef void reply_pass_large(Fastpath* path, const Connection* worker, Message* message) noexcept nogil:
    cdef const uint8_t* bytes = message.head.block.bytes + message.head.offset
    cdef Frame frame
    cdef Connection* client = reply_target(path, bytes, message.head.length, &frame, message.bytes)
    cdef uint64_t count
    reply_note(path, worker, bytes, message.head.length)
    if client == NULL:
        message_release(&path.hub.pool, message)
        return
    message_skip(&path.hub.pool, message, frame.header_bytes + frame.body_bytes)
    message.head.flags = 0
    count = message.bytes
    reply_passed(path, deliver_chain(path.hub, client, bytes, 0, message), count)
    message_release(&path.hub.pool, message)


# ---- managed messages ----

cdef enum:
    DENIALS_EVERY_MS = 1000
    READY_BYTES_MAX = 78098         # two headers, an envelope, OFFERS_MAX services with the longest of names

cdef struct Hand:               # the message in hand, frame 0 in front; borrowed
    const uint8_t* bytes        # what of it lies in one piece: all, or its first block
    size_t count
    Message* chain              # all of it, when it is in blocks of its own; else NULL
    size_t head_bytes           # of frame 0, header included
    bint has_more               # there are frames behind it

cdef struct Front:              # frame 0 as it goes out, header included
    uint32_t count
    uint8_t[<int>LONG_HEADER_BYTES + <int>ENVELOPE_BYTES_MAX] bytes


# A message in blocks is in hand; frame 0 is whole in the first.
cdef inline void hand_take(Hand* hand, Message* message) noexcept nogil:
    hand.bytes = message.head.block.bytes + message.head.offset
    hand.count = message.head.length
    hand.chain = message


# Frame 0 of the message in hand. Of one that is none, `envelope` is empty.
cdef inline EnvelopeFault hand_read(Hand* hand, EnvelopeView* envelope) noexcept nogil:
    cdef Frame frame
    frame_read(hand.bytes, hand.count, &frame)
    hand.has_more = (frame.flags & FRAME_MORE) != 0
    if not HEAD_BYTES <= frame.body_bytes <= ENVELOPE_BYTES_MAX:
        hand.head_bytes = 0     # it will not be passed on
        memset(envelope, 0, sizeof(EnvelopeView))
        return FAULT_SHORT if frame.body_bytes < HEAD_BYTES else FAULT_LENGTH
    hand.head_bytes = frame.header_bytes + <size_t>frame.body_bytes
    return envelope_read(hand.bytes + frame.header_bytes, <size_t>frame.body_bytes, envelope)


# Frame 1 where it lies in one piece, else NULL.
cdef inline const uint8_t* hand_content(const Hand* hand, size_t* count) noexcept nogil:
    cdef Frame frame
    cdef const uint8_t* at = hand.bytes + hand.head_bytes
    cdef size_t left = hand.count - hand.head_bytes
    count[0] = 0
    if not hand.has_more:
        return NULL
    frame_read(at, left, &frame)
    if frame.header_bytes == 0 or frame.body_bytes > left - frame.header_bytes:
        return NULL
    count[0] = <size_t>frame.body_bytes
    return at + frame.header_bytes


cdef inline void front_write(Front* front, const EnvelopeView* envelope, bint has_more) noexcept nogil:
    cdef size_t count = envelope_bytes(envelope)
    cdef uint32_t header_bytes = header_write(front.bytes, has_more, count)
    envelope_write(front.bytes + header_bytes, envelope)
    front.count = header_bytes + <uint32_t>count


cdef inline void managed_passed(Fastpath* path, Connection* target, int code, uint64_t count) noexcept nogil:
    if code != 0:
        hub_doom(path.hub, target, REASON_NO_MEMORY, 0)
        return
    counter_add(&path.hub.counters, MANAGED_OUT, 1)
    counter_add(&path.hub.counters, MANAGED_OUT_BYTES, count)
    if target.side == SIDE_BACKEND:
        worker_loaded(path, target)


# Frame 1 of what the broker says, or NULL: there is none.
cdef inline const Notice* notice_of(const Fastpath* path, Content content) noexcept nogil:
    if content == CONTENT_WELCOME:
        return &path.welcome
    return &path.accepted if content == CONTENT_ACCEPTED else NULL


# Words have room of their own beyond the budget, which one large outcome may exceed by itself, and which is nothing
# while memory is short: who waits for a WELCOME, or for what became of a request, would wait for ever.
cdef bint may_be_told(Fastpath* path, Connection* target, uint64_t count) noexcept nogil:
    if target.state != READY or list_has(target, LIST_CLOSING):
        return False
    if target.outbox.bytes < reply_budget(path.hub, target):
        target.words_bytes = 0
        return True
    target.words_bytes += count
    return target.words_bytes <= WORDS_BYTES


# Once a second: who asks again and again for what is denied fills no log.
cdef void denial_tell(Fastpath* path, Connection* target) noexcept nogil:
    if target.denied_ms and path.hub.now_ms - target.denied_ms < DENIALS_EVERY_MS:
        return
    target.denied_ms = path.hub.now_ms
    hub_tell(path.hub, EVENT_DENIED, target, REASON_DENIED, 0, 0)


# The broker's own words. A peer that leaves them unread by the megabyte is told no more.
cdef void managed_say(Fastpath* path, const EnvelopeView* envelope, const Verdict* verdict) noexcept nogil:
    cdef Front front
    cdef Connection* target = path.hub.table[verdict.peer]
    cdef const Notice* notice = notice_of(path, verdict.content)
    cdef size_t notice_bytes = notice.count if notice != NULL else 0
    front_write(&front, envelope, notice != NULL)
    if envelope.head.code == <uint16_t>CODE_DENIED:
        denial_tell(path, target)
    if not may_be_told(path, target, front.count + notice_bytes):
        counter_add(&path.hub.counters, MANAGED_UNTOLD, 1)
        return
    managed_passed(
        path, target,
        deliver_copy(
            path.hub, target, front.bytes, front.count, notice.bytes if notice != NULL else front.bytes, notice_bytes
        ),
        front.count + notice_bytes,
    )


# Can this peer be given a message that is not owed to it now?
cdef inline bint peer_takes(Fastpath* path, Connection* peer) noexcept nogil:
    if peer.state != READY or list_has(peer, LIST_CLOSING):
        return False
    return peer.outbox.bytes == 0 or may_take_more(path, peer)


# The message in hand goes out behind its new front. A chain is empty afterwards, or the caller's to release.
cdef void managed_forward(Fastpath* path, Hand* hand, const Front* front, Connection* target) noexcept nogil:
    cdef size_t rest
    cdef uint64_t count
    if hand.chain == NULL or not hand.has_more:
        rest = hand.count - hand.head_bytes if hand.has_more else 0
        managed_passed(
            path, target,
            deliver_copy(path.hub, target, front.bytes, front.count, hand.bytes + hand.head_bytes, rest),
            front.count + rest,
        )
        return
    message_skip(&path.hub.pool, hand.chain, hand.head_bytes)
    hand.chain.head.flags = 0
    count = front.count + hand.chain.bytes
    managed_passed(path, target, deliver_chain(path.hub, target, front.bytes, front.count, hand.chain), count)


# The same, if its target can have it now; what follows where a node cannot, or a worker a chunk, is in the verdict.
cdef inline void managed_deliver(
    Fastpath* path, Hand* hand, const Front* front, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Connection* target = path.hub.table[verdict.peer]
    cdef bint may_refuse = target.side == SIDE_FRONTEND or envelope.head.kind == <uint8_t>KIND_CHUNK
    if may_refuse and not peer_takes(path, target):
        broker_undelivered(&path.broker, envelope, verdict)
    else:
        managed_forward(path, hand, front, target)


cdef int message_keep(Fastpath* path, Message* message, uint32_t number, Connection* owner) noexcept nogil:
    if payload_keep(&path.payloads, path.hub, number, owner, message) == 0:
        return 0
    message_release(&path.hub.pool, message)
    return -1


# Keeps the message in hand. 0, or -1: no memory.
cdef int managed_keep(Fastpath* path, Hand* hand, uint32_t number, Connection* owner) noexcept nogil:
    cdef Message message
    if hand.chain == NULL:
        return payload_copy(
            &path.payloads, path.hub, number, owner, STAY_BRIEF, hand.bytes, hand.count, hand.bytes, 0
        )
    memset(&message, 0, sizeof(Message))
    message_join(&message, hand.chain)
    return message_keep(path, &message, number, owner)


# Keeps a copy of what goes out behind its new front: of a large message the blocks are shared. Nobody's charge.
cdef int managed_copy(Fastpath* path, const Hand* hand, const Front* front, uint32_t number, Stay stay) noexcept nogil:
    cdef size_t rest = hand.count - hand.head_bytes if hand.has_more else 0
    cdef Message message
    cdef Message body
    if hand.chain == NULL or not hand.has_more:
        return payload_copy(
            &path.payloads, path.hub, number, NULL, stay, front.bytes, front.count, hand.bytes + hand.head_bytes, rest
        )
    if backlog_pack(&path.backlog, &path.hub.pool, front.bytes, front.count, front.bytes, 0, &message) != 0:
        return -1
    if message_share(&path.hub.pool, hand.chain, &body) != 0:
        message_release(&path.hub.pool, &message)
        return -1
    message_skip(&path.hub.pool, &body, hand.head_bytes)
    message_join(&message, &body)
    return message_keep(path, &message, number, NULL)


# A copy stays, where the verdict says so.
cdef inline void managed_route(
    Fastpath* path, Hand* hand, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Front front
    cdef Stay stay = STAY_BRIEF if path.hub.table[verdict.peer].side == SIDE_BACKEND else STAY_LONG
    front_write(&front, envelope, hand.has_more)
    if verdict.payload != <uint32_t>PAYLOAD_NONE and managed_copy(path, hand, &front, verdict.payload, stay) != 0:
        broker_unretained(&path.broker)
    managed_deliver(path, hand, &front, envelope, verdict)


cdef void elder_close(Fastpath* path, Connection* elder, Connection* heir) noexcept nogil:
    counter_add(&path.hub.counters, CLOSED_FENCED, 1)
    hub_doom(path.hub, elder, REASON_FENCED, 0)
    payloads_inherit(&path.payloads, path.hub, connection_tag(elder), heir)


# What is not charged is an outcome, kept for a node that is not there.
cdef void managed_store(
    Fastpath* path, Connection* source, Hand* hand, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Front front
    if verdict.is_charged:
        if managed_keep(path, hand, verdict.payload, source) != 0:
            broker_unkept(&path.broker, envelope, verdict)
        return
    front_write(&front, envelope, hand.has_more)
    if managed_copy(path, hand, &front, verdict.payload, STAY_LONG) != 0:
        broker_unretained(&path.broker)


# Does what the broker said about the message in hand, which came from `source`.
cdef inline void verdict_execute(
    Fastpath* path, Connection* source, Hand* hand, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef uint32_t payload
    for payload in verdict.spent:
        if payload != <uint32_t>PAYLOAD_NONE:
            payload_fetch(&path.payloads, payload)
    if verdict.kind == VERDICT_KEEP:
        managed_store(path, source, hand, envelope, verdict)
    elif verdict.kind == VERDICT_PASS:
        managed_route(path, hand, envelope, verdict)
    elif verdict.kind == VERDICT_SEND:
        payload_send(path, envelope, verdict)
    if verdict.kind == VERDICT_SAY:
        managed_say(path, envelope, verdict)
    for payload in verdict.spent:
        if payload != <uint32_t>PAYLOAD_NONE:
            payload_drop(&path.payloads, path.hub, payload)
    if verdict.closing != <uint32_t>PEER_NONE:
        elder_close(path, path.hub.table[verdict.closing], source)
    if verdict.challenged != <uint32_t>PEER_NONE:
        holder_challenge(path.hub, path.hub.table[verdict.challenged])
    if verdict.inherited:
        payloads_inherit(&path.payloads, path.hub, verdict.inherited, source)


# Those who take no more are not given anything by the next decision.
cdef inline void leaving_tell(Fastpath* path) noexcept nogil:
    cdef Connection* leaving
    while path.hub.lists[<int>LIST_LEAVING].first != NULL:
        leaving = path.hub.lists[<int>LIST_LEAVING].first
        list_remove(&path.hub.lists[<int>LIST_LEAVING], leaving, LIST_LEAVING)
        if leaving.has_joined and leaving.side == SIDE_BACKEND:
            broker_set_usable(&path.broker, leaving.slot, False)


# Frame 1 of a message in blocks, copied into one piece that the caller frees; NULL: no memory, or it is none.
cdef uint8_t* chain_gather(const Hand* hand, size_t* count) noexcept nogil:
    cdef uint8_t* all_bytes = <uint8_t*>malloc(<size_t>hand.chain.bytes)
    cdef const Slice* slice = hand.chain.head
    cdef size_t at = 0
    cdef Hand flat = hand[0]
    cdef const uint8_t* content
    count[0] = <size_t>hand.chain.bytes     # there is something, and the broker is not to take it for nothing
    if all_bytes == NULL:
        return NULL
    while slice != NULL:
        memcpy(all_bytes + at, slice.block.bytes + slice.offset, slice.length)
        at += slice.length
        slice = slice.next
    flat.bytes = all_bytes
    flat.count = at
    content = hand_content(&flat, count)
    if content == NULL:
        free(all_bytes)
        return NULL
    memmove(all_bytes, content, count[0])
    return all_bytes


# One whole message. `frames` may be 0 where they are too few to count.
cdef void hand_judge(Fastpath* path, Connection* peer, Hand* hand, uint64_t bytes, uint32_t frames) noexcept nogil:
    cdef EnvelopeView envelope
    cdef Verdict verdict
    cdef EnvelopeFault fault
    cdef const uint8_t* content
    cdef uint8_t* gathered = NULL
    cdef size_t count = 0
    counter_add(&path.hub.counters, MANAGED_IN, 1)
    counter_add(&path.hub.counters, MANAGED_IN_BYTES, bytes)
    leaving_tell(path)
    memset(&verdict, 0, sizeof(Verdict))
    fault = hand_read(hand, &envelope)
    if fault != FAULT_NONE:
        broker_malformed(&path.broker, peer.slot, FAULT_WORDS[<int>fault], &envelope, &verdict)
    elif frames > FRAMES_MAX:
        broker_malformed(&path.broker, peer.slot, b"it has more than 16384 frames", &envelope, &verdict)
    elif envelope.head.kind == <uint8_t>KIND_READY and bytes > READY_BYTES_MAX:
        broker_malformed(&path.broker, peer.slot, b"it is larger than 1024 services make it", &envelope, &verdict)
    else:
        content = hand_content(hand, &count)
        if content == NULL and hand.chain != NULL and envelope.head.kind == <uint8_t>KIND_READY:
            content = gathered = chain_gather(hand, &count)
        broker_message(&path.broker, peer.slot, &envelope, content, count, bytes, path.hub.now_ms, &verdict)
        free(gathered)
    verdict_execute(path, peer, hand, &envelope, &verdict)


cdef void managed_pass(Fastpath* path, Connection* peer, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Hand hand
    hand.bytes = bytes
    hand.count = count
    hand.chain = NULL
    hand_judge(path, peer, &hand, count, frames_count(bytes, count) if count > FRAMES_MAX * 2 else 0)


cdef void managed_pass_large(Fastpath* path, Connection* peer, Message* message, uint32_t frames) noexcept nogil:
    cdef Hand hand
    hand_take(&hand, message)
    hand_judge(path, peer, &hand, message.bytes, frames)
    message_release(&path.hub.pool, message)


# A kept message goes out. One that finds no room at its node has become words, which are for the caller to say.
cdef inline void message_send(
    Fastpath* path, Message* message, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef Hand hand
    cdef Front front
    hand_take(&hand, message)
    if message.head == message.tail and message.bytes <= SMALL_BYTES:
        hand.chain = NULL       # copied, as it would have been when it came
    hand_read(&hand, envelope)  # it had no fault when it came
    broker_address(&path.broker, envelope)
    front_write(&front, envelope, hand.has_more)
    managed_deliver(path, &hand, &front, envelope, verdict)
    message_release(&path.hub.pool, message)


# Without memory its receiver would wait for ever for what it was promised.
cdef void payload_send(Fastpath* path, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    cdef Message message
    if payload_share(&path.payloads, path.hub, verdict.payload, &message) != 0:
        hub_doom(path.hub, path.hub.table[verdict.peer], REASON_NO_MEMORY, 0)
        return
    message_send(path, &message, envelope, verdict)


cdef void broker_steps(Fastpath* path) noexcept nogil:
    cdef EnvelopeView envelope
    cdef Verdict verdict
    leaving_tell(path)
    while broker_step(&path.broker, path.hub.now_ms, &envelope, &verdict):
        verdict_execute(path, NULL, NULL, &envelope, &verdict)
        leaving_tell(path)


# ---- a connection's end ----

# Nothing of its outbox matters any more. Returns how many messages did not leave whole.
cdef uint64_t outbox_forfeit(Fastpath* path, Connection* connection) noexcept nogil:
    cdef Message message
    cdef uint64_t lost = 0
    while connection_reclaim(path.hub, connection, &message, &lost):
        message_release(&path.hub.pool, &message)
        lost += 1
    return lost


# A message that no byte was written of may be for the broker to keep.
cdef void unsent_return(Fastpath* path, Connection* peer, Message* message) noexcept nogil:
    cdef EnvelopeView envelope
    cdef Verdict verdict
    cdef Hand hand
    hand_take(&hand, message)
    if hand_read(&hand, &envelope) != FAULT_NONE:
        return
    broker_unsent(&path.broker, peer.slot, &envelope, &verdict)
    if verdict.kind == VERDICT_KEEP and message_keep(path, message, verdict.payload, NULL) != 0:
        broker_unretained(&path.broker)


# Only a message that was partly written makes the stream unreadable.
cdef uint64_t managed_recover(Fastpath* path, Connection* peer) noexcept nogil:
    cdef Message message
    cdef uint64_t torn = 0
    while connection_reclaim(path.hub, peer, &message, &torn):
        if peer.side == SIDE_BACKEND:
            unsent_return(path, peer, &message)
        message_release(&path.hub.pool, &message)
    broker_leave(&path.broker, peer.slot, path.hub.now_ms)
    return torn


# Unwritten requests of a worker that takes no more go back in front of the queue; a partly written one is lost.
cdef uint64_t worker_recover(Fastpath* path, Connection* worker) noexcept nogil:
    cdef Message message
    cdef uint64_t torn = 0
    if worker.is_managed:
        return managed_recover(path, worker)
    balance_remove(&path.balance, worker.slot)
    while connection_reclaim(path.hub, worker, &message, &torn):
        if backlog_push(&path.backlog, &path.hub.pool, &path.backlog.recovered, &message) == 0:
            counter_add(&path.hub.counters, REQUESTS_REROUTED, 1)
            continue
        message_release(&path.hub.pool, &message)
        torn += 1
    counter_add(&path.hub.counters, REQUESTS_LOST, torn)
    return torn


# Replies that never left whole are lost with their client; its waiting requests stay, nobody's.
cdef uint64_t client_forfeit(Fastpath* path, Connection* client) noexcept nogil:
    cdef uint64_t lost
    if client.is_managed:
        return managed_recover(path, client)
    backlog_orphan(&path.backlog, &client.lane)
    lost = outbox_forfeit(path, client)
    counter_add(&path.hub.counters, REPLIES_LOST, lost)
    return lost


# ---- peers come and go ----

cdef void managed_join(Fastpath* path, Connection* peer) noexcept nogil:
    cdef EnvelopeView envelope
    cdef Verdict verdict
    broker_join(
        &path.broker, peer.slot, ROLE_WORKER if peer.side == SIDE_BACKEND else ROLE_NODE, connection_tag(peer),
        peer.permit, peer.name, peer.name_bytes, &envelope, &verdict,
    )
    if verdict.kind == VERDICT_SAY:
        managed_say(path, &envelope, &verdict)
    else:
        hub_doom(path.hub, peer, REASON_NO_MEMORY, 0)


# Who is managed hears in words what is too large.
cdef void client_limit(Fastpath* path, Connection* client) noexcept nogil:
    client.inbox.max_message_bytes = gate_message_max(
        &path.broker, client.permit, path.hub.settings.max_message_bytes
    )


# What others, or an earlier connection, have sent by its rights counts for it, too.
cdef void client_join(Fastpath* path, Connection* client) noexcept nogil:
    client_limit(path, client)
    if not gate_may_send(&path.broker, client.permit, path.hub.now_ms):
        intake_hold(path.hub, client)


cdef void client_resume(Fastpath* path, Connection* client) noexcept nogil:
    if gate_may_send(&path.broker, client.permit, path.hub.now_ms):
        intake_resume(path.hub, client)
    else:
        hub_arm(path.hub, client, TIMER_RATE)


cdef void peer_join(Fastpath* path, Connection* peer) noexcept nogil:
    peer.has_joined = True
    if peer.is_managed:
        managed_join(path, peer)
        return
    if peer.side == SIDE_FRONTEND:
        client_join(path, peer)
    elif balance_add(&path.balance, peer.slot, peer.socket_type == SOCKET_REP) != 0:
        hub_doom(path.hub, peer, REASON_NO_MEMORY, 0)


cdef void worker_freed(Fastpath* path, Connection* worker) noexcept nogil:
    if worker.outbox.bytes < WORKER_BUSY_BYTES and connection_takes(worker) and not worker.is_suspect:
        worker_set_usable(path, worker, True)


cdef void worker_suspected(Fastpath* path, Connection* worker) noexcept nogil:
    if worker.has_joined and worker.side == SIDE_BACKEND:
        worker_set_usable(path, worker, False)


cdef int permits_set(Fastpath* path, const uint8_t* packed, size_t count) noexcept nogil:
    cdef uint32_t slot
    cdef Connection* peer
    if broker_set_permits(&path.broker, packed, count) != 0:
        return -1
    for slot in range(path.hub.capacity):
        peer = path.hub.table[slot]
        if peer != NULL and peer.has_joined and peer.side == SIDE_FRONTEND and not peer.is_managed:
            client_limit(path, peer)
    return 0


cdef void worker_dismiss(Fastpath* path, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    broker_dismiss(&path.broker, name, name_bytes)


cdef int fastpath_open(Fastpath* path, Hub* hub) noexcept nogil:
    path.hub = hub
    backlog_open(&path.backlog)
    return broker_open(&path.broker, &path.limits, &hub.counters, hub_random(hub))


cdef Report* fastpath_report(Fastpath* path) noexcept nogil:
    cdef Report* report = report_make(&path.broker, path.hub.now_ms)
    cdef Connection* peer
    cdef uint32_t row
    if report == NULL:
        return NULL
    for row in range(report.peer_count):
        peer = path.hub.table[report.peers[row].peer]
        report.peers[row].heard_ms = peer.heard_ms
        report.peers[row].waiting_bytes = peer.waiting_bytes
        report.peers[row].unread_bytes = peer.outbox.bytes
        memcpy(report.peers[row].address, peer.peer_text, ADDRESS_TEXT_BYTES)
    return report


cdef uint64_t managed_live(const Fastpath* path) noexcept nogil:
    return broker_live(&path.broker)


cdef uint64_t managed_waiting(const Fastpath* path) noexcept nogil:
    return broker_waiting(&path.broker)


cdef uint64_t managed_waiting_bytes(const Fastpath* path) noexcept nogil:
    return broker_waiting_bytes(&path.broker)


cdef int64_t managed_due_ms(const Fastpath* path) noexcept nogil:
    return broker_due_ms(&path.broker)


cdef void managed_drain(Fastpath* path) noexcept nogil:
    broker_drain(&path.broker)


cdef void managed_abort(Fastpath* path) noexcept nogil:
    broker_abort(&path.broker)


cdef void fastpath_close(Fastpath* path) noexcept nogil:
    counter_add(&path.hub.counters, REQUESTS_UNDELIVERED, backlog_clear(&path.backlog, &path.hub.pool))
    balance_close(&path.balance)
    payloads_close(&path.payloads, path.hub)
    broker_close(&path.broker)
