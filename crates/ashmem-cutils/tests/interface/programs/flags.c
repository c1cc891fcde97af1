/* ashmem_create, and what can be asked of a region. */
#define _GNU_SOURCE
#include <sys/stat.h>

#include "regions.h"

static uint64_t resident(int fd)
{
    struct ashmem_stats stats;
    CHECK(ashmem_get_stats(fd, &stats) == 0);
    return stats.resident_bytes;
}

static void flags(void)
{
    const size_t size = 4 * page();
    const unsigned unknown[] = {16, 1u << 31, UINT_MAX, ASHMEM_POPULATE | 32,
                                ASHMEM_PURGEABLE | ASHMEM_NEVER_PURGEABLE, 15};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK_FAILS(ashmem_create("flags", size, unknown[i]), EINVAL);
    for (unsigned flags = 0; flags < 16; flags++) {
        bool purgeable = flags & ASHMEM_PURGEABLE, never = flags & ASHMEM_NEVER_PURGEABLE;
        if (purgeable && never)
            continue;
        int fd = ashmem_create("flags", size, flags);
        CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
        CHECK(ashmem_valid(fd) == 1 && ashmem_get_size_region(fd) == (int)size);
        CHECK(ashmem_get_prot(fd) == (PROT_READ | PROT_WRITE | PROT_EXEC));
        CHECK(resident(fd) == (flags & ASHMEM_POPULATE ? size : 0));
        CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(page_is(fd, 3, 0));
        bool sealed = flags & ASHMEM_NO_FURTHER_SEALS;
        if (purgeable || never)
            CHECK_FAILS(ftruncate(fd, (off_t)(100 * size)), EPERM);
        if (never || (sealed && !purgeable)) {
            CHECK_FAILS(ashmem_unpin_region(fd, 0, 0), EPERM);
            CHECK_FAILS(ashmem_unpin_region(fd, 0, page()), EPERM);
            struct ashmem_pin_guard *guard;
            CHECK_FAILS(ashmem_pin_guard_take(fd, 0, 0, &guard), EPERM);
            uint64_t purged = 1;
            CHECK(ashmem_purge(fd, &purged) == 0 && purged == 0);
        } else {
            CHECK(ashmem_unpin_region(fd, page(), page()) == 0);
            CHECK(ashmem_purge(fd, NULL) == 0);
            CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
        }
        if (sealed) {
            CHECK_FAILS(ashmem_set_prot_region(fd, PROT_READ | PROT_EXEC), EPERM);
            CHECK(ashmem_get_prot(fd) & PROT_WRITE);
            char *data = map(fd, size);
            CHECK(munmap(data, size) == 0);
        } else {
            CHECK(ashmem_set_prot_region(fd, PROT_READ | PROT_EXEC) == 0);
            CHECK(ashmem_get_prot(fd) == (PROT_READ | PROT_EXEC));
        }
        CHECK(close(fd) == 0);
    }
}

/* More than 1 TiB cannot be unpinned. */
static void too_large(void)
{
    const uint64_t most = 1UL << 40;
    CHECK_FAILS(ashmem_create("large", most + page(), ASHMEM_PURGEABLE), EPERM);
    int fd = ashmem_create("large", most + page(), 0);
    CHECK(fd >= 0);
    CHECK_FAILS(ashmem_unpin(fd, 0, 0), EPERM);
    CHECK_FAILS(ashmem_unpin(fd, 0, page()), EPERM);
    CHECK(ashmem_pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    uint64_t size;
    CHECK(ashmem_get_size(fd, &size) == 0 && size == most + page());
    CHECK(close(fd) == 0);
    fd = ashmem_create("large", most, ASHMEM_PURGEABLE);
    CHECK(fd >= 0);
    CHECK(ashmem_unpin(fd, most - page(), page()) == 0);
    CHECK(ashmem_get_pin_status(fd, most - page(), 0) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_PINNED);
    CHECK(close(fd) == 0);
}

static void names(void)
{
    int fd = ashmem_create("seven b", 1, 0);
    char name[300];
    CHECK(ashmem_get_name(fd, NULL, 0) == 7);
    for (size_t capacity = 0; capacity < sizeof name; capacity++) {
        memset(name, '?', sizeof name);
        CHECK(ashmem_get_name(fd, name, capacity) == 7);
        size_t kept = capacity == 0 ? 0 : capacity - 1 < 7 ? capacity - 1 : 7;
        CHECK(memcmp(name, "seven b", kept) == 0);
        CHECK(capacity == 0 || name[kept] == 0);
        CHECK(name[capacity == 0 ? 0 : kept + 1] == '?');
    }
    for (size_t capacity = 1; capacity < 9; capacity++)
        CHECK_FAILS(ashmem_get_name(fd, NULL, capacity), EINVAL);
    /* Also through descriptors of others. */
    int reader = ashmem_share_read_only(fd);
    CHECK(ashmem_get_name(reader, name, sizeof name) == 7 && strcmp(name, "seven b") == 0);
    CHECK(close(reader) == 0 && close(fd) == 0);
    memset(name, 'x', 260);
    name[260] = 0;
    fd = ashmem_create(name, 1, 0);
    char kept[300];
    CHECK(ashmem_get_name(fd, kept, sizeof kept) == 249);
    CHECK(strlen(kept) == 249 && memcmp(name, kept, 249) == 0);
    CHECK(close(fd) == 0);
    const char *const odd[] = {"", " (deleted)", "/memfd:", "a\nb", "\xff\xfe", "x (deleted)", NULL};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        const char *expected = odd[i] ? odd[i] : "none";
        fd = ashmem_create(odd[i], 1, 0);
        CHECK(ashmem_get_name(fd, kept, sizeof kept) == (int)strlen(expected) && strcmp(kept, expected) == 0);
        CHECK(close(fd) == 0);
    }
}

