"""Curve: CURVE's handshake; see curve.pxd, where all of it is. `CurveProbe` is for the tests."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from zproxy.relay.sodium cimport sodium_table

# The order of CurveCode.
CURVE_CODES = ("ok", "malformed", "forged")


cdef class CurveProbe:
    """One side of a handshake by itself: whole commands in, each in memory of exactly its size, whole frames out.

    A server without `server_key`, else the client of the server that has this public key. `former`: (public, secret)
    that a server had before.
    """

    cdef Curve curve
    cdef const Sodium* sodium
    cdef bint is_server

    def __cinit__(self, bytes public, bytes secret, bytes server_key=b"", former=()):
        if {len(public), len(secret), len(server_key) or KEY_BYTES} != {KEY_BYTES}:
            raise ValueError("a key has 32 bytes")
        self.sodium = sodium_table()
        self.is_server = not server_key
        if self.is_server:
            curve_serve(&self.curve, <const uint8_t*><const char*>public, <const uint8_t*><const char*>secret)
            if former:
                public, secret = former
                curve_serve_former(
                    &self.curve, <const uint8_t*><const char*>public, <const uint8_t*><const char*>secret
                )
        else:
            curve_dial(
                &self.curve, <const uint8_t*><const char*>public, <const uint8_t*><const char*>secret,
                <const uint8_t*><const char*>server_key,
            )

    def __dealloc__(self):
        if self.sodium != NULL:
            self.sodium.wipe(&self.curve, sizeof(Curve))

    def begin(self):
        """A client's HELLO, as a whole frame; b"" where the server's key is none."""
        cdef uint8_t[<int>CURVE_WRITTEN_MAX] frame
        return frame[:curve_hello_write(self.sodium, &self.curve, frame)]

    def take(self, const uint8_t[::1] command, bytes properties):
        """(one of CURVE_CODES, the frame that answers, the peer's properties) to the command that is awaited."""
        cdef uint8_t* body = <uint8_t*>malloc(max(command.shape[0], 1))
        cdef uint8_t[<int>COMMAND_BYTES_MAX] opened
        cdef const uint8_t* found = opened
        cdef size_t found_bytes = 0
        cdef CurveCode code
        if body == NULL:
            raise MemoryError
        if command.shape[0]:
            memcpy(body, &command[0], command.shape[0])
        try:
            code = self._read(body, command.shape[0], opened, &found, &found_bytes)
            answer = self._answer(properties) if code == CURVE_OK else b""
            return CURVE_CODES[<int>code], answer, found[:found_bytes] if code == CURVE_OK else b""
        finally:
            free(body)

    def keys(self):
        """(key of the boxes that come, key of those that go), once both are done."""
        cdef uint8_t[<int>KEY_BYTES] inbound
        cdef uint8_t[<int>KEY_BYTES] outbound
        curve_keys(self.sodium, &self.curve, self.is_server, inbound, outbound)
        return inbound[:KEY_BYTES], outbound[:KEY_BYTES]

    @property
    def peer(self):
        """The key that the peer has proved to have; a client's is the one it was given."""
        return self.curve.peer[:KEY_BYTES]

    @property
    def is_done(self):
        """Nothing more is awaited."""
        return self.curve.stage == CURVE_DONE

    cdef CurveCode _read(
        self, const uint8_t* body, size_t count, uint8_t* opened, const uint8_t** found, size_t* found_bytes
    ):
        if self.curve.stage == CURVE_HELLO:
            return curve_hello_read(self.sodium, &self.curve, body, count)
        if self.curve.stage == CURVE_INITIATE:
            return curve_initiate_read(self.sodium, &self.curve, body, count, opened, found, found_bytes)
        if self.curve.stage == CURVE_WELCOME:
            return curve_welcome_read(self.sodium, &self.curve, body, count)
        return curve_ready_read(self.sodium, &self.curve, body, count, opened, found, found_bytes)

    cdef bytes _answer(self, bytes properties):
        cdef uint8_t[<int>CURVE_WRITTEN_MAX] frame
        cdef size_t count = 0
        if len(properties) > 64:
            raise ValueError("64 bytes of properties at most")
        if self.is_server and self.curve.brief_public[:KEY_BYTES] == bytes(KEY_BYTES):
            count = curve_welcome_write(self.sodium, &self.curve, frame)
        elif self.is_server:
            count = curve_ready_write(
                self.sodium, &self.curve, frame, <const uint8_t*><const char*>properties, len(properties)
            )
        elif self.curve.stage == CURVE_READY:
            count = curve_initiate_write(
                self.sodium, &self.curve, frame, <const uint8_t*><const char*>properties, len(properties)
            )
        return frame[:count]
