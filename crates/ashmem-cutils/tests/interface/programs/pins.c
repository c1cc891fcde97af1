/* Pins: of the whole, of parts, and of what is no range; what was purged is told once. */
#define _GNU_SOURCE
#include "regions.h"

/* The functions of both headers; the sizes are 64 bits in both. */
typedef int on_range(int fd, uint64_t offset, uint64_t len);
static int pin_region(int fd, uint64_t offset, uint64_t len)
{
    return ashmem_pin_region(fd, offset, len);
}
static int unpin_region(int fd, uint64_t offset, uint64_t len)
{
    return ashmem_unpin_region(fd, offset, len);
}
static struct {
    on_range *pin, *unpin;
} const WAYS[] = {{pin_region, unpin_region}, {ashmem_pin, ashmem_unpin}};
static on_range *pin, *unpin;

/* Which pages are unpinned, as a mask. */
static unsigned unpinned(int fd, size_t pages)
{
    unsigned mask = 0;
    for (size_t i = 0; i < pages; i++) {
        int status = ashmem_get_pin_status(fd, i * page(), page());
        CHECK(status == ASHMEM_IS_PINNED || status == ASHMEM_IS_UNPINNED);
        mask |= (status == ASHMEM_IS_UNPINNED ? 1u : 0u) << i;
    }
    CHECK(ashmem_get_pin_status(fd, 0, 0) == (mask ? ASHMEM_IS_UNPINNED : ASHMEM_IS_PINNED));
    return mask;
}

static uint64_t purge(int fd)
{
    uint64_t purged = 1;
    CHECK(ashmem_purge(fd, &purged) == 0);
    return purged / page();
}

