"""Stream: CHUNK and WINDOW on their way between a node and the worker that has its request.

    node   ─ CHUNK, WINDOW ─► stream_forth ─► the worker of the request's present delivery
    worker ─ CHUNK, WINDOW ─► stream_back ──► its node, in its present conversation

Nothing of a stream is kept here. So with each delivery its sender begins at 0: zproxy says WINDOW, with the attempt, as
soon as a worker has the request (stream_open).

Rule 1. What is of another delivery, or of a request that has ended, is dropped and counted; so is a chunk of a stream
        that was not opened in its conversation.
Rule 2. A REPLY is an outcome only if all chunks before it reached its node in one conversation (stream_is_torn).
"""

from libc.stdint cimport uint32_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.request cimport Request
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView

cdef enum:
    STREAMS_MAX = 64            # of a request

# CHUNK or WINDOW of a node that is known / of a worker that is.
cdef void stream_forth(Broker* broker, const Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil
cdef void stream_back(Broker* broker, const Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# A node has sent a request again that is open. What its connection's end has cut off begins again with another
# delivery. Returns the request's slot.
cdef uint32_t stream_resume(Broker* broker, uint32_t slot) noexcept nogil

# WINDOW becomes the one that opens all streams of a request that a worker has, in its node's present conversation.
cdef void stream_open(const Broker* broker, Request* request, EnvelopeView* envelope) noexcept nogil

# CHUNK or WINDOW that its receiver takes no more: its stream is cut off.
cdef void stream_cut(Broker* broker, const Peer* receiver, const EnvelopeView* envelope) noexcept nogil


# Has its node missed some of the chunks of the reply that has come?
cdef inline bint stream_is_torn(const Request* request) noexcept nogil:
    return request.is_torn or request.back_conversation != request.node.conversation
