/* Many threads that use the same few numbers, while others close them and put other regions there. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>

#include "regions.h"

enum { NUMBERS = 6, THREADS = 8, PAGES = 40 };

static int rounds;
/* The first of the numbers: so high that no descriptor of the library has it, also when many wait to be dropped. */
static int first;
/* Stay open. */
static int regions[NUMBERS];

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Closed just now by another thread, or purged by it. */
static void check(int answer, int line)
{
    if (answer == -1 && errno != EBADF && errno != EBUSY) {
        fprintf(stderr, "threads.c:%d: %s\n", line, strerror(errno));
        exit(1);
    }
}
#define TRY(call) check((call), __LINE__)

static void *work(void *argument)
{
    uint64_t state = 0x9e3779b97f4a7c15u * ((uintptr_t)argument + 1);
    for (int i = 0; i < rounds; i++) {
        uint64_t dice = next(&state);
        int number = first + (int)(dice % NUMBERS);
        size_t offset = (dice >> 8) % PAGES * page(), len = ((dice >> 16) % (PAGES - (dice >> 8) % PAGES)) * page();
        struct ashmem_lease *lease;
        struct ashmem_pin_guard *guard;
        struct ashmem_stats stats;
        switch ((dice >> 32) % 24) {
        case 0: TRY(close(number)); break;
        case 1:
        case 2: TRY(dup2(regions[(dice >> 40) % NUMBERS], number)); break;
        case 3: TRY(ashmem_purge(number, NULL)); break;
        case 4: TRY(ashmem_reclaim((dice >> 40) % (PAGES * page()), NULL)); break;
        case 5:
            if (ashmem_lease_take(number, offset, len, &lease) >= 0)
                ashmem_lease_end(lease);
            break;
        case 6:
            if (ashmem_pin_guard_take(number, offset, len, &guard) >= 0)
                ashmem_pin_guard_end(guard);
            break;
        case 7: TRY(ashmem_get_stats(number, &stats)); break;
        case 8: TRY(ashmem_get_pin_status(number, offset, len)); break;
        case 9: TRY(ashmem_get_size_region(number)); break;
        case 10: {
            int fd = ashmem_create_region("short", page());
            CHECK(fd >= 0 && ashmem_unpin_region(fd, 0, 0) == 0 && close(fd) == 0);
            break;
        }
        case 11:
        case 12: TRY(ashmem_pin_region(number, 0, 0)); break;
        case 13:
        case 14: TRY(ashmem_unpin_region(number, 0, 0)); break;
        case 15:
        case 16:
        case 17:
        case 18:
        case 19: TRY(ashmem_pin_region(number, offset, len)); break;
        default: TRY(ashmem_unpin_region(number, offset, len));
        }
    }
    return NULL;
}

/* Threads come and go, so that their places in the library are used again. */
static void *pin_once(void *argument)
{
    const int *fd = argument;
    CHECK(ashmem_pin_region(*fd, 0, page()) >= 0);
    CHECK(ashmem_unpin_region(*fd, 0, page()) == 0);
    return NULL;
}

static void short_lived(void)
{
    pthread_t threads[50];
    for (int round = 0; round < rounds / 1000; round++) {
        for (size_t i = 0; i < 50; i++)
            CHECK(pthread_create(&threads[i], NULL, pin_once, &regions[round % NUMBERS]) == 0);
        for (size_t i = 0; i < 50; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* A pinned page keeps what its thread writes, whatever the other threads purge. */
static void *keep(void *argument)
{
    const size_t own = (uintptr_t)argument;
    const int fd = regions[0];
    char *data = map(fd, PAGES * page());
    unsigned *word = (unsigned *)(void *)(data + own * page());
    unsigned written = 0;
    CHECK(ashmem_pin_region(fd, own * page(), page()) >= 0);
    *word = written;
    for (int i = 0; i < rounds; i++) {
        CHECK(ashmem_unpin_region(fd, own * page(), page()) == 0);
        if (i % 16 == (int)own)
            TRY(ashmem_purge(fd, NULL));
        int answer = ashmem_pin_region(fd, own * page(), page());
        CHECK(answer == ASHMEM_NOT_PURGED || answer == ASHMEM_WAS_PURGED);
        CHECK(*word == (answer == ASHMEM_WAS_PURGED ? 0 : written));
        *word = ++written;
    }
    CHECK(munmap(data, PAGES * page()) == 0);
    return NULL;
}

static void in_threads(void *body(void *))
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    rounds = atoi(arguments[1]);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < 1 << 16 ? limit.rlim_max : 1 << 16;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    first = (int)limit.rlim_cur - NUMBERS;
    never_short();
    for (int i = 0; i < NUMBERS; i++) {
        regions[i] = make_filled(PAGES);
        CHECK(dup2(regions[i], first + i) == first + i);
    }
    in_threads(work);
    short_lived();
    in_threads(keep);
    /* The numbers are as they should be. */
    for (int i = 0; i < NUMBERS; i++) {
        CHECK(dup2(regions[i], first + i) == first + i);
        CHECK(ashmem_pin_region(first + i, 0, 0) >= 0);
        CHECK(ashmem_get_pin_status(regions[i], 0, 0) == ASHMEM_IS_PINNED);
        CHECK(ashmem_pin_region(regions[i], 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(close(first + i) == 0);
        CHECK_FAILS(ashmem_pin_region(first + i, 0, 0), EBADF);
        CHECK(close(regions[i]) == 0);
    }
    return 0;
}
