/* Driver: attacks one target of targets.pyx with inputs that it makes of a corpus, led by the edges they reach.

       fuzz TARGET CORPUS SECONDS SEED [CRASH]

   First every file of CORPUS (a folder, or one file), then, for SECONDS, mutations of these and of all that reached
   something new. Each input lies in memory of exactly its size, so that AddressSanitizer sees the first byte behind
   it. A crash, a law that does not hold (abort), or an input that takes HANG_S is written to CRASH and ends it.

   An edge is where the target went from and to (gcc's -fsanitize-coverage=trace-pc), and how often in powers of two;
   what is kept is what reached a new one. The same seed makes the same inputs. Only the target is instrumented. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "targets.h"
#include "targets_curve.h"

enum { EDGES = 1 << 16, INPUT_MAX = 24576, KEPT_MAX = 1 << 16, CHANGES_MAX = 8, HANG_S = 20, CLOCK_EVERY = 256 };

typedef struct {
    uint8_t *bytes;
    size_t count;
} Input;

static const struct {
    const char *name;
    int (*run)(const uint8_t *, size_t); /* 1: understood, 0: refused; aborts where a law does not hold */
    int needs_sodium;
} TARGETS[] = {
    {"zmtp", fuzz_zmtp, 0},
    {"greeting", fuzz_greeting, 0},
    {"ready", fuzz_ready, 0},
    {"envelope", fuzz_envelope, 0},
    {"offers", fuzz_offers, 0},
    {"skim", fuzz_skim, 0},
    {"curve-server", fuzz_curve_server, 1},
    {"curve-client", fuzz_curve_client, 1},
    {"box", fuzz_box, 1},
    {"defect", fuzz_defect, 0},
};
enum { TARGET_COUNT = sizeof TARGETS / sizeof *TARGETS };

/* ---- edges ---- */

static uint32_t hits[EDGES];    /* of the input that runs */
static uint8_t reached[EDGES];  /* by any, a bit for each power of two */
static uint32_t touched[EDGES]; /* those of `hits` that are not zero */
static uint32_t touched_count;
static uintptr_t last_place;

void __sanitizer_cov_trace_pc(void) {
    uintptr_t place = (uintptr_t)__builtin_return_address(0) * 0x9E3779B97F4A7C15u >> 40;
    uint32_t edge = (uint32_t)(place ^ last_place) % EDGES;
    last_place = place >> 1;
    if (hits[edge]++ == 0)
        touched[touched_count++] = edge;
}

/* Forgets the hits; was any of them new? */
static int edges_settle(uint32_t *edge_count) {
    int is_new = 0;
    while (touched_count) {
        uint32_t edge = touched[--touched_count];
        int power = 31 - __builtin_clz(hits[edge]);
        uint8_t bit = (uint8_t)(1 << (power < 7 ? power : 7));
        *edge_count += reached[edge] == 0;
        is_new |= !(reached[edge] & bit);
        reached[edge] |= bit;
        hits[edge] = 0;
    }
    last_place = 0;
    return is_new;
}

/* ---- the input that runs, and what is left of it when it is the last ---- */

static Input current;
static const char *crash_path = "crash.bin";
static volatile uint64_t executions;

static void crash_write(void) {
    int file = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file >= 0 && write(file, current.bytes, current.count) >= 0)
        dprintf(2, "the input of %zu bytes is in %s\n", current.count, crash_path);
}

static void on_tick(int signal_number) {
    static uint64_t seen = UINT64_MAX;
    (void)signal_number;
    if (seen == executions) {
        dprintf(2, "this input takes more than %d s\n", HANG_S);
        abort();
    }
    seen = executions;
}

extern void __sanitizer_set_death_callback(void (*callback)(void));
const char *__asan_default_options(void) { return "handle_abort=1:detect_leaks=0:quarantine_size_mb=4"; }
const char *__ubsan_default_options(void) { return "print_stacktrace=1"; }

