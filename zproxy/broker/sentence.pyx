"""Sentence: what an ERROR says in words; see sentence.pxd for the contract."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from zproxy.envelope cimport SENTENCE, EnvelopeView

cdef enum:
    TLV_HEAD_BYTES = 4
    DIGITS = 20                 # of 64 bits


cdef void sentence_bytes(Sentence* sentence, const void* bytes, size_t count) noexcept nogil:
    if SENTENCE_BYTES - sentence.fill < count:
        return
    memcpy(sentence.bytes + sentence.fill, bytes, count)
    sentence.fill += <uint32_t>count


cdef void sentence_begin(Sentence* sentence, const char* words) noexcept nogil:
    sentence.fill = TLV_HEAD_BYTES
    sentence_words(sentence, words)


cdef void sentence_words(Sentence* sentence, const char* words) noexcept nogil:
    sentence_bytes(sentence, words, strlen(words))


cdef void sentence_number(Sentence* sentence, uint64_t number) noexcept nogil:
    cdef uint8_t[DIGITS] digits
    cdef int first = DIGITS
    while True:
        first -= 1
        digits[first] = <uint8_t>(c'0' + number % 10)
        number //= 10
        if number == 0:
            break
    sentence_bytes(sentence, &digits[first], <size_t>(DIGITS - first))


cdef void sentence_name(Sentence* sentence, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef uint8_t[66] quoted     # a name has 64 at most
    quoted[0] = quoted[name_bytes + 1] = c'"'
    memcpy(&quoted[1], name, name_bytes)
    sentence_bytes(sentence, quoted, <size_t>name_bytes + 2)


cdef void sentence_end(Sentence* sentence, EnvelopeView* envelope) noexcept nogil:
    cdef uint16_t kind = <int>SENTENCE
    cdef uint16_t count = <uint16_t>(sentence.fill - TLV_HEAD_BYTES)
    memcpy(sentence.bytes, &kind, sizeof(kind))
    memcpy(sentence.bytes + sizeof(kind), &count, sizeof(count))
    envelope.tlvs = sentence.bytes
    envelope.head.tlv_bytes = <uint16_t>sentence.fill
