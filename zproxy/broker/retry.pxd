"""Retry: what becomes of a request whose delivery came to nothing: it is delivered again, or it is over.

    LOST      its worker's connection has ended      at once
    CUT       a stream of it was cut off                 at once
    SILENT    its lease has ended without a sign     ┐ where the retry budget has a place, otherwise once it has;
    FAILED    its handler raised, and may again      ┘ from the second time on after a pause
    RETURNED  its worker has not begun               at once, from the second time on after a pause; no attempt is spent

The retry budget keeps an overload from feeding itself: a fifth of the live requests, at least 3, may be second tries
after silence or errors (the ratio is Envoy's). What it refuses waits; deadlines end it. Connections that end bound
themselves: each costs its requests one attempt.

A request without a kept payload goes on, too: its node is asked for it.
"""

from libc.stdint cimport uint16_t, uint32_t

from zproxy.broker.request cimport Request
from zproxy.broker.state cimport Broker

cdef enum Mishap:
    MISHAP_LOST
    MISHAP_CUT
    MISHAP_SILENT
    MISHAP_FAILED
    MISHAP_RETURNED

# Why it is not delivered again, as the node will be told; 0: it may be.
cdef uint16_t retry_refusal(const Request* request, Mishap mishap) noexcept nogil

# It is, by and by; it is leased to nobody now. `pause_ms`: what its worker asks for; 0: nothing.
cdef void retry_take(Broker* broker, uint32_t slot, Mishap mishap, uint32_t pause_ms) noexcept nogil

# Its worker keeps the place, and is told CANCEL; the request goes on without it, or ends by an errand. False: no
# memory, and nothing has changed.
cdef bint retry_elsewhere(Broker* broker, uint32_t slot, Mishap mishap) noexcept nogil

# Its pause is over.
cdef void retry_resume(Broker* broker, uint32_t slot) noexcept nogil

# Has the budget a place for one that waits for it? / It goes on.
cdef bint retry_is_due(const Broker* broker) noexcept nogil
cdef void retry_next(Broker* broker) noexcept nogil

# May it be delivered again after this time, so that its payload is worth keeping?
cdef bint retry_is_possible(const Request* request) noexcept nogil
