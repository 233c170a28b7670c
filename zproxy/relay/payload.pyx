"""Payload: messages kept for requests that wait; see payload.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from zproxy.relay.block cimport (
    MEDIUM_BYTES, Block, Slice, block_pack, block_release, message_append, message_release, message_share, slice_take
)
from zproxy.relay.checks cimport check
from zproxy.relay.hub cimport connection_tag, hub_find
from zproxy.relay.intake cimport intake_refund

cdef enum:
    CAPACITY_FIRST = 64


cdef int payloads_reserve(Payloads* payloads, uint32_t number) noexcept nogil:
    cdef uint32_t capacity = max(payloads.capacity, <uint32_t>CAPACITY_FIRST)
    cdef void* grown
    if number < payloads.capacity:
        return 0
    while capacity <= number:
        capacity *= 2
    grown = realloc(payloads.entries, capacity * sizeof(Payload))
    if grown == NULL:
        return -1
    payloads.entries = <Payload*>grown
    memset(&payloads.entries[payloads.capacity], 0, (capacity - payloads.capacity) * sizeof(Payload))
    payloads.capacity = capacity
    return 0


# Bytes.
cdef inline uint64_t payload_charge(const Payload* payload) noexcept nogil:
    cdef uint64_t count = payload.length if payload.block != NULL else payload.chain.bytes
    return count + sizeof(Slice) + RECORD_BYTES


cdef inline bint payload_is_kept(const Payload* payload) noexcept nogil:
    return payload.block != NULL or payload.chain.head != NULL


# It holds its message from now on.
cdef inline void payload_begin(Hub* hub, Payload* payload, Connection* owner) noexcept nogil:
    payload.owner = 0
    if owner != NULL:
        payload.owner = connection_tag(owner)
        owner.waiting_bytes += payload_charge(payload)
    hub.pool.live_bytes += RECORD_BYTES


cdef int payload_keep(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Message* message
) noexcept nogil:
    cdef Payload* payload
    if payloads_reserve(payloads, number) != 0:
        return -1
    payload = &payloads.entries[number]
    check(not payload_is_kept(payload))
    payload.chain = message[0]
    memset(message, 0, sizeof(Message))
    payload_begin(hub, payload, owner)
    return 0


# More than fits a block that is shared.
cdef int payload_copy_large(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, const uint8_t* head, size_t head_bytes,
    const uint8_t* body, size_t body_bytes
) noexcept nogil:
    cdef Message message
    memset(&message, 0, sizeof(Message))
    if (
        message_append(&hub.pool, &message, head, head_bytes) == 0
        and message_append(&hub.pool, &message, body, body_bytes) == 0
        and payload_keep(payloads, hub, number, owner, &message) == 0
    ):
        return 0
    message_release(&hub.pool, &message)
    return -1


cdef int payload_copy(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Stay stay, const uint8_t* head, size_t head_bytes,
    const uint8_t* body, size_t body_bytes
) noexcept nogil:
    cdef Block** packing = &payloads.packing[<int>stay]
    cdef Payload* payload
    cdef uint32_t offset = 0
    if head_bytes + body_bytes > MEDIUM_BYTES:
        return payload_copy_large(payloads, hub, number, owner, head, head_bytes, body, body_bytes)
    if payloads_reserve(payloads, number) != 0:
        return -1
    if block_pack(&hub.pool, packing, head, head_bytes, body, body_bytes, &offset) != 0:
        return -1
    payload = &payloads.entries[number]
    check(not payload_is_kept(payload))
    payload.block = packing[0]
    payload.block.refs += 1
    payload.offset = offset
    payload.length = <uint32_t>(head_bytes + body_bytes)
    payload_begin(hub, payload, owner)
    return 0


# It is charged to nobody from now on.
cdef void payload_absolve(Hub* hub, Payload* payload) noexcept nogil:
    cdef Connection* owner
    if payload.owner == 0:
        return
    owner = hub_find(hub, payload.owner)
    payload.owner = 0
    if owner != NULL:
        intake_refund(hub, owner, payload_charge(payload))


cdef int payload_share(Payloads* payloads, Hub* hub, uint32_t number, Message* message) noexcept nogil:
    cdef Payload* payload = &payloads.entries[number]
    payload_absolve(hub, payload)
    if payload.block == NULL:
        return message_share(&hub.pool, &payload.chain, message)
    message.head = message.tail = slice_take(&hub.pool, payload.block, payload.offset, payload.length, 0)
    message.bytes = payload.length
    return 0 if message.head != NULL else -1


cdef void payloads_inherit(Payloads* payloads, Hub* hub, uint64_t elder, Connection* heir) noexcept nogil:
    cdef Connection* living = hub_find(hub, elder)
    cdef uint32_t number
    cdef Payload* payload
    if living != NULL and living.waiting_bytes == 0:
        return
    for number in range(payloads.capacity):
        payload = &payloads.entries[number]
        if not payload_is_kept(payload) or payload.owner != elder:
            continue
        payload.owner = connection_tag(heir)
        heir.waiting_bytes += payload_charge(payload)
        if living != NULL:
            intake_refund(hub, living, payload_charge(payload))


cdef void payload_drop(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil:
    cdef Payload* payload = &payloads.entries[number]
    if number >= payloads.capacity or not payload_is_kept(payload):
        return
    payload_absolve(hub, payload)
    hub.pool.live_bytes -= RECORD_BYTES
    if payload.block == NULL:
        message_release(&hub.pool, &payload.chain)
        return
    block_release(&hub.pool, payload.block)
    payload.block = NULL


cdef void payloads_close(Payloads* payloads, Hub* hub) noexcept nogil:
    cdef uint32_t number
    cdef int stay
    for number in range(payloads.capacity):
        payload_drop(payloads, hub, number)
    for stay in range(STAY_COUNT):
        if payloads.packing[stay] != NULL:
            block_release(&hub.pool, payloads.packing[stay])
    free(payloads.entries)
    memset(payloads, 0, sizeof(Payloads))