static void whole(void)
{
    int fd = make_filled(8);
    CHECK(pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(purge(fd) == 0);
    CHECK(unpin(fd, 0, 0) == 0 && unpin(fd, 0, 0) == 0);
    CHECK(unpinned(fd, 8) == 0xff);
    CHECK(pin(fd, 0, 8 * page()) == ASHMEM_NOT_PURGED);
    CHECK(unpinned(fd, 8) == 0);
    CHECK(purge(fd) == 0);
    CHECK(unpin(fd, 0, 8 * page()) == 0);
    CHECK(purge(fd) == 8);
    CHECK(purge(fd) == 0);
    CHECK(pin(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    for (size_t i = 0; i < 8; i++)
        CHECK(page_is(fd, i, 0));
    CHECK(close(fd) == 0);
}

static void parts(void)
{
    int fd = make_filled(8);
    CHECK(unpin(fd, 2 * page(), 4 * page()) == 0);
    CHECK(unpinned(fd, 8) == 0x3c);
    CHECK(pin(fd, 3 * page(), page()) == ASHMEM_NOT_PURGED);
    CHECK(unpinned(fd, 8) == 0x34);
    CHECK(unpin(fd, 6 * page(), 0) == 0);
    CHECK(unpinned(fd, 8) == 0xf4);
    CHECK(purge(fd) == 5);
    CHECK(unpinned(fd, 8) == 0xf4);
    /* Pages that were never unpinned, and such as were pinned again, are as they were. */
    CHECK(pin(fd, 0, 2 * page()) == ASHMEM_NOT_PURGED);
    CHECK(pin(fd, 3 * page(), page()) == ASHMEM_NOT_PURGED);
    /* One page of many is enough. */
    CHECK(pin(fd, 0, 3 * page()) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 4 * page()) == ASHMEM_NOT_PURGED);
    CHECK(pin(fd, 4 * page(), page()) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 4 * page(), page()) == ASHMEM_NOT_PURGED);
    CHECK(pin(fd, 5 * page(), 0) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    const unsigned gone = 0xf4;
    for (size_t i = 0; i < 8; i++)
        CHECK(page_is(fd, i, gone >> i & 1 ? 0 : (char)(i + 1)));
    /* What is written after a pin stays. */
    char *data = map(fd, 8 * page());
    memset(data + 2 * page(), 'n', page());
    CHECK(munmap(data, 8 * page()) == 0);
    CHECK(unpin(fd, 7 * page(), page()) == 0 && purge(fd) == 1);
    CHECK(page_is(fd, 2, 'n'));
    /* Unpinned again without a look at it: it is still told. */
    CHECK(unpin(fd, 7 * page(), page()) == 0);
    CHECK(pin(fd, 7 * page(), page()) == ASHMEM_WAS_PURGED);
    CHECK(close(fd) == 0);
}

/* Purged and written without a pin: the pages were taken away all the same. */
static void reclaimed(void)
{
    int fd = make_filled(4), other = make_filled(4);
    CHECK(unpin(fd, page(), 2 * page()) == 0);
    CHECK(unpin(other, 0, 0) == 0);
    struct ashmem_freed freed = {0, 0};
    CHECK(ashmem_reclaim(1, &freed) == 0);
    /* Oldest first, and no more than is asked for. */
    CHECK(freed.pages == 2 && freed.bytes == 2 * page());
    CHECK(pin(other, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(pin(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(page_is(fd, 0, 1) && page_is(fd, 1, 0) && page_is(fd, 2, 0) && page_is(fd, 3, 4));
    CHECK(unpin(other, 0, 0) == 0);
    CHECK(unpin(fd, 3 * page(), 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, &freed) == 0);
    CHECK(freed.pages == 5 && freed.bytes == 5 * page());
    CHECK(ashmem_reclaim(UINT64_MAX, &freed) == 0);
    CHECK(freed.pages == 0 && freed.bytes == 0);
    CHECK(ashmem_reclaim(0, &freed) == 0 && freed.pages == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(pin(other, page(), page()) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(close(fd) == 0 && close(other) == 0);
}

/* The last page of 2.5: ranges may end at the size, or at the page's end. */
static void partial_page(void)
{
    const size_t size = 2 * page() + page() / 2;
    int fd = make_region(size);
    char *data = map(fd, size);
    memset(data, 'd', size);
    CHECK(unpin(fd, 2 * page(), page()) == 0);
    CHECK(unpinned(fd, 3) == 4);
    CHECK(pin(fd, 2 * page(), page() / 2) == ASHMEM_NOT_PURGED);
    CHECK(unpinned(fd, 3) == 0);
    CHECK(unpin(fd, 2 * page(), 0) == 0);
    CHECK(unpinned(fd, 3) == 4);
    CHECK(purge(fd) == 1);
    CHECK(data[2 * page() - 1] == 'd' && data[2 * page()] == 0 && data[size - 1] == 0);
    CHECK(pin(fd, 0, size) == ASHMEM_WAS_PURGED);
    CHECK(pin(fd, 0, 3 * page()) == ASHMEM_NOT_PURGED);
    CHECK_FAILS(pin(fd, 2 * page(), page() / 2 - 1), EINVAL);
    CHECK_FAILS(pin(fd, 2 * page(), page() / 2 + 1), EINVAL);
    CHECK_FAILS(pin(fd, 2 * page(), 2 * page()), EINVAL);
    CHECK_FAILS(pin(fd, 3 * page(), 0), EINVAL);
    CHECK_FAILS(pin(fd, size, 0), EINVAL);
    CHECK(munmap(data, size) == 0 && close(fd) == 0);

    fd = make_region(1);
    CHECK(unpin(fd, 0, 1) == 0 && unpin(fd, 0, page()) == 0 && unpin(fd, 0, 0) == 0);
    CHECK(unpinned(fd, 1) == 1);
    CHECK(purge(fd) == 1);
    CHECK(pin(fd, 0, 1) == ASHMEM_WAS_PURGED);
    CHECK(close(fd) == 0);
}

static void no_range(int fd, uint64_t offset, uint64_t len)
{
    CHECK_FAILS(pin(fd, offset, len), EINVAL);
    CHECK_FAILS(unpin(fd, offset, len), EINVAL);
    CHECK_FAILS(ashmem_get_pin_status(fd, offset, len), EINVAL);
    struct ashmem_lease *lease = (void *)1;
    CHECK_FAILS(ashmem_lease_take(fd, offset, len, &lease), EINVAL);
    CHECK(lease == (void *)1);
    struct ashmem_pin_guard *guard = (void *)1;
    CHECK_FAILS(ashmem_pin_guard_take(fd, offset, len, &guard), EINVAL);
    CHECK(guard == (void *)1);
}

static void no_ranges(bool with_pin_state)
{
    int fd = make_filled(4);
    if (with_pin_state)
        CHECK(unpin(fd, page(), page()) == 0);
    const uint64_t p = page(), most = UINT64_MAX;
    const uint64_t wrong[][2] = {
        {1, p},         {0, 1},           {0, p - 1},       {p, p + 1},      {p / 2, p / 2},     {4 * p, p},
        {4 * p, 0},     {5 * p, 0},       {0, 5 * p},       {3 * p, 2 * p},  {most, 0},          {0, most},
        {most, most},   {p, most - p},    {p, most - p + 1}, {p, 0 - 2 * p}, {0 - p, p},         {0 - p, 2 * p},
        {0 - p, 0},     {1UL << 63, 1UL << 63}, {1UL << 56, p}, {(1UL << 32) + p, p}, {0, (1UL << 32) + p},
        {1UL << 32, 0}, {1, 0},           {most - p + 1, p - 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        no_range(fd, wrong[i][0], wrong[i][1]);
    CHECK(unpinned(fd, 4) == (with_pin_state ? 2 : 0));
    CHECK(close(fd) == 0);
}

/* Most of it is never touched. */
static void large(void)
{
    const uint64_t size = 8UL << 30, far = (5UL << 30) + 3 * page();
    int fd = make_region(size);
    uint64_t answer;
    CHECK(ashmem_get_size(fd, &answer) == 0 && answer == size);
    char *data = map(fd, size);
    memset(data + far, 'f', page());
    memset(data + (far & UINT32_MAX), 'n', page());
    data[size - 1] = 'e';
    CHECK(unpin(fd, far, page()) == 0);
    CHECK(ashmem_get_pin_status(fd, far, page()) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_get_pin_status(fd, far & UINT32_MAX, page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(fd, far + page(), 0) == ASHMEM_IS_PINNED);
    CHECK(purge(fd) == 1);
    CHECK(data[far] == 0 && data[far & UINT32_MAX] == 'n' && data[size - 1] == 'e');
    CHECK(pin(fd, 0, far) == ASHMEM_NOT_PURGED);
    CHECK(pin(fd, far, page()) == ASHMEM_WAS_PURGED);
    /* A range that is itself longer than 4 GiB. */
    CHECK(unpin(fd, page(), far) == 0);
    CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(fd, 4UL << 30, page()) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_get_pin_status(fd, far + page(), page()) == ASHMEM_IS_PINNED);
    CHECK(pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(unpin(fd, far, 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(data[size - 1] == 0 && data[far & UINT32_MAX] == 'n');
    CHECK(pin(fd, size - page(), 0) == ASHMEM_WAS_PURGED);
    CHECK(munmap(data, size) == 0 && close(fd) == 0);
}

int main(void)
{
    never_short();
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        pin = WAYS[i].pin;
        unpin = WAYS[i].unpin;
        whole();
        parts();
        reclaimed();
        partial_page();
        no_ranges(false);
        no_ranges(true);
        large();
    }
    return 0;
}
