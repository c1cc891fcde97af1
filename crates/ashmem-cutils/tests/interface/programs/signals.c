/* A storm of signals, which break off system calls, and whose handler pins and unpins. */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "regions.h"

enum { PAGES = 24 };

static int warm;
static volatile sig_atomic_t handled, failed;

/* One page of the region stays unpinned, so that its reclaimer keeps watching it. */
static void on_signal(int number)
{
    (void)number;
    int before = errno;
    handled++;
    if (ashmem_pin_region(warm, 0, page()) != ASHMEM_NOT_PURGED || ashmem_unpin_region(warm, 0, page()) != 0)
        failed = __LINE__;
    if (ashmem_pin_region(warm, 2 * page(), 3 * page()) != ASHMEM_NOT_PURGED)
        failed = __LINE__;
    if (ashmem_unpin_region(warm, 2 * page(), 3 * page()) != 0 || errno != before)
        failed = __LINE__;
    errno = before;
}

/* The long way of everything; nothing fails. */
static void one_round(void)
{
    int fd = make_filled(PAGES);
    CHECK(ashmem_unpin_region(fd, page(), 4 * page()) == 0);
    CHECK(ashmem_pin_region(fd, page(), page()) == ASHMEM_NOT_PURGED);
    uint64_t purged;
    CHECK(ashmem_purge(fd, &purged) == 0 && purged == 3 * page());
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    int reader = ashmem_share_read_only(fd);
    CHECK(reader >= 0 && ashmem_valid(reader) == 1);
    struct ashmem_lease *lease, *locked;
    struct ashmem_pin_guard *guard;
    CHECK(ashmem_lease_take(fd, 0, 2 * page(), &lease) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_lease_take(reader, page(), 2 * page(), &locked) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_pin_guard_take(fd, 4 * page(), page(), &guard) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_purge(fd, &purged) == 0 && purged == (PAGES - 4) * page());
    ashmem_pin_guard_end(guard);
    ashmem_lease_end(locked);
    ashmem_lease_end(lease);
    struct ashmem_stats stats;
    CHECK(ashmem_get_stats(fd, &stats) == 0 && stats.purged_pages == PAGES - 4);
    char name[10];
    CHECK(ashmem_get_name(reader, name, sizeof name) == 7);
    CHECK(ashmem_get_prot(fd) == 7 && ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_UNPINNED);
    CHECK(dup2(fd, 900) == 900 && ashmem_pin_region(900, 0, page()) == ASHMEM_NOT_PURGED && close(900) == 0);
    CHECK(ashmem_set_prot_region(fd, PROT_READ | PROT_EXEC) == 0);
    CHECK(close(reader) == 0 && close(fd) == 0);
    fd = ashmem_create("populated", 64 * page(), ASHMEM_PURGEABLE | ASHMEM_POPULATE);
    CHECK(fd >= 0 && ashmem_unpin_region(fd, 0, 0) == 0 && ashmem_purge(fd, NULL) == 0 && close(fd) == 0);
}

/* Gets signals as well. */
static void *pin_and_unpin(void *nothing)
{
    for (int i = 0; i < 20000; i++) {
        CHECK(ashmem_unpin_region(warm, 10 * page(), 10 * page()) == 0);
        CHECK(ashmem_pin_region(warm, 10 * page(), 10 * page()) == ASHMEM_NOT_PURGED);
    }
    return nothing;
}

int main(int count, char **arguments)
{
    /* How often a second, and until how many came. */
    CHECK(count == 3);
    const int frequency = atoi(arguments[1]), enough = atoi(arguments[2]);
    never_short();
    warm = make_filled(PAGES);
    CHECK(ashmem_unpin_region(warm, 0, 5 * page()) == 0);
    CHECK(ashmem_pin_region(warm, 2 * page(), page()) == ASHMEM_NOT_PURGED);
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec often = {{0, 1000000000 / frequency}, {0, 1000000000 / frequency}}, never = {{0, 0}, {0, 0}};
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, pin_and_unpin, NULL) == 0);
    while (handled < enough && !failed)
        one_round();
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(timer_settime(timer, 0, &never, NULL) == 0);
    if (failed) {
        fprintf(stderr, "signals.c:%d: failed in the handler\n", (int)failed);
        return 1;
    }
    CHECK(ashmem_pin_region(warm, 0, 0) == ASHMEM_NOT_PURGED);
    for (size_t i = 0; i < PAGES; i++)
        CHECK(page_is(warm, i, (char)(i + 1)));
    CHECK(close(warm) == 0);
    return 0;
}
