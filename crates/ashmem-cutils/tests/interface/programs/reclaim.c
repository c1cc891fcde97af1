/* The process's reclaimer: its budget, what it counts, and who is told. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "regions.h"

static struct ashmem_metrics metrics(void)
{
    struct ashmem_metrics answer;
    memset(&answer, 0xff, sizeof answer);
    CHECK(ashmem_get_metrics(&answer) == 0);
    return answer;
}

static uint64_t resident(int fd)
{
    struct ashmem_stats stats;
    CHECK(ashmem_get_stats(fd, &stats) == 0);
    return stats.resident_bytes;
}

/* What a callback was told. */
struct told {
    int calls;
    struct ashmem_purge_event last;
    uint64_t pages;
    bool fd_is_region;
    int pinned;
    pthread_t thread;
    ashmem_purge_listener **to_remove;
};

static void note(const struct ashmem_purge_event *event, void *data)
{
    struct told *told = data;
    told->calls++;
    told->last = *event;
    told->thread = pthread_self();
    uint64_t id = 0;
    told->fd_is_region = ashmem_valid(event->fd) == 1 && ashmem_get_file_id(event->fd, &id) == 0 && id == event->file_id;
    if (told->to_remove) {
        ashmem_remove_listener(*told->to_remove);
        told->to_remove = NULL;
    }
    /* Last, for who waits for it. */
    __atomic_add_fetch(&told->pages, event->len / page(), __ATOMIC_RELEASE);
}

static void callbacks(void)
{
    errno = 0;
    CHECK(ashmem_on_purge(NULL, NULL) == NULL && errno == EINVAL);
    ashmem_remove_listener(NULL);
    struct told told = {0}, other = {0};
    ashmem_purge_listener *listener = ashmem_on_purge(note, &told), *second = ashmem_on_purge(note, &other);
    CHECK(listener != NULL && second != NULL);
    int fd = make_filled(8);
    uint64_t id;
    CHECK(ashmem_get_file_id(fd, &id) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 0);
    CHECK(ashmem_unpin_region(fd, 3 * page(), 2 * page()) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 1 && other.calls == 1 && told.fd_is_region);
    CHECK(told.last.file_id == id && told.last.offset == 3 * page() && told.last.len == 2 * page());
    CHECK(told.last.freed == 2 * page());
    CHECK(pthread_equal(told.thread, pthread_self()));
    /* A purge by hand is none of the reclaimer's. */
    CHECK(ashmem_unpin_region(fd, 0, page()) == 0 && ashmem_purge(fd, NULL) == 0);
    CHECK(told.calls == 1);
    /* Two runs of pages. */
    CHECK(ashmem_unpin_region(fd, 1 * page(), page()) == 0 && ashmem_unpin_region(fd, 6 * page(), 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 3 && told.pages == 5 && told.last.offset == 6 * page());
    /* Removed: the other one is still called. */
    ashmem_remove_listener(listener);
    CHECK(ashmem_unpin_region(fd, 5 * page(), page()) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 3 && other.calls == 4);
    /* Removed by itself. */
    listener = ashmem_on_purge(note, &told);
    told.to_remove = &listener;
    CHECK(ashmem_unpin_region(fd, 2 * page(), page()) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 4 && told.to_remove == NULL && other.calls == 5);
    int refilled = make_filled(2);
    CHECK(ashmem_unpin_region(refilled, 0, 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 4 && other.calls == 6 && other.last.offset == 0 && other.last.len == 2 * page());
    /* By the other one, which is called first. */
    ashmem_purge_listener *victim = ashmem_on_purge(note, &told);
    other.to_remove = &victim;
    CHECK(ashmem_unpin_region(fd, 7 * page(), page()) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED && ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls == 4);
    ashmem_remove_listener(second);
    CHECK(close(fd) == 0 && close(refilled) == 0);
}

/* All of the interface may be used in a callback. */
static void use_everything(const struct ashmem_purge_event *event, void *data)
{
    struct told *told = data;
    told->calls++;
    told->pinned = ashmem_pin(event->fd, event->offset, event->len);
    CHECK(ashmem_unpin(event->fd, event->offset, event->len) == 0);
    struct ashmem_lease *lease;
    CHECK(ashmem_lease_take(event->fd, 0, 0, &lease) >= 0);
    ashmem_lease_end(lease);
    struct ashmem_pin_guard *guard;
    CHECK(ashmem_pin_guard_take(event->fd, 0, 0, &guard) >= 0);
    ashmem_pin_guard_end(guard);
    int fd = make_filled(1);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0 && ashmem_purge(fd, NULL) == 0 && close(fd) == 0);
    CHECK(metrics().purges >= 1);
    never_short();
    int reader = ashmem_share_read_only(event->fd);
    char name[8];
    CHECK(reader >= 0 && ashmem_get_name(reader, name, sizeof name) == 7 && close(reader) == 0);
    ashmem_purge_listener *listener = ashmem_on_purge(note, data);
    CHECK(listener != NULL);
    ashmem_remove_listener(listener);
    if (told->calls == 1)
        CHECK(ashmem_reclaim(0, NULL) == 0);
}

static void in_callbacks(void)
{
    struct told told = {.pinned = -1};
    ashmem_purge_listener *listener = ashmem_on_purge(use_everything, &told);
    int fd = make_filled(4);
    CHECK(ashmem_unpin_region(fd, page(), page()) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(told.calls >= 1 && told.pinned == ASHMEM_WAS_PURGED);
    ashmem_remove_listener(listener);
    /* It was unpinned through a descriptor of the library's. */
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(close(fd) == 0);
}

static atomic_bool entered, removing, left;

static void stay(const struct ashmem_purge_event *event, void *data)
{
    (void)event;
    (void)data;
    entered = true;
    while (!removing)
        usleep(1000);
    /* Long enough for a removal that does not wait to be over. */
    usleep(50000);
    left = true;
}

static void *reclaim_all(void *nothing)
{
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    return nothing;
}

/* A removal waits for the calls in other threads. */
static void removed_during_a_call(void)
{
    ashmem_purge_listener *listener = ashmem_on_purge(stay, NULL);
    int fd = make_filled(1);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reclaim_all, NULL) == 0);
    while (!entered)
        usleep(1000);
    removing = true;
    ashmem_remove_listener(listener);
    CHECK(left);
    CHECK(pthread_join(thread, NULL) == 0 && close(fd) == 0);
}

