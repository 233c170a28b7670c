"""Laws: what all targets hold their readers to. One that does not hold aborts, and the driver keeps the input."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport abort

from zproxy.relay.handshake cimport Ready, properties_read


cdef inline void hold(bint law) noexcept nogil:
    if not law:
        abort()


cdef inline bint lies_within(const uint8_t* part, size_t part_bytes, const uint8_t* bytes, size_t count) noexcept nogil:
    return bytes <= part and part_bytes <= count and <size_t>(part - bytes) <= count - part_bytes


# Properties, of whatever mechanism. False: malformed.
cdef inline bint properties_check(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Ready ready
    if not properties_read(bytes, count, &ready):
        return False
    hold(lies_within(ready.routing_id, ready.routing_id_bytes, bytes, count))
    return True
