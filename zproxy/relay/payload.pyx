"""Payload: messages kept for requests that wait; see payload.pxd for the contract."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from zproxy.relay.block cimport Slice, message_release
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


cdef int payload_keep(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Message* message
) noexcept nogil:
    cdef Payload* payload
    if payloads_reserve(payloads, number) != 0:
        return -1
    payload = &payloads.entries[number]
    check(payload.message.head == NULL)
    payload.message = message[0]
    payload.owner = 0
    payload.charge = message.bytes + sizeof(Slice) + RECORD_BYTES
    if owner != NULL:
        payload.owner = connection_tag(owner)
        owner.waiting_bytes += payload.charge
    hub.pool.live_bytes += RECORD_BYTES
    memset(message, 0, sizeof(Message))
    return 0


cdef const Message* payload_absolve(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil:
    cdef Payload* payload = &payloads.entries[number]
    cdef Connection* owner
    if payload.owner != 0:
        owner = hub_find(hub, payload.owner)
        payload.owner = 0
        if owner != NULL:
            intake_refund(hub, owner, payload.charge)
    return &payload.message


cdef void payload_take(Payloads* payloads, Hub* hub, uint32_t number, Message* message) noexcept nogil:
    cdef Payload* payload = &payloads.entries[number]
    message[0] = payload.message
    memset(&payload.message, 0, sizeof(Message))
    hub.pool.live_bytes -= RECORD_BYTES
    payload_absolve(payloads, hub, number)


cdef void payloads_inherit(Payloads* payloads, Hub* hub, uint64_t elder, Connection* heir) noexcept nogil:
    cdef Connection* living = hub_find(hub, elder)
    cdef uint32_t number
    cdef Payload* payload
    if living != NULL and living.waiting_bytes == 0:
        return
    for number in range(payloads.capacity):
        payload = &payloads.entries[number]
        if payload.message.head == NULL or payload.owner != elder:
            continue
        payload.owner = connection_tag(heir)
        heir.waiting_bytes += payload.charge
        if living != NULL:
            intake_refund(hub, living, payload.charge)


cdef void payload_drop(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil:
    cdef Message message
    if number >= payloads.capacity or payloads.entries[number].message.head == NULL:
        return
    payload_take(payloads, hub, number, &message)
    message_release(&hub.pool, &message)


cdef void payloads_close(Payloads* payloads, Hub* hub) noexcept nogil:
    cdef uint32_t number
    for number in range(payloads.capacity):
        payload_drop(payloads, hub, number)
    free(payloads.entries)
    memset(payloads, 0, sizeof(Payloads))
