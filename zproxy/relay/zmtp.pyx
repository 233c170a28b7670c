"""ZMTP frames ⇄ bytes; see zmtp.pxd, where all of it is. `FrameProbe` is for the tests."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

# The order of ScanCode.
CODES = ("message", "command", "need", "malformed", "too_large")


cdef class FrameProbe:
    """One stretch of bytes under the frame reader, in memory of exactly its size: a read beyond it is found out."""

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

    def read(self):
        """The frame header they begin with: (code, header bytes, body bytes)."""
        cdef Frame frame
        cdef ScanCode code = frame_read(self.bytes, self.count, &frame)
        return CODES[<int>code], frame.header_bytes, frame.body_bytes

    def scan(self, uint64_t max_message_bytes, size_t scanned=0):
        """On from `scanned` to the end of the message they begin with: (code, bytes scanned)."""
        cdef Frame frame
        cdef ScanCode code = message_scan(self.bytes, self.count, max_message_bytes, &scanned, &frame)
        return CODES[<int>code], scanned

    def routing_id(self):
        """The routing id in front of a reply, or None where there is none, or nothing behind it."""
        cdef Frame frame
        if not routing_frame_read(self.bytes, self.count, &frame):
            return None
        return (self.bytes + frame.header_bytes)[:frame.body_bytes]

    def is_command(self, bytes name):
        """Are they the body of this command?"""
        return command_is(self.bytes, self.count, name, len(name))

    @staticmethod
    def short(uint8_t flags, bytes body):
        """A short frame."""
        cdef uint8_t[SHORT_HEADER_BYTES + SHORT_BODY_MAX] frame
        if len(body) > SHORT_BODY_MAX:
            raise ValueError("a short frame holds at most 255 bytes")
        return frame[:short_frame_write(frame, flags, <const uint8_t*><const char*>body, len(body))]
