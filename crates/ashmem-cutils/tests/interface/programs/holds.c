/* Leases and pin guards: no purge takes their pages, until they end. */
#define _GNU_SOURCE
#include "regions.h"

enum { PAGES = 8 };

/* Purges by both functions, and says which pages are gone, as a mask. */
static unsigned gone_after_purges(int fd)
{
    CHECK(ashmem_purge(fd, NULL) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    unsigned mask = 0;
    for (size_t i = 0; i < PAGES; i++) {
        bool gone = page_is(fd, i, 0);
        CHECK(gone || page_is(fd, i, (char)(i + 1)));
        mask |= (gone ? 1u : 0u) << i;
    }
    return mask;
}

static void leases(void)
{
    int fd = make_filled(PAGES);
    struct ashmem_lease *first, *second;
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_lease_take(fd, page(), 2 * page(), &first) == ASHMEM_NOT_PURGED && first != NULL);
    CHECK(ashmem_lease_take(fd, 2 * page(), 2 * page(), &second) == ASHMEM_NOT_PURGED && second != first);
    CHECK(ashmem_get_pin_status(fd, page(), 3 * page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_UNPINNED);
    /* Nobody takes them back. */
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(gone_after_purges(fd) == 0xf1);
    ashmem_lease_end(first);
    CHECK(gone_after_purges(fd) == 0xf3);
    /* The flags are as they were: what is gone is told by a pin. */
    CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_UNPINNED);
    struct ashmem_lease *late = NULL;
    CHECK(ashmem_lease_take(fd, 0, page(), &late) == ASHMEM_WAS_PURGED && late != NULL);
    ashmem_lease_end(late);
    CHECK(ashmem_lease_take(fd, 0, 0, &late) == ASHMEM_WAS_PURGED);
    ashmem_lease_end(late);
    CHECK(ashmem_pin_region(fd, 0, page()) == ASHMEM_WAS_PURGED);
    CHECK(ashmem_pin_region(fd, 2 * page(), 2 * page()) == ASHMEM_NOT_PURGED);
    ashmem_lease_end(second);
    ashmem_lease_end(NULL);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(gone_after_purges(fd) == 0xff);
    CHECK(close(fd) == 0);
}

/* They work where nothing may be written, and before anything was unpinned. */
static void leases_of_readers(void)
{
    int fd = make_filled(PAGES);
    int reader = ashmem_share_read_only(fd);
    CHECK(reader >= 0);
    struct ashmem_lease *early, *late;
    CHECK(ashmem_lease_take(reader, 0, page(), &early) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_lease_take(reader, 4 * page(), 0, &late) == ASHMEM_NOT_PURGED);
    CHECK(close(reader) == 0);
    CHECK((gone_after_purges(fd) & 0xf1) == 0);
    ashmem_lease_end(early);
    CHECK(gone_after_purges(fd) == 0x0f);
    ashmem_lease_end(late);
    CHECK(gone_after_purges(fd) == 0xff);
    CHECK(close(fd) == 0);
}

static void guards(void)
{
    int fd = make_filled(PAGES);
    struct ashmem_pin_guard *first = NULL, *second = NULL;
    CHECK(ashmem_pin_guard_take(fd, page(), 2 * page(), &first) == ASHMEM_NOT_PURGED && first != NULL);
    CHECK(ashmem_pin_guard_take(fd, 2 * page(), 2 * page(), &second) == ASHMEM_NOT_PURGED && second != NULL);
    CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_PINNED);
    CHECK(ashmem_unpin_region(fd, page(), 3 * page()) == 0);
    CHECK(gone_after_purges(fd) == 0);
    ashmem_pin_guard_end(first);
    /* Its pages may go from its end on, without an unpin. */
    CHECK(ashmem_get_pin_status(fd, page(), page()) == ASHMEM_IS_UNPINNED);
    CHECK(gone_after_purges(fd) == 0x02);
    ashmem_pin_guard_end(second);
    CHECK(gone_after_purges(fd) == 0x0e);
    CHECK(ashmem_pin_guard_take(fd, 0, 0, &first) == ASHMEM_WAS_PURGED);
    CHECK(ashmem_pin_guard_take(fd, 0, 0, &second) == ASHMEM_NOT_PURGED);
    ashmem_pin_guard_end(second);
    ashmem_pin_guard_end(NULL);
    CHECK(gone_after_purges(fd) == 0x0e);
    ashmem_pin_guard_end(first);
    CHECK(gone_after_purges(fd) == 0xff);
    CHECK(close(fd) == 0);
}

/* The descriptor is not needed. */
static void without_descriptor(void)
{
    int fd = make_filled(PAGES), other = renumber(dup(fd), 910);
    struct ashmem_lease *lease;
    struct ashmem_pin_guard *guard;
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_lease_take(other, 0, page(), &lease) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_pin_guard_take(other, page(), page(), &guard) == ASHMEM_NOT_PURGED);
    CHECK(close(other) == 0);
    CHECK(gone_after_purges(fd) == 0xfc);
    ashmem_pin_guard_end(guard);
    ashmem_lease_end(lease);
    CHECK(gone_after_purges(fd) == 0xff);
    CHECK(close(fd) == 0);
    /* Not even any descriptor of the program. */
    fd = make_filled(PAGES);
    char *data = map(fd, PAGES * page());
    CHECK(ashmem_pin_guard_take(fd, 0, 0, &guard) == ASHMEM_NOT_PURGED);
    CHECK(close(fd) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(data[0] == 1 && data[PAGES * page() - 1] == PAGES);
    ashmem_pin_guard_end(guard);
    CHECK(munmap(data, PAGES * page()) == 0);
}

/* Those of another process count as well; they end with it, and a child has none of its parent's. */
static void processes(void)
{
    int fd = make_filled(PAGES), ready[2], go[2];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    struct ashmem_lease *lease;
    struct ashmem_pin_guard *guard;
    CHECK(ashmem_lease_take(fd, 6 * page(), page(), &lease) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_pin_guard_take(fd, 7 * page(), page(), &guard) == ASHMEM_NOT_PURGED);
    if (in_child()) {
        char byte;
        /* Ending the parent's ends nothing. */
        ashmem_lease_end(lease);
        ashmem_pin_guard_end(guard);
        CHECK(ashmem_lease_take(fd, 0, page(), &lease) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_pin_guard_take(fd, page(), page(), &guard) == ASHMEM_NOT_PURGED);
        CHECK(write(ready[1], "r", 1) == 1);
        CHECK(close(go[1]) == 0 && read(go[0], &byte, 1) == 0);
        _exit(0);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(gone_after_purges(fd) == 0x3c);
    CHECK(close(go[1]) == 0);
    wait_for_children();
    CHECK(gone_after_purges(fd) == 0x3f);
    ashmem_lease_end(lease);
    CHECK(gone_after_purges(fd) == 0x7f);
    ashmem_pin_guard_end(guard);
    CHECK(gone_after_purges(fd) == 0xff);
    CHECK(close(go[0]) == 0 && close(ready[0]) == 0 && close(ready[1]) == 0 && close(fd) == 0);
}

int main(void)
{
    never_short();
    leases();
    leases_of_readers();
    guards();
    without_descriptor();
    processes();
    return 0;
}
