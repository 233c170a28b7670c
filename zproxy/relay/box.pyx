"""Box: CURVE's messages, in pieces; see box.pxd, where all of it is. `BoxProbe` is for the tests."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from zproxy.relay.sodium cimport sodium_table


cdef class BoxProbe:
    """Boxes of one direction by themselves."""

    cdef uint8_t[<int>KEY_BYTES] key
    cdef const Sodium* sodium

    def __cinit__(self, bytes shared, bytes constant):
        if len(shared) != KEY_BYTES or len(constant) != NONCE_BYTES - 8:
            raise ValueError("a shared key has 32 bytes, the constant part of its nonces 16")
        self.sodium = sodium_table()
        box_key(self.sodium, self.key, <const uint8_t*><const char*>shared, constant)

    def close(self, uint64_t nonce, list pieces):
        """Tag and secret of these pieces, as crypto_box would give them for all in one."""
        cdef Box box
        cdef uint8_t[<int>TAG_BYTES] tag
        self._begin(&box, nonce)
        secret = []
        for piece in pieces:
            closed = bytearray(piece)
            self._work(&box, closed, False)
            secret.append(closed)
        box_seal(self.sodium, &box, tag)
        return tag[:TAG_BYTES] + b"".join(secret)

    def open(self, uint64_t nonce, bytes tag, list pieces):
        """What these pieces of a secret hold, or None: it is not genuine."""
        cdef Box box
        self._begin(&box, nonce)
        found = []
        for piece in pieces:
            opened = bytearray(piece)
            self._work(&box, opened, True)
            found.append(opened)
        if len(tag) != TAG_BYTES or not box_is_genuine(self.sodium, &box, <const uint8_t*><const char*>tag):
            return None
        return b"".join(found)

    cdef int _begin(self, Box* box, uint64_t nonce) except -1:
        cdef uint8_t[8] written
        nonce_write(written, nonce)
        box_begin(self.sodium, box, self.key, written)
        return 0

    cdef int _work(self, Box* box, uint8_t[::1] piece, bint is_opened) except -1:
        if not piece.shape[0]:
            return 0
        if is_opened:
            box_open(self.sodium, box, self.key, &piece[0], &piece[0], piece.shape[0])
        else:
            box_close(self.sodium, box, self.key, &piece[0], &piece[0], piece.shape[0])
        return 0


def heads(bytes head, uint64_t newest):
    """(is it a box's head that may come behind `newest`, the newest now)."""
    cdef uint8_t[<int>BOX_HEAD_BYTES] read
    if len(head) != BOX_HEAD_BYTES:
        raise ValueError("a box's head has 33 bytes")
    memcpy(read, <const char*>head, BOX_HEAD_BYTES)
    return bool(box_head_read(read, &newest)), newest
