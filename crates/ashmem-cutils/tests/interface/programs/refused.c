/* Descriptors that are no regions, and holders that may not. */
#define _GNU_SOURCE
#include <android/sharedmem.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "regions.h"

/* All functions that take a descriptor say the same of one that is no region. */
static void every_function(int fd, int number)
{
    CHECK(ashmem_valid(fd) == 0);
    CHECK(ASharedMemory_getSize(fd) == 0);
    CHECK_FAILS(ASharedMemory_setProt(fd, PROT_READ), number);
    CHECK_FAILS(ashmem_get_size_region(fd), number);
    CHECK_FAILS(ashmem_set_prot_region(fd, PROT_READ), number);
    CHECK_FAILS(ashmem_pin_region(fd, 0, 0), number);
    CHECK_FAILS(ashmem_unpin_region(fd, 0, 0), number);
    CHECK_FAILS(ashmem_pin(fd, 0, 0), number);
    CHECK_FAILS(ashmem_unpin(fd, 0, 0), number);
    CHECK_FAILS(ashmem_get_pin_status(fd, 0, 0), number);
    CHECK_FAILS(ashmem_get_prot(fd), number);
    CHECK_FAILS(ashmem_share_read_only(fd), number);
    uint64_t answer = 77;
    CHECK_FAILS(ashmem_get_size(fd, &answer), number);
    CHECK_FAILS(ashmem_get_file_id(fd, &answer), number);
    CHECK_FAILS(ashmem_purge(fd, &answer), number);
    CHECK_FAILS(ashmem_purge(fd, NULL), number);
    CHECK(answer == 77);
    char name[4] = "abc";
    CHECK_FAILS(ashmem_get_name(fd, name, sizeof name), number);
    CHECK(strcmp(name, "abc") == 0);
    struct ashmem_stats stats = {1, 2, 3, 4};
    CHECK_FAILS(ashmem_get_stats(fd, &stats), number);
    CHECK(stats.pinned_pages == 1 && stats.resident_bytes == 4);
    struct ashmem_lease *lease = NULL;
    CHECK_FAILS(ashmem_lease_take(fd, 0, 0, &lease), number);
    struct ashmem_pin_guard *guard = NULL;
    CHECK_FAILS(ashmem_pin_guard_take(fd, 0, 0, &guard), number);
    CHECK(lease == NULL && guard == NULL);
}

static void no_regions(void)
{
    int pipes[2], sockets[2];
    CHECK(pipe2(pipes, O_CLOEXEC) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    FILE *file = tmpfile();
    CHECK(file != NULL && ftruncate(fileno(file), 8192) == 0);
    const int others[] = {
        pipes[0],
        pipes[1],
        sockets[0],
        fileno(file),
        open("/dev/null", O_RDWR | O_CLOEXEC),
        open("/dev/zero", O_RDWR | O_CLOEXEC),
        open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        open("/proc/self/maps", O_RDONLY | O_CLOEXEC),
        epoll_create1(EPOLL_CLOEXEC),
        eventfd(0, EFD_CLOEXEC),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(others[i] >= 0);
        every_function(others[i], ENOTTY);
        CHECK(fcntl(others[i], F_GETFD) >= 0);
    }
    /* No access at all, not even to look at it. */
    int path = open("/dev/null", O_PATH | O_CLOEXEC);
    CHECK(path >= 0 && ashmem_valid(path) == 0);
    for (size_t i = 4; i < sizeof others / sizeof *others; i++)
        CHECK(close(others[i]) == 0);
    CHECK(close(path) == 0 && fclose(file) == 0 && close(sockets[0]) == 0 && close(sockets[1]) == 0);
    CHECK(close(pipes[0]) == 0 && close(pipes[1]) == 0);
}

static void no_descriptors(void)
{
    const int none[] = {-1, -2, -100, INT_MIN, INT_MAX, INT_MAX - 1, 1 << 26, 999999};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        every_function(none[i], EBADF);
    int fd = renumber(make_filled(2), 900);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(close(fd) == 0);
    every_function(fd, EBADF);
    fd = renumber(make_filled(2), 901);
    CHECK(close(fd) == 0);
    every_function(fd, EBADF);
}

/* Any memfd of ordinary pages is a region, but one of no bytes can do nothing. */
static void memfds(void)
{
    int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0);
    CHECK(ashmem_get_size_region(fd) == 0 || errno == EINVAL);
    CHECK(ASharedMemory_getSize(fd) == 0);
    CHECK_FAILS(ashmem_pin_region(fd, 0, 0), EINVAL);
    CHECK(ftruncate(fd, 10000) == 0);
    CHECK(ashmem_valid(fd) == 1 && ashmem_get_size_region(fd) == 10000);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_get_size_region(fd) == 10000);
    CHECK(ashmem_purge(fd, NULL) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    char name[10];
    CHECK(ashmem_get_name(fd, name, sizeof name) == 7 && strcmp(name, "foreign") == 0);
    CHECK(close(fd) == 0);
    /* Without seals it cannot be unpinned. */
    fd = memfd_create("unsealable", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 10000) == 0);
    CHECK(ashmem_valid(fd) == 1 && ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK_FAILS(ashmem_unpin_region(fd, 0, 0), EPERM);
    CHECK(close(fd) == 0);
}

