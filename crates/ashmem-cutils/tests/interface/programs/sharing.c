/* One region in several processes: inherited, and sent over a socket. */
#define _GNU_SOURCE
#include <sys/socket.h>

#include "regions.h"

static void inherited(void)
{
    const size_t size = 2 * page();
    int fd = make_region(size);
    char *data = map(fd, size);
    data[0] = 'p';
    if (in_child()) {
        CHECK(ashmem_valid(fd) == 1 && ashmem_get_size_region(fd) == (int)size);
        CHECK(munmap(data, size) == 0);
        char *own = map(fd, size);
        CHECK(own[0] == 'p');
        memset(own, 'c', size);
        CHECK(munmap(own, size) == 0);
        CHECK(close(fd) == 0);
        CHECK(ashmem_valid(fd) == 0);
        _exit(0);
    }
    wait_for_children();
    for (size_t i = 0; i < size; i++)
        CHECK(data[i] == 'c');
    CHECK(munmap(data, size) == 0);
    CHECK(ashmem_valid(fd) == 1);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    data = map(fd, size);
    CHECK(data[size - 1] == 'c');
    CHECK(munmap(data, size) == 0 && close(fd) == 0);
}

/* Regions do not mix, also where both processes have pin state of all of them. */
static void sixteen(bool unpinned)
{
    enum { COUNT = 16 };
    never_short();
    int fds[COUNT];
    char *data[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = make_region(page());
        data[i] = map(fds[i], page());
        memset(data[i], i + 1, page());
        if (unpinned)
            CHECK(ashmem_unpin_region(fds[i], 0, 0) == 0);
    }
    if (in_child()) {
        for (int i = 0; i < COUNT; i++) {
            CHECK(ashmem_pin_region(fds[i], 0, 0) == ASHMEM_NOT_PURGED);
            CHECK(page_is(fds[i], 0, (char)(i + 1)));
            CHECK(munmap(data[i], page()) == 0);
            char *own = map(fds[i], page());
            memset(own, 100 + i, page());
            CHECK(munmap(own, page()) == 0);
            CHECK(i % 2 == 0 || close(fds[i]) == 0);
        }
        _exit(0);
    }
    wait_for_children();
    for (int i = 0; i < COUNT; i++) {
        CHECK(ashmem_get_pin_status(fds[i], 0, 0) == ASHMEM_IS_PINNED);
        CHECK(page_is(fds[i], 0, (char)(100 + i)));
        CHECK(munmap(data[i], page()) == 0 && close(fds[i]) == 0);
    }
}

/* Pins are the region's: the child's count for the parent, and the other way round. */
static void pins_of_both(void)
{
    never_short();
    int fd = make_filled(8);
    if (in_child()) {
        CHECK(ashmem_unpin_region(fd, 0, 4 * page()) == 0);
        CHECK(ashmem_pin_region(fd, page(), page()) == ASHMEM_NOT_PURGED);
        CHECK(close(fd) == 0);
        _exit(0);
    }
    wait_for_children();
    CHECK(ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_get_pin_status(fd, page(), page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_get_pin_status(fd, 4 * page(), 0) == ASHMEM_IS_PINNED);
    uint64_t purged = 0;
    CHECK(ashmem_purge(fd, &purged) == 0 && purged == 3 * page());
    if (in_child()) {
        CHECK(ashmem_pin_region(fd, 0, page()) == ASHMEM_WAS_PURGED);
        _exit(0);
    }
    wait_for_children();
    /* Told once, to whoever asks first. */
    CHECK(ashmem_pin_region(fd, 0, 2 * page()) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(page_is(fd, 0, 0) && page_is(fd, 1, 2) && page_is(fd, 2, 0) && page_is(fd, 3, 0) && page_is(fd, 4, 5));
    CHECK(close(fd) == 0);
}

static void send_descriptor(int socket, int fd)
{
    char byte = 0, space[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    CHECK(sendmsg(socket, &message, 0) == 1);
}

static int receive_descriptor(int socket)
{
    int fd;
    char byte, space[CMSG_SPACE(sizeof fd)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    CHECK(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header != NULL && header->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static void handed_over(void)
{
    never_short();
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    if (in_child()) {
        CHECK(close(ends[0]) == 0);
        /* The maker of the region is gone before it is used. */
        int fd = make_filled(3);
        CHECK(ashmem_unpin_region(fd, page(), page()) == 0);
        CHECK(ashmem_purge(fd, NULL) == 0);
        send_descriptor(ends[1], fd);
        send_descriptor(ends[1], ashmem_share_read_only(fd));
        _exit(0);
    }
    int fd = receive_descriptor(ends[0]), reader = receive_descriptor(ends[0]);
    wait_for_children();
    CHECK(ashmem_valid(fd) == 1 && ashmem_get_size_region(fd) == (int)(3 * page()));
    char name[20];
    CHECK(ashmem_get_name(fd, name, sizeof name) == 7 && strcmp(name, "checked") == 0);
    CHECK_FAILS(ashmem_pin_region(reader, 0, 0), EACCES);
    CHECK_FAILS(ashmem_unpin_region(reader, 0, 0), EACCES);
    CHECK_FAILS(ashmem_purge(reader, NULL), EACCES);
    CHECK(ashmem_get_pin_status(reader, page(), page()) == ASHMEM_IS_UNPINNED);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED);
    CHECK(ashmem_get_pin_status(reader, 0, 0) == ASHMEM_IS_PINNED);
    CHECK(page_is(fd, 0, 1) && page_is(fd, 1, 0) && page_is(fd, 2, 3));
    CHECK(page_is(reader, 0, 1));
    CHECK(mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0) == MAP_FAILED && errno == EACCES);
    CHECK(close(fd) == 0 && close(reader) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(void)
{
    inherited();
    sixteen(false);
    sixteen(true);
    pins_of_both();
    handed_over();
    return 0;
}