static void identity(void)
{
    int fd = make_filled(1), other = make_filled(1);
    int duplicate = dup(fd), reader = ashmem_share_read_only(fd);
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    const int same[] = {fd, duplicate, reader};
    uint64_t id;
    for (size_t i = 0; i < 3; i++)
        CHECK(ashmem_get_file_id(same[i], &id) == 0 && id == status.st_ino);
    CHECK(ashmem_get_file_id(other, &id) == 0 && id != status.st_ino);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_get_file_id(fd, &id) == 0 && id == status.st_ino);
    CHECK_FAILS(ashmem_get_file_id(fd, NULL), EINVAL);
    CHECK_FAILS(ashmem_get_size(fd, NULL), EINVAL);
    CHECK_FAILS(ashmem_get_stats(fd, NULL), EINVAL);
    CHECK_FAILS(ashmem_lease_take(fd, 0, 0, NULL), EINVAL);
    CHECK_FAILS(ashmem_pin_guard_take(fd, 0, 0, NULL), EINVAL);
    CHECK_FAILS(ashmem_get_metrics(NULL), EINVAL);
    CHECK(close(fd) == 0 && close(other) == 0 && close(duplicate) == 0 && close(reader) == 0);
}

static void counted(int fd, uint64_t pinned, uint64_t unpinned, uint64_t purged, uint64_t pages)
{
    struct ashmem_stats stats;
    CHECK(ashmem_get_stats(fd, &stats) == 0);
    CHECK(stats.pinned_pages == pinned && stats.unpinned_pages == unpinned && stats.purged_pages == purged);
    CHECK(stats.resident_bytes == pages * page());
}

static void stats(void)
{
    never_short();
    int fd = make_region(40 * page());
    counted(fd, 40, 0, 0, 0);
    char *data = map(fd, 40 * page());
    CHECK(madvise(data, 40 * page(), MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    memset(data, 'd', 30 * page());
    counted(fd, 40, 0, 0, 30);
    CHECK(ashmem_unpin_region(fd, 5 * page(), 10 * page()) == 0);
    int reader = ashmem_share_read_only(fd);
    counted(fd, 30, 10, 0, 30);
    counted(reader, 30, 10, 0, 30);
    CHECK(ashmem_purge(fd, NULL) == 0);
    counted(fd, 30, 0, 10, 20);
    CHECK(ashmem_unpin_region(fd, 0, 5 * page()) == 0);
    counted(fd, 25, 5, 10, 20);
    CHECK(ashmem_pin_region(fd, 5 * page(), 2 * page()) == ASHMEM_WAS_PURGED);
    counted(reader, 27, 5, 8, 20);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    counted(fd, 40, 0, 0, 20);
    CHECK(munmap(data, 40 * page()) == 0 && close(fd) == 0);
    counted(reader, 40, 0, 0, 20);
    CHECK(close(reader) == 0);
}

int main(void)
{
    flags();
    too_large();
    names();
    identity();
    stats();
    return 0;
}