static void death_watch(void) {
    struct itimerval every = {{HANG_S}, {HANG_S}};
    __sanitizer_set_death_callback(crash_write);
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &every, NULL);
}

/* ---- mutation ---- */

static uint64_t dice = 1; /* xorshift64 */

uint64_t driver_roll(void) {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

static size_t below(size_t limit) { return limit ? (size_t)(driver_roll() >> 11) % limit : 0; }

static const uint64_t INTERESTING[] = {
    0,     1,     2,      4,      8,       0x0f,       0x10,       0x20,       0x3f,       0x40,
    0x41,  0x7f,  0x80,   0xff,   0x100,   0x7fff,     0x8000,     0xffff,     0x10000,    0x7fffffff,
    0x80000000u, 0xffffffffu, 0x100000000u, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 9,
};

static void number_put(uint8_t *at, uint64_t number, size_t width, int is_big_endian) {
    for (size_t index = 0; index < width; index++)
        at[is_big_endian ? width - 1 - index : index] = (uint8_t)(number >> 8 * index);
}

/* Makes room for `size` bytes at `at`, with what `from` has there. */
static size_t insert(uint8_t *bytes, size_t count, size_t at, const uint8_t *from, size_t size) {
    uint8_t copy[INPUT_MAX];
    if (count + size > INPUT_MAX)
        return count;
    memcpy(copy, from, size);
    memmove(bytes + at + size, bytes + at, count - at);
    memcpy(bytes + at, copy, size);
    return count + size;
}

/* One change; returns how many bytes there are then. `other`: one to take parts of. */
static size_t change(uint8_t *bytes, size_t count, Input other) {
    size_t at = below(count), size = below(8) ? below(16) + 1 : below(1024) + 1, width = (size_t)1 << below(4);
    uint8_t fresh[1024];
    switch (count ? below(10) : 6) {
    case 0: bytes[at] ^= (uint8_t)(1 << below(8)); return count;
    case 1: bytes[at] = (uint8_t)driver_roll(); return count;
    case 2: bytes[at] += (uint8_t)(below(33) - 16); return count;
    case 3:
        if (at + width <= count)
            number_put(bytes + at, INTERESTING[below(sizeof INTERESTING / 8)], width, (int)below(2));
        return count;
    case 4: /* a length that may be the right one */
        if (at + width <= count)
            number_put(bytes + at, count - at - below(2) * width, width, (int)below(2));
        return count;
    case 5: /* delete */
        if (size > count - at)
            size = count - at;
        memmove(bytes + at, bytes + at + size, count - at - size);
        return count - size;
    case 6: /* insert a byte many times, or noise */
        memset(fresh, (int)driver_roll(), size);
        for (size_t index = 0; index < size && at % 2; index++)
            fresh[index] = (uint8_t)driver_roll();
        return insert(bytes, count, at, fresh, size);
    case 7: /* insert a block of its own */
        if (size > count - at)
            size = count - at;
        return insert(bytes, count, below(count + 1), bytes + at, size);
    case 8: /* overwrite with a block of another */
        if (size > count - at)
            size = count - at;
        if (size <= other.count)
            memcpy(bytes + at, other.bytes + below(other.count - size + 1), size);
        return count;
    default: /* splice: the beginning of one, the end of another */
        size = below(other.count + 1);
        if (at + size > INPUT_MAX)
            return count;
        memcpy(bytes + at, other.bytes + other.count - size, size);
        return at + size;
    }
}

/* ---- the loop ---- */

static Input kept[KEPT_MAX];
static size_t kept_count;
static uint32_t edge_count;
static uint64_t understood_count;

/* Runs the target on a copy of its own. Kept if it reached something new, or if it `must` be. */
static void run(int target, const uint8_t *bytes, size_t count, int must) {
    current.bytes = malloc(count);
    current.count = count;
    memcpy(current.bytes, bytes, count);
    understood_count += (uint64_t)TARGETS[target].run(current.bytes, count);
    executions++;
    if ((edges_settle(&edge_count) || must) && kept_count < KEPT_MAX)
        kept[kept_count++] = current;
    else
        free(current.bytes);
}

static void run_file(int target, const char *path) {
    static uint8_t bytes[INPUT_MAX + 1];
    FILE *file = fopen(path, "rb");
    size_t count = file ? fread(bytes, 1, sizeof bytes, file) : sizeof bytes;
    if (count > INPUT_MAX) {
        fprintf(stderr, "%s cannot be read, or has more than %d bytes\n", path, INPUT_MAX);
        exit(2);
    }
    fclose(file);
    run(target, bytes, count, 1);
}

static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void run_corpus(int target, const char *path) {
    struct dirent **entries;
    char name[4096];
    int count = scandir(path, &entries, is_shown, alphasort);
    if (count < 0)
        run_file(target, path);
    for (int index = 0; index < count; index++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[index]->d_name);
        run_file(target, name);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void run_mutations(int target, double seconds) {
    static uint8_t bytes[INPUT_MAX];
    double end = now() + seconds;
    for (uint64_t number = 0; number % CLOCK_EVERY || now() < end; number++) {
        /* Half of the time one of the newest, which led somewhere; the shorter of two, which is faster. */
        size_t recent = kept_count < 16 ? kept_count : 16;
        Input base = kept[below(2) ? below(kept_count) : kept_count - 1 - below(recent)];
        Input another = kept[below(kept_count)];
        if (another.count < base.count)
            base = another;
        size_t count = base.count;
        memcpy(bytes, base.bytes, count);
        for (size_t changes = 1 + below(CHANGES_MAX); changes; changes--)
            count = change(bytes, count, kept[below(kept_count)]);
        run(target, bytes, count, 0);
    }
}

/* In the order of Sodium in sodium.pxd. NULL: the target rolls its own dice, so that a seed says it all. */
static const char *SODIUM[] = {
    "sodium_init", NULL, "sodium_memzero", "sodium_memcmp", NULL, "crypto_scalarmult_base", "crypto_box_beforenm",
    "crypto_box_easy_afternm", "crypto_box_open_easy_afternm", "crypto_core_hsalsa20", "crypto_stream_salsa20_xor_ic",
    "crypto_onetimeauth_poly1305_init", "crypto_onetimeauth_poly1305_update", "crypto_onetimeauth_poly1305_final",
};

static void sodium_load(void) {
    static void *table[sizeof SODIUM / sizeof *SODIUM];
    const char *path = getenv("ZPROXY_LIBSODIUM");
    void *library = path ? dlopen(path, RTLD_NOW) : NULL;
    if (!library) {
        fprintf(stderr, "set ZPROXY_LIBSODIUM to the libsodium in pyzmq.libs: %s\n", path ? dlerror() : "it is not");
        exit(2);
    }
    for (size_t index = 0; index < sizeof SODIUM / sizeof *SODIUM; index++)
        table[index] = SODIUM[index] ? dlsym(library, SODIUM[index]) : NULL;
    fuzz_sodium(table);
}

int main(int argc, char **argv) {
    int target = 0;
    while (argc >= 5 && target < TARGET_COUNT && strcmp(TARGETS[target].name, argv[1]) != 0)
        target++;
    if (argc < 5 || target == TARGET_COUNT) {
        fprintf(stderr, "fuzz TARGET CORPUS SECONDS SEED [CRASH]\n");
        return 2;
    }
    if (argc > 5)
        crash_path = argv[5];
    death_watch();
    if (TARGETS[target].needs_sodium)
        sodium_load();
    edges_settle(&edge_count);
    run_corpus(target, argv[2]);
    size_t corpus_count = kept_count;
    dice = strtoull(argv[4], NULL, 10) * 0x9E3779B97F4A7C15u | 1;
    if (corpus_count)
        run_mutations(target, strtod(argv[3], NULL));
    printf("%s: executions %llu understood %llu corpus %zu kept %zu edges %u\n", TARGETS[target].name,
           (unsigned long long)executions, (unsigned long long)understood_count, corpus_count, kept_count, edge_count);
    return 0;
}
