"""Sodium: the functions of the libsodium behind pyzmq's libzmq; see sodium.pxd for the contract."""

from libc.stdint cimport uintptr_t

from zproxy.errors import CurveMissing, LibzmqMissing
from zproxy.libzmq import address_of

# In the order of Sodium.
NAMES = (
    "sodium_init", "randombytes_buf", "sodium_memzero", "sodium_memcmp", "crypto_box_keypair",
    "crypto_scalarmult_base", "crypto_box_beforenm", "crypto_box_easy_afternm", "crypto_box_open_easy_afternm",
    "crypto_core_hsalsa20", "crypto_stream_salsa20_xor_ic", "crypto_onetimeauth_poly1305_init",
    "crypto_onetimeauth_poly1305_update", "crypto_onetimeauth_poly1305_final",
)

cdef Sodium table               # written once, under the GIL
cdef bint is_filled = False


cdef const Sodium* sodium_table() except NULL:
    global is_filled
    cdef void** entries = <void**>&table
    if is_filled:
        return &table
    assert len(NAMES) * sizeof(void*) == sizeof(Sodium)
    try:
        for index, name in enumerate(NAMES):
            entries[<int>index] = <void*><uintptr_t>address_of(name)
    except LibzmqMissing as error:
        raise CurveMissing(
            "CURVE needs libsodium, and the libzmq of this pyzmq was built without it: install pyzmq's own wheel"
        ) from error
    if table.init() < 0:
        raise CurveMissing("libsodium cannot be used here: it found no source of random numbers")
    is_filled = True
    return &table


def public_of(secret):
    """The public key (32 bytes) of a secret one. Raises CurveMissing, ValueError."""
    cdef unsigned char[<int>KEY_BYTES] public
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a key has {<int>KEY_BYTES} bytes, not {len(secret)}")
    if sodium_table().public_of(public, <const unsigned char*><const char*>secret) != 0:
        raise ValueError("this is no secret key")
    return public[:KEY_BYTES]
