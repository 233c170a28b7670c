"""Sodium: the functions of the libsodium behind pyzmq's libzmq, found at run time. No header, no second copy.

All cryptography of CURVE is done by these; nothing of ours computes more than an exclusive or. They are handed on as
a table, so that what uses them is pure, and also runs in a fuzz target without Python.

Signatures and numbers are those of libsodium's crypto_box(3), crypto_stream(3) and crypto_onetimeauth(3).
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    KEY_BYTES = 32              # of any of them: public, secret, shared
    NONCE_BYTES = 24            # of a box; the last 8 are the stream's own
    TAG_BYTES = 16              # in front of what a box holds
    STREAM_BLOCK_BYTES = 64     # the stream's counter counts these

cdef extern from *:
    """
    typedef struct { _Alignas(16) unsigned char opaque[256]; } zproxy_poly_state;
    """
    ctypedef struct PolyState "zproxy_poly_state":      # crypto_onetimeauth_poly1305_state
        pass

# In the order of NAMES in sodium.pyx. They return 0, or -1 for what is not genuine or not allowed.
cdef struct Sodium:
    int (*init)() noexcept nogil                        # 0, or 1: it was done before
    void (*random)(void* target, size_t count) noexcept nogil
    void (*wipe)(void* memory, size_t count) noexcept nogil
    int (*compare)(const void* one, const void* other, size_t count) noexcept nogil     # in constant time; 0: equal
    int (*keypair)(uint8_t* public, uint8_t* secret) noexcept nogil
    int (*public_of)(uint8_t* public, const uint8_t* secret) noexcept nogil
    int (*share)(uint8_t* shared, const uint8_t* public, const uint8_t* secret) noexcept nogil
    # With a shared key: `target` has TAG_BYTES more (or less) than `source`.
    int (*box)(
        uint8_t* target, const uint8_t* source, unsigned long long count, const uint8_t* nonce, const uint8_t* shared
    ) noexcept nogil
    int (*unbox)(
        uint8_t* target, const uint8_t* source, unsigned long long count, const uint8_t* nonce, const uint8_t* shared
    ) noexcept nogil
    # The key of a box's stream: of its shared key and the first 16 bytes of its nonce. `constant`: NULL.
    int (*derive)(uint8_t* key, const uint8_t* nonce, const uint8_t* shared, const uint8_t* constant) noexcept nogil
    # `target` = `source` xor the stream from block `counter` on; they may be the same.
    int (*stream)(
        uint8_t* target, const uint8_t* source, unsigned long long count, const uint8_t* nonce, uint64_t counter,
        const uint8_t* key
    ) noexcept nogil
    int (*tag_begin)(PolyState* state, const uint8_t* key) noexcept nogil
    int (*tag_add)(PolyState* state, const uint8_t* source, unsigned long long count) noexcept nogil
    int (*tag_end)(PolyState* state, uint8_t* tag) noexcept nogil

# The table, filled at the first call; lives as long as the process. Needs the GIL. Raises CurveMissing.
cdef const Sodium* sodium_table() except NULL
