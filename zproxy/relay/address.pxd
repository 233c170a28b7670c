"""Address: a socket address as the system takes it, from numbers and as text.

Names never come here: Python resolves them, so that nothing waits for a resolver.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

cdef enum:
    ADDRESS_BYTES = 128         # sockaddr_storage
    ADDRESS_KEY_BYTES = 16
    ADDRESS_TEXT_BYTES = 64

cdef struct Address:
    uint8_t[ADDRESS_BYTES] bytes
    uint32_t count              # of them, in use

# Packs a numeric IPv4 or IPv6 `ip` and a port / the path of a Unix socket. 0, or -1: not an address.
cdef int address_pack_ip(Address* address, const char* ip, int port) noexcept nogil
cdef int address_pack_path(Address* address, const char* path, size_t count) noexcept nogil

# AF_INET and the like.
cdef int address_family(const Address* address) noexcept nogil

# For the log: "127.0.0.1:5555", "[::1]:5555", "ipc". Writes ADDRESS_TEXT_BYTES at most, with the final zero.
cdef void address_text(const Address* address, char* text) noexcept nogil

# The host alone, as ADDRESS_KEY_BYTES to compare; zero for Unix sockets.
cdef void address_key(const Address* address, uint8_t* key) noexcept nogil


cdef inline bint address_key_is(const uint8_t* key, const uint8_t* other) noexcept nogil:
    return memcmp(key, other, ADDRESS_KEY_BYTES) == 0


cdef inline bint address_key_is_none(const uint8_t* key) noexcept nogil:
    cdef uint8_t[ADDRESS_KEY_BYTES] none = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    return address_key_is(key, none)
