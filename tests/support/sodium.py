"""libsodium's own boxes, whole ones, through ctypes: what the relay's piecewise ones are held against."""

from __future__ import annotations

import ctypes
import os

from zproxy.libzmq import extension_path

KEY_BYTES = 32
TAG_BYTES = 16

_library = ctypes.CDLL(extension_path(), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)


def shared_key(public: bytes, secret: bytes) -> bytes:
    key = ctypes.create_string_buffer(KEY_BYTES)
    assert _library.crypto_box_beforenm(key, public, secret) == 0
    return key.raw


def box(text: bytes, nonce: bytes, shared: bytes) -> bytes:
    """Tag and secret."""
    made = ctypes.create_string_buffer(len(text) + TAG_BYTES)
    count = ctypes.c_ulonglong(len(text))
    assert _library.crypto_box_easy_afternm(made, text, count, nonce, shared) == 0
    return made.raw
