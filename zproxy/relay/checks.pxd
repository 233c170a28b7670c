"""Checks: what debug and sanitize builds watch beside the tests. Nothing of it is left in a release build.

Pooled memory never goes back to the allocator, so AddressSanitizer would see nothing of its use after release:
it is told here what is ours but not in use.
"""

cdef extern from *:
    """
    #ifdef ZPROXY_DEBUG
    #define ZPROXY_CHECKS 1
    #include <stdio.h>
    #include <stdlib.h>
    #define zproxy_check(condition) \\
        ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: not %s\\n", __FILE__, __LINE__, #condition), abort()))
    #else
    #define ZPROXY_CHECKS 0
    #define zproxy_check(condition) ((void)0)
    #endif
    #ifdef __SANITIZE_ADDRESS__
    #include <sanitizer/asan_interface.h>
    #define memory_poison(address, count) ASAN_POISON_MEMORY_REGION(address, count)
    #define memory_unpoison(address, count) ASAN_UNPOISON_MEMORY_REGION(address, count)
    #else
    #define memory_poison(address, count) ((void)(address), (void)(count))
    #define memory_unpoison(address, count) ((void)(address), (void)(count))
    #endif
    """
    bint CHECKS_ARE_ON "ZPROXY_CHECKS"

    # Aborts, saying what does not hold and where.
    void check "zproxy_check" (bint condition) noexcept nogil

    # Until memory_unpoison, touching these bytes ends the process with a report.
    void memory_poison(const void* address, size_t count) noexcept nogil
    void memory_unpoison(const void* address, size_t count) noexcept nogil
