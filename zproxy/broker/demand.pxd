"""Demand: what nodes want: REQUEST, POST, CANCEL, and the end of a request that nobody served in time.

The envelope was read without a fault, and is of the present conversation; the node is known.
"""

from libc.stdint cimport uint32_t, uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView

# REQUEST or POST: joined, refused, passed to a worker, or kept.
cdef void demand_take(
    Broker* broker, Peer* node, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil

# REQUEST or POST that does not belong to this conversation, or comes before HELLO: NEED_HELLO, counted.
cdef void demand_need_hello(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

cdef void demand_cancel(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# A CHUNK that is larger than its node may send: its request ends in TOO_LARGE.
cdef void demand_cut(
    Broker* broker, Peer* node, uint64_t message_bytes, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# There was no memory to keep the payload of the request in hand, which waits.
cdef void demand_unkept(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# It waits, may have run before, and its service turns out to be one that may not run it twice.
cdef void demand_doubt(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# Its alarm went off: its deadline is over, or nobody has offered its service for too long. Is there a verdict?
cdef bint demand_expire(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# zproxy ends, and so does the request, whatever its state. Is there a verdict?
cdef bint demand_abort(Broker* broker, uint32_t slot, EnvelopeView* envelope, Verdict* verdict) noexcept nogil
