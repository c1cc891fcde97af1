/* No descriptor left, and no /proc. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/stat.h>

#include "regions.h"

/* The library's thread opens files now and then, and closes them. It ends when nothing is unpinned any more. */
static void be_alone(void)
{
    struct stat tasks;
    for (int tries = 0; tries == 0 || tasks.st_nlink > 3; tries++) {
        CHECK(tries < 30000);
        usleep(1000);
        /* As many as there are threads, and the two of any directory. */
        CHECK(stat("/proc/self/task", &tasks) == 0);
    }
}

static void no_descriptor_left(void)
{
    int known = make_filled(4), unknown = make_filled(4);
    CHECK(ashmem_unpin_region(known, 0, 0) == 0);
    CHECK(ashmem_pin_region(known, 0, 0) == ASHMEM_NOT_PURGED);
    be_alone();
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 512;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1;
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;)
        last = fd;
    CHECK(errno == EMFILE && last > 0);
    for (int round = 0; round < 2; round++) {
        CHECK_FAILS(ashmem_create_region("none left", page()), EMFILE);
        CHECK_FAILS(ashmem_create("none left", page(), ASHMEM_PURGEABLE), EMFILE);
        CHECK_FAILS(ashmem_share_read_only(known), EMFILE);
        CHECK_FAILS(ashmem_unpin_region(unknown, 0, 0), EMFILE);
        CHECK_FAILS(ashmem_pin_region(unknown, 0, 0), EMFILE);
        /* What needs none. */
        CHECK(ashmem_pin_region(known, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_unpin_region(known, page(), 0) == 0);
        CHECK(ashmem_pin_region(known, page(), page()) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_get_pin_status(known, 0, 0) == ASHMEM_IS_UNPINNED);
        CHECK(ashmem_valid(known) == 1 && ashmem_valid(unknown) == 1);
        CHECK(ashmem_get_size_region(unknown) == (int)(4 * page()));
        CHECK_FAILS(ashmem_pin_region(-1, 0, 0), EBADF);
    }
    /* One is enough for a new region, whose pins need another. */
    CHECK(close(last) == 0);
    int fd = ashmem_create_region("one left", page());
    CHECK(fd >= 0);
    CHECK_FAILS(ashmem_unpin_region(fd, 0, 0), EMFILE);
    CHECK(close(fd) == 0);
    CHECK(ashmem_pin_region(unknown, 0, 0) == ASHMEM_NOT_PURGED);
    for (int closed = 3; closed < 512; closed++)
        CHECK(closed == known || closed == unknown || (fcntl(closed, F_GETFL) & O_ACCMODE) != O_RDONLY || close(closed) == 0);
    CHECK(ashmem_purge(known, NULL) == 0);
    CHECK(ashmem_pin_region(known, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(ashmem_unpin_region(unknown, 0, 0) == 0);
    CHECK(close(known) == 0 && close(unknown) == 0);
}

/* Before: when the library has been used already. */
static void no_proc(const char *empty, bool before)
{
    int fd = make_filled(4), other = make_filled(4);
    if (before)
        CHECK(ashmem_unpin_region(fd, 0, page()) == 0);
    CHECK(chroot(empty) == 0 && chdir("/") == 0);
    CHECK(access("/proc/self", F_OK) == -1);
    for (int round = 0; round < 2; round++) {
        CHECK(ashmem_valid(fd) == 1 && ashmem_get_size_region(fd) == (int)(4 * page()));
        CHECK(ashmem_unpin_region(fd, 0, 2 * page()) == 0);
        CHECK(ashmem_pin_region(fd, page(), page()) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_UNPINNED);
        struct ashmem_stats stats;
        CHECK(ashmem_get_stats(fd, &stats) == 0 && stats.unpinned_pages == 1);
        uint64_t id;
        CHECK(ashmem_get_file_id(fd, &id) == 0 && ashmem_get_prot(fd) == 7);
        char name[10];
        CHECK_FAILS(ashmem_get_name(fd, name, sizeof name), ENOENT);
        CHECK_FAILS(ashmem_share_read_only(fd), ENOENT);
        struct ashmem_lease *lease;
        struct ashmem_pin_guard *guard;
        CHECK_FAILS(ashmem_lease_take(fd, 0, page(), &lease), ENOENT);
        CHECK_FAILS(ashmem_pin_guard_take(fd, 0, page(), &guard), ENOENT);
        /* Nothing is purged, which is no failure of the one that does it for all regions. */
        CHECK_FAILS(ashmem_purge(fd, NULL), ENOENT);
        CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
        CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(page_is(fd, 0, 1));
        CHECK(ashmem_set_prot_region(other, PROT_READ) == 0 && ashmem_get_prot(other) == PROT_READ);
        int made = ashmem_create("made", page(), ASHMEM_PURGEABLE | ASHMEM_POPULATE);
        CHECK(made >= 0 && ashmem_unpin_region(made, 0, 0) == 0);
        CHECK(ashmem_pin_region(made, 0, 0) == ASHMEM_NOT_PURGED && close(made) == 0);
    }
    CHECK(close(fd) == 0 && close(other) == 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    never_short();
    no_descriptor_left();
    if (arguments[1][0] == '/')
        for (int before = 0; before < 2; before++) {
            if (in_child()) {
                no_proc(arguments[1], before);
                _exit(0);
            }
            wait_for_children();
        }
    return 0;
}
