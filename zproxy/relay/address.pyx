"""Address: a socket address as the system takes it; see address.pxd for the contract."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6
    enum: AF_UNIX
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t[16] s6_addr
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr

cdef extern from "<sys/un.h>" nogil:
    cdef struct sockaddr_un:
        unsigned short sun_family
        char[108] sun_path

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* source, char* target, socklen_t count)
    int inet_pton(int family, const char* source, void* target)
    uint16_t htons(uint16_t port)
    uint16_t ntohs(uint16_t port)


cdef int address_pack_ip(Address* address, const char* ip, int port) noexcept nogil:
    cdef sockaddr_in* four = <sockaddr_in*>address.bytes
    cdef sockaddr_in6* six = <sockaddr_in6*>address.bytes
    memset(address, 0, sizeof(Address))
    if inet_pton(AF_INET, ip, &four.sin_addr) == 1:
        four.sin_family = AF_INET
        four.sin_port = htons(<uint16_t>port)
        address.count = sizeof(sockaddr_in)
        return 0
    memset(address, 0, sizeof(Address))
    if inet_pton(AF_INET6, ip, &six.sin6_addr) == 1:
        six.sin6_family = AF_INET6
        six.sin6_port = htons(<uint16_t>port)
        address.count = sizeof(sockaddr_in6)
        return 0
    return -1


cdef int address_pack_path(Address* address, const char* path, size_t count) noexcept nogil:
    cdef sockaddr_un* unix_address = <sockaddr_un*>address.bytes
    memset(address, 0, sizeof(Address))
    if count >= sizeof(unix_address.sun_path):
        return -1
    unix_address.sun_family = AF_UNIX
    memcpy(unix_address.sun_path, path, count)
    address.count = sizeof(sockaddr_un)
    return 0


cdef int address_family(const Address* address) noexcept nogil:
    return (<const sockaddr*>address.bytes).sa_family


cdef void address_text(const Address* address, char* text) noexcept nogil:
    cdef const sockaddr_in* four = <const sockaddr_in*>address.bytes
    cdef const sockaddr_in6* six = <const sockaddr_in6*>address.bytes
    cdef char[48] ip
    if address_family(address) == AF_INET:
        inet_ntop(AF_INET, &four.sin_addr, ip, sizeof(ip))
        snprintf(text, ADDRESS_TEXT_BYTES, b"%s:%d", ip, <int>ntohs(four.sin_port))
    elif address_family(address) == AF_INET6:
        inet_ntop(AF_INET6, &six.sin6_addr, ip, sizeof(ip))
        snprintf(text, ADDRESS_TEXT_BYTES, b"[%s]:%d", ip, <int>ntohs(six.sin6_port))
    else:
        snprintf(text, ADDRESS_TEXT_BYTES, b"ipc")


cdef void address_key(const Address* address, uint8_t* key) noexcept nogil:
    memset(key, 0, ADDRESS_KEY_BYTES)
    if address_family(address) == AF_INET:
        memcpy(key, &(<const sockaddr_in*>address.bytes).sin_addr, 4)
    elif address_family(address) == AF_INET6:
        memcpy(key, &(<const sockaddr_in6*>address.bytes).sin6_addr, 16)
