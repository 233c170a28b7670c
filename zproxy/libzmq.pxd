"""Libzmq: the C functions of the libzmq that pyzmq brings, found at run time. No header, no second copy.

pyzmq's extension is loaded already, so `dlopen(…, RTLD_NOLOAD)` names it and `dlsym` finds what it contains or
links to: the same library, and the same sockets, as Python's. The relay does not use it; the SDK and the load
generator do.

Only what its callers need is declared; signatures and numbers are those of zmq(7), the same in every 4.x.
"""

cdef enum:                      # socket types, options and flags of zmq_socket(3), zmq_setsockopt(3), zmq_msg_send(3)
    ZMQ_DEALER = 5
    ZMQ_ROUTER = 6
    ZMQ_FD = 14
    ZMQ_EVENTS = 15
    ZMQ_LINGER = 17
    ZMQ_SNDHWM = 23
    ZMQ_RCVHWM = 24
    ZMQ_RCVTIMEO = 27
    ZMQ_LAST_ENDPOINT = 32
    ZMQ_IPV6 = 42
    ZMQ_CURVE_PUBLICKEY = 48
    ZMQ_CURVE_SECRETKEY = 49
    ZMQ_CURVE_SERVERKEY = 50
    ZMQ_METADATA = 95
    ZMQ_DONTWAIT = 1
    ZMQ_SNDMORE = 2
    ZMQ_POLLIN = 1

cdef union zmq_msg_t:           # opaque; libzmq wants it aligned like a pointer
    unsigned char[64] opaque
    void* alignment

ctypedef void (*zmq_free_fn)(void* content, void* hint) noexcept nogil

# In the order of NAMES in libzmq.pyx. They return -1 and set errno unless noted.
cdef struct LibZmq:
    void* (*ctx_new)() noexcept nogil                           # NULL on failure
    int (*ctx_term)(void* context) noexcept nogil               # blocks until every socket of it is closed
    void* (*socket)(void* context, int kind) noexcept nogil     # NULL on failure
    int (*close)(void* socket) noexcept nogil
    int (*bind)(void* socket, const char* endpoint) noexcept nogil
    int (*connect)(void* socket, const char* endpoint) noexcept nogil
    int (*setsockopt)(void* socket, int option, const void* value, size_t value_bytes) noexcept nogil
    int (*getsockopt)(void* socket, int option, void* value, size_t* value_bytes) noexcept nogil
    int (*msg_init)(zmq_msg_t* message) noexcept nogil
    int (*msg_init_size)(zmq_msg_t* message, size_t count) noexcept nogil
    # A message around `content`, not copied. `free` NULL: the caller keeps it, unchanged until it was sent.
    int (*msg_init_data)(zmq_msg_t* message, void* content, size_t count, zmq_free_fn free, void* hint) noexcept nogil
    int (*msg_send)(zmq_msg_t* message, void* socket, int flags) noexcept nogil     # on success the message is empty
    int (*msg_recv)(zmq_msg_t* message, void* socket, int flags) noexcept nogil
    int (*msg_close)(zmq_msg_t* message) noexcept nogil
    int (*msg_move)(zmq_msg_t* target, zmq_msg_t* source) noexcept nogil       # the source is then empty
    int (*msg_more)(const zmq_msg_t* message) noexcept nogil    # 1: another frame of the same message follows
    size_t (*msg_size)(const zmq_msg_t* message) noexcept nogil
    void* (*msg_data)(zmq_msg_t* message) noexcept nogil
    const char* (*strerror)(int code) noexcept nogil            # knows libzmq's own codes too
    void (*version)(int* major, int* minor, int* patch) noexcept nogil

# The table, filled at the first call; lives as long as the process. Needs the GIL. Raises LibzmqMissing.
cdef const LibZmq* libzmq_table() except NULL

# Raises OSError with libzmq's words for any errno but 0.
cdef int libzmq_check(int code) except -1