static void read_only(bool with_pin_state)
{
    int fd = make_filled(4);
    if (with_pin_state)
        CHECK(ashmem_unpin_region(fd, 0, page()) == 0);
    int reader = ashmem_share_read_only(fd);
    CHECK(reader >= 0 && (fcntl(reader, F_GETFL) & O_ACCMODE) == O_RDONLY);
    /* Numbers that were used for writing before. */
    for (int round = 0; round < 2; round++) {
        CHECK(ashmem_valid(reader) == 1 && ashmem_get_size_region(reader) == (int)(4 * page()));
        CHECK_FAILS(ashmem_unpin_region(reader, 0, 0), EACCES);
        CHECK_FAILS(ashmem_unpin_region(reader, page(), page()), EACCES);
        if (with_pin_state) {
            CHECK_FAILS(ashmem_pin_region(reader, 0, 0), EACCES);
            CHECK_FAILS(ashmem_purge(reader, NULL), EACCES);
            struct ashmem_pin_guard *guard;
            CHECK_FAILS(ashmem_pin_guard_take(reader, 0, 0, &guard), EACCES);
            CHECK(ashmem_get_pin_status(reader, 0, 0) == ASHMEM_IS_UNPINNED);
        } else {
            CHECK(ashmem_get_pin_status(reader, 0, 0) == ASHMEM_IS_PINNED);
        }
        int again = ashmem_share_read_only(reader);
        CHECK(again >= 0 && close(again) == 0);
        CHECK(ashmem_pin_region(fd, page(), 0) == ASHMEM_NOT_PURGED);
        CHECK(page_is(fd, 0, 1));
        int number = 902 + round;
        CHECK(dup2(fd, number) == number && ashmem_pin_region(number, page(), 0) == ASHMEM_NOT_PURGED);
        CHECK(dup2(reader, number) == number);
        CHECK(reader == number || close(reader) == 0);
        reader = number;
    }
    CHECK(close(reader) == 0 && close(fd) == 0);
}

/* As another user, if this one may become that. */
static void other_users(void)
{
    if (geteuid() != 0)
        return;
    int plain = make_filled(2), used = make_filled(2), purgeable = ashmem_create("purgeable", 2 * page(), ASHMEM_PURGEABLE);
    CHECK(purgeable >= 0);
    CHECK(ashmem_unpin_region(used, 0, page()) == 0);
    if (in_child()) {
        CHECK(setgid(65534) == 0 && setuid(65534) == 0);
        CHECK_FAILS(ashmem_unpin_region(plain, 0, 0), EPERM);
        CHECK_FAILS(ashmem_set_prot_region(plain, PROT_READ | PROT_WRITE), EPERM);
        CHECK(ashmem_pin_region(plain, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_unpin_region(used, 0, 0) == 0);
        CHECK(ashmem_unpin_region(purgeable, 0, 0) == 0);
        CHECK(ashmem_pin_region(purgeable, 0, page()) == ASHMEM_NOT_PURGED);
        _exit(0);
    }
    wait_for_children();
    CHECK(ashmem_get_pin_status(plain, 0, 0) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(used, page(), 0) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_get_pin_status(purgeable, 0, page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(purgeable, page(), 0) == ASHMEM_IS_UNPINNED);
    CHECK(close(plain) == 0 && close(used) == 0 && close(purgeable) == 0);
}

int main(void)
{
    never_short();
    no_regions();
    no_descriptors();
    memfds();
    read_only(false);
    read_only(true);
    other_users();
    return 0;
}
