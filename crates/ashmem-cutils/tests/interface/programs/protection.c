/* The protection mask: bits only go, for everybody and for good. */
#define _GNU_SOURCE
#include <android/sharedmem.h>

#include "regions.h"

enum { READ = PROT_READ, WRITE = PROT_WRITE, EXEC = PROT_EXEC };

/* Both functions do the same. */
typedef int set_protection(int fd, int prot);
static set_protection *const SET[] = {ashmem_set_prot_region, ASharedMemory_setProt};

/* No writable mapping is to be had, by whatever means. */
static void cannot_be_written(int fd)
{
    CHECK(mmap(NULL, page(), READ | WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(errno == EPERM);
    CHECK(mmap(NULL, page(), WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    char *data = mmap(NULL, page(), READ, MAP_SHARED, fd, 0);
    CHECK(data != MAP_FAILED);
    CHECK_FAILS(mprotect(data, page(), READ | WRITE), EACCES);
    CHECK_FAILS(mprotect(data, page(), WRITE), EACCES);
    CHECK(munmap(data, page()) == 0);
    CHECK_FAILS(write(fd, "x", 1), EPERM);
    CHECK_FAILS(pwrite(fd, "x", 1, 0), EPERM);
}

static void bits_only_go(set_protection *set)
{
    int fd = make_filled(2);
    CHECK(ashmem_get_prot(fd) == (READ | WRITE | EXEC));
    CHECK(set(fd, READ | WRITE | EXEC) == 0);
    CHECK(set(fd, READ | WRITE) == 0);
    CHECK(ashmem_get_prot(fd) == (READ | WRITE));
    CHECK(set(fd, READ | WRITE) == 0);
    CHECK_FAILS(set(fd, READ | WRITE | EXEC), EINVAL);
    CHECK_FAILS(set(fd, READ | EXEC), EINVAL);
    char *data = map(fd, page());
    CHECK(munmap(data, page()) == 0);
    CHECK(set(fd, READ) == 0);
    CHECK(set(fd, READ) == 0);
    CHECK_FAILS(set(fd, READ | WRITE), EINVAL);
    CHECK_FAILS(set(fd, WRITE), EINVAL);
    CHECK(ashmem_get_prot(fd) == READ);
    cannot_be_written(fd);
    CHECK(set(fd, PROT_NONE) == 0);
    CHECK_FAILS(set(fd, READ), EINVAL);
    CHECK_FAILS(set(fd, WRITE), EINVAL);
    CHECK_FAILS(set(fd, EXEC), EINVAL);
    CHECK(set(fd, PROT_NONE) == 0);
    CHECK(ashmem_get_prot(fd) == PROT_NONE);
    CHECK(ASharedMemory_getSize(fd) == 2 * page());
    CHECK(close(fd) == 0);

    fd = make_filled(1);
    CHECK(set(fd, PROT_NONE) == 0);
    CHECK_FAILS(set(fd, READ), EINVAL);
    cannot_be_written(fd);
    CHECK(close(fd) == 0);

    fd = make_filled(1);
    CHECK(set(fd, WRITE) == 0);
    CHECK(ashmem_get_prot(fd) == WRITE);
    data = map(fd, page());
    CHECK(munmap(data, page()) == 0);
    CHECK(close(fd) == 0);
}

static void unknown_bits(set_protection *set)
{
    int fd = make_filled(1);
    const int wrong[] = {-1, INT_MIN, INT_MAX, 8, READ | 8, PROT_GROWSDOWN, 7 | 1 << 30, -8, ~7};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_FAILS(set(fd, wrong[i]), EINVAL);
    CHECK(ashmem_get_prot(fd) == (READ | WRITE | EXEC));
    CHECK(close(fd) == 0);
}

static void older_mappings(set_protection *set)
{
    int fd = make_filled(1);
    char *data = map(fd, page());
    CHECK(set(fd, READ) == 0);
    data[0] = 'o';
    CHECK(mprotect(data, page(), READ) == 0 && mprotect(data, page(), READ | WRITE) == 0);
    data[1] = 'l';
    cannot_be_written(fd);
    char *reader = mmap(NULL, page(), READ, MAP_SHARED, fd, 0);
    CHECK(reader != MAP_FAILED && reader[0] == 'o' && reader[1] == 'l');
    /* A private mapping is a copy. */
    char *copy = mmap(NULL, page(), READ | WRITE, MAP_PRIVATE, fd, 0);
    CHECK(copy != MAP_FAILED);
    copy[0] = 'c';
    CHECK(reader[0] == 'o');
    CHECK(munmap(copy, page()) == 0 && munmap(reader, page()) == 0 && munmap(data, page()) == 0);
    CHECK(close(fd) == 0);
}

static void everybody_sees_it(set_protection *set)
{
    int fd = make_filled(1);
    int duplicate = dup(fd);
    CHECK(duplicate >= 0);
    if (in_child()) {
        CHECK(set(fd, READ | EXEC) == 0);
        CHECK_FAILS(set(fd, READ | WRITE), EINVAL);
        _exit(0);
    }
    wait_for_children();
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    CHECK(opened >= 0);
    const int all[] = {fd, duplicate, opened};
    for (size_t i = 0; i < 3; i++) {
        CHECK(ashmem_get_prot(all[i]) == (READ | EXEC));
        CHECK_FAILS(set(all[i], READ | WRITE | EXEC), EINVAL);
        cannot_be_written(all[i]);
    }
    /* And the bits that the kernel does not keep. */
    if (in_child()) {
        CHECK(set(duplicate, EXEC) == 0 || errno == EPERM);
        _exit(0);
    }
    wait_for_children();
    CHECK(close(fd) == 0 && close(duplicate) == 0 && close(opened) == 0);

    fd = make_filled(1);
    if (in_child()) {
        CHECK(set(fd, WRITE) == 0);
        _exit(0);
    }
    wait_for_children();
    CHECK(ashmem_get_prot(fd) == WRITE);
    CHECK_FAILS(set(fd, READ), EINVAL);
    CHECK(close(fd) == 0);
}

/* A holder that may only read changes nothing. */
static void read_only_holders(set_protection *set)
{
    int fd = make_filled(1);
    int reader = ashmem_share_read_only(fd);
    CHECK(reader >= 0);
    CHECK(ashmem_get_prot(reader) == (READ | WRITE | EXEC));
    CHECK_FAILS(set(reader, READ), EACCES);
    CHECK_FAILS(set(reader, READ | EXEC), EACCES);
    CHECK_FAILS(set(reader, READ | WRITE), EACCES);
    CHECK_FAILS(set(reader, 8), EINVAL);
    CHECK(set(reader, READ | WRITE | EXEC) == 0);
    CHECK(ashmem_get_prot(fd) == (READ | WRITE | EXEC));
    CHECK(close(reader) == 0 && close(fd) == 0);
}

/* Without WRITE, nothing is unpinned or purged any more. */
static void purging(set_protection *set)
{
    never_short();
    int fd = make_filled(2);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(set(fd, READ) == 0);
    CHECK_FAILS(ashmem_purge(fd, NULL), EPERM);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(page_is(fd, 0, 1) && page_is(fd, 1, 2));
    CHECK(close(fd) == 0);

    fd = make_filled(2);
    CHECK(set(fd, READ) == 0);
    CHECK_FAILS(ashmem_unpin_region(fd, 0, 0), EPERM);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(close(fd) == 0);

    /* What was purged before is told. */
    fd = make_filled(2);
    CHECK(ashmem_unpin_region(fd, 0, page()) == 0);
    CHECK(ashmem_purge(fd, NULL) == 0);
    CHECK(set(fd, READ) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(page_is(fd, 0, 0) && page_is(fd, 1, 2));
    CHECK(close(fd) == 0);
}

static void no_regions(set_protection *set)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK_FAILS(set(ends[0], READ), ENOTTY);
    CHECK_FAILS(set(-1, READ), EBADF);
    CHECK_FAILS(set(INT_MAX, READ), EBADF);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(void)
{
    for (size_t i = 0; i < 2; i++) {
        bits_only_go(SET[i]);
        unknown_bits(SET[i]);
        older_mappings(SET[i]);
        everybody_sees_it(SET[i]);
        read_only_holders(SET[i]);
        purging(SET[i]);
        no_regions(SET[i]);
    }
    return 0;
}
