/* A region as a file: read, and sought for data and holes. */
#define _GNU_SOURCE
#include "regions.h"

enum { PAGES = 6 };

/* Data in pages 1, 2 and 4. */
static void fill(int fd)
{
    char *data = map(fd, PAGES * page());
    CHECK(madvise(data, PAGES * page(), MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    memset(data + page(), 'a', 2 * page());
    memset(data + 4 * page(), 'b', page());
    CHECK(munmap(data, PAGES * page()) == 0);
}

static void reads(int fd, off_t offset, size_t length, ssize_t expected, char byte)
{
    char *buffer = malloc(length + 1);
    CHECK(buffer != NULL);
    for (int positioned = 0; positioned < 2; positioned++) {
        memset(buffer, '?', length + 1);
        if (positioned) {
            CHECK(pread(fd, buffer, length, offset) == expected);
        } else {
            CHECK(lseek(fd, offset, SEEK_SET) == offset);
            CHECK(read(fd, buffer, length) == expected);
            CHECK(lseek(fd, 0, SEEK_CUR) == offset + expected);
        }
        for (ssize_t i = 0; i < expected; i++)
            CHECK(buffer[i] == byte);
        CHECK(buffer[expected] == '?');
    }
    free(buffer);
}

static void check(int fd)
{
    const off_t p = (off_t)page(), end = PAGES * p;
    CHECK(lseek(fd, 0, SEEK_END) == end);
    CHECK(lseek(fd, -1, SEEK_END) == end - 1);
    CHECK(lseek(fd, 1, SEEK_CUR) == end);
    CHECK(lseek(fd, -end, SEEK_CUR) == 0);
    CHECK(lseek(fd, p + 3, SEEK_SET) == p + 3);
    CHECK(lseek(fd, end + 100, SEEK_SET) == end + 100);
    CHECK_FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_FAILS(lseek(fd, -end - 1, SEEK_END), EINVAL);

    CHECK(lseek(fd, 0, SEEK_DATA) == p);
    CHECK(lseek(fd, p + 9, SEEK_DATA) == p + 9);
    CHECK(lseek(fd, 3 * p, SEEK_DATA) == 4 * p);
    CHECK_FAILS(lseek(fd, 5 * p, SEEK_DATA), ENXIO);
    CHECK_FAILS(lseek(fd, end, SEEK_DATA), ENXIO);
    CHECK(lseek(fd, 0, SEEK_HOLE) == 0);
    CHECK(lseek(fd, p, SEEK_HOLE) == 3 * p);
    CHECK(lseek(fd, 4 * p + 1, SEEK_HOLE) == 5 * p);
    CHECK(lseek(fd, 5 * p + 1, SEEK_HOLE) == 5 * p + 1);
    CHECK_FAILS(lseek(fd, end, SEEK_HOLE), ENXIO);

    reads(fd, 0, page(), p, 0);
    reads(fd, p, 2 * page(), 2 * p, 'a');
    reads(fd, p + 100, page(), p, 'a');
    reads(fd, 3 * p, page(), p, 0);
    reads(fd, 4 * p, page(), p, 'b');
    reads(fd, 5 * p, page(), p, 0);
    reads(fd, 5 * p, 2 * page(), p, 0);
    reads(fd, end - 1, 10, 1, 0);
    reads(fd, end, 10, 0, 0);
    reads(fd, end + 5, 10, 0, 0);
    reads(fd, 0, 0, 0, 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
}

/* The end is the size's, also within a page. */
static void partial(int prot)
{
    int fd = make_region(page() + 10);
    CHECK(ashmem_set_prot_region(fd, prot) == 0);
    CHECK(lseek(fd, 0, SEEK_END) == (off_t)page() + 10);
    reads(fd, (off_t)page(), page(), 10, 0);
    CHECK(close(fd) == 0);
}

int main(int count, char **arguments)
{
    /* With the protection mask that is in the argument. */
    CHECK(count == 2);
    const int prot = atoi(arguments[1]);
    int fd = make_region(PAGES * page());
    CHECK_FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
    reads(fd, 0, 10, 10, 0);
    fill(fd);
    CHECK(ashmem_set_prot_region(fd, prot) == 0);
    check(fd);
    int reader = ashmem_share_read_only(fd);
    CHECK(reader >= 0);
    check(reader);
    CHECK(close(reader) == 0 && close(fd) == 0);
    partial(prot);
    return 0;
}
