"""Sentence: what an ERROR says in words, as its TLV.

Built piece by piece into a buffer of the broker, which an envelope then points to: valid until the next is begun. A
sentence names the thing, the limit and the remedy. What does not fit any more is left out, a whole piece at a time; two
names and 300 bytes of words do.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.envelope cimport EnvelopeView

cdef enum:
    SENTENCE_BYTES = 512        # its TLV's head included

cdef struct Sentence:
    uint32_t fill
    uint8_t[SENTENCE_BYTES] bytes

cdef void sentence_begin(Sentence* sentence, const char* words) noexcept nogil
cdef void sentence_words(Sentence* sentence, const char* words) noexcept nogil
cdef void sentence_number(Sentence* sentence, uint64_t number) noexcept nogil

# In quotes.
cdef void sentence_name(Sentence* sentence, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# Finished: the envelope's only TLV.
cdef void sentence_end(Sentence* sentence, EnvelopeView* envelope) noexcept nogil