static void counts(void)
{
    struct ashmem_metrics before = metrics();
    int fd = make_filled(8);
    CHECK(ashmem_unpin_region(fd, 0, 5 * page()) == 0);
    struct ashmem_freed freed;
    CHECK(ashmem_reclaim(UINT64_MAX, &freed) == 0 && freed.pages == 5);
    struct ashmem_metrics after = metrics();
    CHECK(after.purges == before.purges + 1 && after.purged_pages == before.purged_pages + 5);
    CHECK(after.freed_bytes == before.freed_bytes + 5 * page());
    CHECK(after.failures == before.failures && after.over_budget == before.over_budget);
    CHECK(after.looks >= before.looks);
    CHECK(close(fd) == 0);
}

/* A budget is kept to, the oldest pages going first; the thread that does it is called, too. */
static void budget(void)
{
    enum { PAGES = 64, KEPT = 16 };
    struct told told = {0};
    ashmem_purge_listener *listener = ashmem_on_purge(note, &told);
    uint64_t over_budget = metrics().over_budget;
    struct ashmem_policy policy = {KEPT * page(), 0, 0, ASHMEM_DEFAULT};
    CHECK(ashmem_set_policy(&policy) == 0);
    int old = make_filled(PAGES), young = make_filled(KEPT / 2), pinned = make_filled(PAGES);
    CHECK(ashmem_unpin_region(old, 0, 0) == 0);
    CHECK(ashmem_unpin_region(young, 0, 0) == 0);
    for (int tries = 0; resident(old) + resident(young) > KEPT * page(); tries++) {
        CHECK(tries < 30000);
        usleep(1000);
    }
    CHECK(resident(old) == 0 && resident(young) == KEPT / 2 * page() && resident(pinned) == PAGES * page());
    CHECK(ashmem_pin_region(old, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(ashmem_pin_region(young, 0, 0) == ASHMEM_NOT_PURGED);
    /* Who purges tells of it afterwards. */
    for (int tries = 0; __atomic_load_n(&told.pages, __ATOMIC_ACQUIRE) < PAGES; tries++) {
        CHECK(tries < 30000);
        usleep(1000);
    }
    /* No call is under way after this. */
    ashmem_remove_listener(listener);
    CHECK(told.calls >= 1 && told.pages == PAGES && !pthread_equal(told.thread, pthread_self()));
    CHECK(metrics().over_budget > over_budget && metrics().looks > 0);
    /* Without one, and with the default, which is none. */
    never_short();
    CHECK(ashmem_unpin_region(pinned, 0, 0) == 0);
    const uint64_t looks = metrics().looks;
    for (int tries = 0; metrics().looks < looks + 2; tries++) {
        CHECK(tries < 30000);
        usleep(1000);
    }
    CHECK(ashmem_pin_region(pinned, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_set_policy(NULL) == 0);
    policy = (struct ashmem_policy){ASHMEM_DEFAULT, ASHMEM_DEFAULT, ASHMEM_DEFAULT, ASHMEM_DEFAULT};
    CHECK(ashmem_set_policy(&policy) == 0);
    policy = (struct ashmem_policy){0, 0, 0, 0};
    CHECK(ashmem_set_policy(&policy) == 0);
    /* Nothing unpinned may be in memory. */
    CHECK(ashmem_unpin_region(pinned, 0, 0) == 0);
    for (int tries = 0; resident(pinned) > 0; tries++) {
        CHECK(tries < 30000);
        usleep(1000);
    }
    never_short();
    CHECK(close(old) == 0 && close(young) == 0 && close(pinned) == 0);
}

int main(void)
{
    never_short();
    callbacks();
    in_callbacks();
    removed_during_a_call();
    counts();
    budget();
    return 0;
}
