"""Speech: messages of the broker's own, one verdict each.

An ERROR's sentence is composed by who says it, in `broker.sentence`, right before. All it needs of the envelope in hand
is given by value, because the envelope is where the answer is written.
"""

from libc.stdint cimport uint16_t, uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.request cimport Request
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Content, Verdict
from zproxy.envelope cimport Code, EnvelopeView, Kind

# `kind` to the peer, in its conversation, and nothing else in it. To an absent one: nothing.
cdef void say(Peer* peer, Kind kind, Content content, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# ERROR, with the sentence that was composed. About no request: `incarnation` and `sequence` 0.
cdef void say_error(
    Broker* broker, Peer* peer, Code code, uint64_t incarnation, uint64_t sequence,
    EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# The same about the request in hand, which is refused, and counted as such.
cdef void say_refusal(
    Broker* broker, Peer* node, Code code, int counter, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# The same about a request that was accepted, to its node, with the attempts made and who had it last.
cdef void say_outcome(
    Broker* broker, const Request* request, uint16_t code, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil

# MALFORMED, counted: about the message in hand, of which `envelope` has what could be read. Nobody answers an ERROR
# with an ERROR: one of those is dropped.
cdef void say_malformed(
    Broker* broker, Peer* peer, const char* words, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil
