"""Speech: messages of the broker's own; see speech.pxd for the contract."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from zproxy.broker.peer cimport peer_is_there
from zproxy.broker.sentence cimport sentence_begin, sentence_end, sentence_words
from zproxy.broker.verdict cimport CONTENT_NONE, VERDICT_DROP, VERDICT_SAY
from zproxy.counters cimport MANAGED_DROPPED_ERRORS, MANAGED_REFUSED_MALFORMED, counter_add
from zproxy.envelope cimport (
    ENVELOPE_MAGIC, ERROR, MALFORMED, POST, REQUEST, Code, EnvelopeView, Head, Kind, envelope_begin
)


cdef void say(Peer* peer, Kind kind, Content content, EnvelopeView* envelope, Verdict* verdict) noexcept nogil:
    envelope_begin(envelope, kind)
    envelope.head.conversation = peer.conversation
    verdict.kind = VERDICT_SAY if peer_is_there(peer) else VERDICT_DROP
    verdict.content = content
    verdict.peer = peer.slot


cdef void say_error(
    Broker* broker, Peer* peer, Code code, uint64_t incarnation, uint64_t sequence,
    EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    say(peer, ERROR, CONTENT_NONE, envelope, verdict)
    envelope.head.code = <uint16_t>code
    envelope.head.incarnation = incarnation
    envelope.head.sequence = sequence
    sentence_end(&broker.sentence, envelope)


cdef void say_refusal(
    Broker* broker, Peer* node, Code code, int counter, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    counter_add(broker.counters, counter, 1)
    say_error(broker, node, code, envelope.head.incarnation, envelope.head.sequence, envelope, verdict)


cdef void say_outcome(
    Broker* broker, const Request* request, uint16_t code, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    say_error(
        broker, request.node, <Code>code, request.node.incarnation, request.sequence, envelope, verdict
    )
    envelope.head.attempt = request.attempt
    if request.worker != NULL:
        envelope.name = request.worker.name
        envelope.head.name_bytes = request.worker.name_bytes


cdef inline bint is_about_a_request(const Head* head) noexcept nogil:
    return head.magic == <uint32_t>ENVELOPE_MAGIC and (head.kind == <int>REQUEST or head.kind == <int>POST)


cdef void say_malformed(
    Broker* broker, Peer* peer, const char* words, EnvelopeView* envelope, Verdict* verdict
) noexcept nogil:
    cdef uint64_t incarnation = 0
    cdef uint64_t sequence = 0
    if envelope.head.magic == <uint32_t>ENVELOPE_MAGIC and envelope.head.kind == <int>ERROR:
        counter_add(broker.counters, MANAGED_DROPPED_ERRORS, 1)
        return
    counter_add(broker.counters, MANAGED_REFUSED_MALFORMED, 1)
    if is_about_a_request(&envelope.head):
        incarnation = envelope.head.incarnation
        sequence = envelope.head.sequence
    sentence_begin(&broker.sentence, b"this message is not as the protocol has it: ")
    sentence_words(&broker.sentence, words)
    say_error(broker, peer, MALFORMED, incarnation, sequence, envelope, verdict)
