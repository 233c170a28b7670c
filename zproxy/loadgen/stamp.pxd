"""Stamp: what a payload carries at its begin and at its end, so that no reply passes for another.

    [stamp ……… FILL FILL FILL ……… ~stamp]       from STAMPED_BYTES on
    [FILL FILL FILL]                            shorter payloads: every byte

    stamp:  client 16 bit | slot 16 bit | sequence 32 bit       the slot is the place in the client's window

Between the two nothing is checked: a payload of 1 GiB is to cost the proxy's time, not the client's.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    FILL = 0xA5
    STAMPED_BYTES = 16


cdef inline uint64_t stamp_make(uint64_t client, uint64_t slot, uint64_t sequence) noexcept nogil:
    return client << 48 | slot << 32 | <uint32_t>sequence


cdef inline uint64_t stamp_slot(uint64_t stamp) noexcept nogil:
    return stamp >> 32 & 0xFFFF


# `payload` is filled with FILL. No-op where there is no room for a stamp.
cdef inline void stamp_write(unsigned char* payload, size_t count, uint64_t stamp) noexcept nogil:
    cdef uint64_t inverse = ~stamp
    if count < STAMPED_BYTES:
        return
    memcpy(payload, &stamp, sizeof(stamp))
    memcpy(payload + count - sizeof(inverse), &inverse, sizeof(inverse))


# The stamp of a payload whose two ends agree. False: they do not, or a short payload is not all FILL.
cdef inline bint stamp_read(const unsigned char* payload, size_t count, uint64_t* stamp) noexcept nogil:
    cdef uint64_t inverse = 0
    cdef size_t index
    stamp[0] = 0
    if count >= STAMPED_BYTES:
        memcpy(stamp, payload, sizeof(uint64_t))
        memcpy(&inverse, payload + count - sizeof(inverse), sizeof(inverse))
        return stamp[0] == ~inverse
    for index in range(count):
        if payload[index] != FILL:
            return False
    return True
