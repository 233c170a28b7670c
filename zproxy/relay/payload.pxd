"""Payload: messages kept for requests, by numbers.

Called by the fast path only, which is told the numbers. What waits is charged to the connection it came by, if that
lives so long; what a worker has, kept for another delivery, to nobody: whoever gives the numbers has budgets for that.
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.relay.block cimport Message
from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub

cdef enum:
    RECORD_BYTES = 512          # what a kept message costs beside its bytes, so that small ones are not free

cdef struct Payload:
    Message message             # whole, as it came; empty where none is kept
    uint64_t owner              # tag of the connection it is charged to; 0: nobody's
    uint64_t charge             # bytes

cdef struct Payloads:           # owns `entries`; zeroed means empty
    Payload* entries
    uint32_t capacity

# Keeps `message`, which is empty afterwards; `owner` NULL: nobody's charge. 0, or -1: no memory (the message is still
# the caller's).
cdef int payload_keep(
    Payloads* payloads, Hub* hub, uint32_t number, Connection* owner, Message* message
) noexcept nogil

# The kept message, which stays; it is charged to nobody from now on.
cdef const Message* payload_absolve(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil

# It is the caller's again, and nobody's charge.
cdef void payload_take(Payloads* payloads, Hub* hub, uint32_t number, Message* message) noexcept nogil

# `heir` is the connection of the same peer come back, whose tag was `elder`, and which may be gone: what was charged to
# that one is charged to this from now on.
cdef void payloads_inherit(Payloads* payloads, Hub* hub, uint64_t elder, Connection* heir) noexcept nogil

# It is needed no more. No-op where none is kept.
cdef void payload_drop(Payloads* payloads, Hub* hub, uint32_t number) noexcept nogil

cdef void payloads_close(Payloads* payloads, Hub* hub) noexcept nogil
