"""Payload: messages kept for requests that wait, by the request's number.

Called by the fast path only, which is told the numbers. Each is charged to the connection it came by for as long as it
is kept, if that lives so long.
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.relay.block cimport Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef enum:
    RECORD_BYTES = 512          # what a waiting request costs beside its message, so that small ones are not free

cdef struct Payload:
    Message message             # whole, as it came; empty where none is kept
    uint64_t owner              # tag of the connection it is charged to
    uint64_t charge             # bytes

cdef struct Payloads:           # owns `entries`; zeroed means empty
    Payload* entries
    uint32_t capacity

# Keeps `message`, which is empty afterwards. 0, or -1: no memory (the message is still the caller's).
cdef int payload_keep(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Message* message
) noexcept nogil

# It is the caller's again, and nobody's charge.
cdef void payload_take(Payloads* payloads, Hub* hub, uint32_t number, Message* message) noexcept nogil

# `heir` is the connection of the same peer come back: what is kept for it is charged to that one from now on.
cdef void payloads_inherit(Payloads* payloads, Hub* hub, Connection* elder, Connection* heir) noexcept nogil

# It is needed no more. No-op where none is kept.
cdef void payload_drop(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil

cdef void payloads_close(Payloads* payloads, Hub* hub) noexcept nogil
