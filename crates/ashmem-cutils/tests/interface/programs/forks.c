/* Forks while other threads are in the middle of all calls: the children use everything without an exec. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "regions.h"

enum { NUMBER = 900, PAGES = 20, THREADS = 3 };

static int shared[2];
static atomic_bool stop;

static void *load(void *argument)
{
    const size_t own = (uintptr_t)argument;
    while (!atomic_load(&stop)) {
        int fd = make_filled(3);
        CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
        CHECK(ashmem_pin_region(fd, 0, 0) >= 0);
        CHECK(ashmem_unpin_region(shared[own % 2], own * page(), page()) == 0);
        CHECK(ashmem_pin_region(shared[own % 2], own * page(), page()) >= 0);
        CHECK(ashmem_purge(shared[own % 2], NULL) == 0 || errno == EBUSY);
        struct ashmem_lease *lease;
        CHECK(ashmem_lease_take(fd, 0, page(), &lease) == ASHMEM_NOT_PURGED);
        ashmem_lease_end(lease);
        CHECK(ashmem_reclaim(page(), NULL) == 0);
        CHECK(close(fd) == 0);
    }
    return NULL;
}

/* Not what the threads of the parent pin and unpin meanwhile. */
static void child(int round)
{
    const size_t own = 10 + (size_t)round % 8;
    CHECK(ashmem_unpin_region(shared[0], own * page(), page()) == 0);
    CHECK(ashmem_pin_region(shared[0], own * page(), page()) >= 0);
    int fd = make_filled(3);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_purge(fd, NULL) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(dup2(fd, NUMBER) == NUMBER && ashmem_unpin_region(NUMBER, 0, 0) == 0);
    CHECK(close(fd) == 0 && ashmem_pin_region(NUMBER, 0, 0) == ASHMEM_NOT_PURGED);
    struct ashmem_pin_guard *guard;
    CHECK(ashmem_pin_guard_take(NUMBER, 0, 0, &guard) == ASHMEM_NOT_PURGED);
    ashmem_pin_guard_end(guard);
    struct ashmem_freed freed;
    CHECK(ashmem_reclaim(UINT64_MAX, &freed) == 0);
    CHECK(close(NUMBER) == 0 && close(shared[1]) == 0);
    CHECK_FAILS(ashmem_pin_region(shared[1], 0, 0), EBADF);
    /* And a child of the child. */
    if (round % 10 == 0) {
        if (in_child()) {
            CHECK(ashmem_unpin_region(shared[0], own * page(), page()) == 0);
            CHECK(ashmem_pin_region(shared[0], own * page(), page()) >= 0);
            _exit(0);
        }
        wait_for_children();
    }
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    const int rounds = atoi(arguments[1]);
    never_short();
    for (int i = 0; i < 2; i++) {
        shared[i] = renumber(make_filled(PAGES), NUMBER + 50 + i);
        CHECK(ashmem_unpin_region(shared[i], 5 * page(), page()) == 0);
    }
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, load, (void *)i) == 0);
    for (int round = 0; round < rounds; round++) {
        if (in_child()) {
            child(round);
            /* With the destructors of libraries, now and then. */
            if (round % 5 == 0)
                exit(0);
            _exit(0);
        }
        if (round % 4 == 3)
            wait_for_children();
    }
    wait_for_children();
    atomic_store(&stop, true);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(ashmem_pin_region(shared[i], 0, 0) >= 0 && close(shared[i]) == 0);
    return 0;
}
