"""Handshake: ZMTP's greeting and the commands after it; see handshake.pxd, where all of it is.
`HandshakeProbe` is for the tests."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

# The order of GreetingCode and of SocketType.
GREETING_CODES = ("ok", "need", "garbage", "version", "mechanism")
SOCKET_TYPES = ("", "REQ", "REP", "DEALER", "ROUTER")


cdef class HandshakeProbe:
    """What a peer sent, under each reader in turn, in memory of exactly its size: a read beyond it is found out.

    The writers are static: what they return is a whole frame.
    """

    cdef uint8_t* bytes
    cdef size_t count

    def __cinit__(self, const uint8_t[::1] source):
        self.count = source.shape[0]
        self.bytes = <uint8_t*>malloc(self.count)
        if self.bytes == NULL and self.count:
            raise MemoryError
        if self.count:
            memcpy(self.bytes, &source[0], self.count)

    def __dealloc__(self):
        free(self.bytes)

    def greeting(self):
        """The verdict on a greeting, or on the beginning of one, where NULL is spoken."""
        return GREETING_CODES[<int>greeting_read(self.bytes, self.count, MECHANISM_NULL)]

    def ready(self):
        """(socket type, routing id) of a READY command's body, or None: malformed."""
        cdef Ready ready
        if not ready_read(self.bytes, self.count, &ready):
            return None
        return SOCKET_TYPES[<int>ready.socket_type], ready.routing_id[:ready.routing_id_bytes]

    def is_managed(self):
        """Does a READY command's body announce a managed peer?"""
        cdef Ready ready
        return bool(ready_read(self.bytes, self.count, &ready) and ready.is_managed)

    def pong(self):
        """The PONG that answers a PING command's body, or None: malformed."""
        cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
        cdef size_t frame_bytes = pong_write(frame, self.bytes, self.count)
        return frame[:frame_bytes] if frame_bytes else None

    @staticmethod
    def our_greeting():
        """Our greeting, where NULL is spoken."""
        cdef uint8_t[GREETING_BYTES] greeting
        greeting_write(greeting, MECHANISM_NULL, False)
        return greeting[:GREETING_BYTES]

    @staticmethod
    def our_ready(bint is_router):
        """Our READY, as the frontend presents itself or as the backend."""
        cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
        return frame[:ready_write(frame, is_router)]

    @staticmethod
    def our_ping():
        """Our PING."""
        cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
        return frame[:ping_write(frame)]

    @staticmethod
    def our_error(bytes reason):
        """ERROR with a reason of at most HANDSHAKE_REPLY_MAX - 9 bytes."""
        cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
        if len(reason) > HANDSHAKE_REPLY_MAX - 9:
            raise ValueError("the reason does not fit its frame")
        return frame[:error_write(frame, reason, len(reason))]
