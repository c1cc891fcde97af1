/* Shares a region with another process, which need not be written in C: both see the same contents and the same pins.
 *
 *     cc producer.c -o producer $(pkg-config --cflags --libs ashmem_cutils)
 *
 * Standard input is a Unix socket that is connected with the consumer. The producer sends one byte with a descriptor of the
 * region (SCM_RIGHTS, see unix(7)): 65,536 64-bit numbers, the squares. From then on it does what the consumer asks for, in one
 * letter each, and answers with a 64-bit number, which is -errno when that failed:
 *
 *     u   unpin everything                           0
 *     p   purge what is unpinned                     how many bytes went
 *     b   pin everything, build it if it was purged  1 if it was built
 *     h   hold a lease on everything                 1 if it was purged, else 0
 *     e   end the lease                              0
 *     r   make the region read-only, for good        0
 *
 * It ends when the consumer closes the socket.
 */
#include <ashmem.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COUNT = 1 << 16, SIZE = COUNT * sizeof(uint64_t) };

static void build(uint64_t *squares)
{
    for (uint64_t i = 0; i < COUNT; i++)
        squares[i] = i * i;
}

/* One byte, and the descriptor beside it. */
static int send_descriptor(int to, int fd)
{
    char byte = 'd';
    struct iovec bytes = {&byte, 1};
    union {
        struct cmsghdr aligned;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {0};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(to, &message, 0) == 1 ? 0 : -1;
}

static int64_t answer(char request, int fd, uint64_t *squares, ashmem_lease **lease)
{
    uint64_t purged;
    int result;
    switch (request) {
    case 'u':
        result = ashmem_unpin(fd, 0, 0);
        break;
    case 'p':
        result = ashmem_purge(fd, &purged);
        if (result == 0)
            return (int64_t)purged;
        break;
    case 'b':
        result = ashmem_pin(fd, 0, 0);
        if (result == ASHMEM_WAS_PURGED)
            build(squares);
        break;
    case 'h':
        ashmem_lease_end(*lease);
        *lease = NULL;
        result = ashmem_lease_take(fd, 0, 0, lease);
        break;
    case 'e':
        ashmem_lease_end(*lease);
        *lease = NULL;
        result = 0;
        break;
    case 'r':
        result = ashmem_set_prot_region(fd, PROT_READ);
        break;
    default:
        errno = EINVAL;
        result = -1;
    }
    return result == -1 ? -errno : result;
}

int main(void)
{
    const int consumer = STDIN_FILENO;
    int fd = ashmem_create_region("shared squares", SIZE);
    uint64_t *squares = MAP_FAILED;
    if (fd >= 0)
        squares = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (squares == MAP_FAILED) {
        perror("no region");
        return 1;
    }
    build(squares);
    if (send_descriptor(consumer, fd) != 0) {
        perror("no consumer");
        return 1;
    }

    ashmem_lease *lease = NULL;
    char request;
    while (read(consumer, &request, 1) == 1) {
        int64_t number = answer(request, fd, squares, &lease);
        if (write(consumer, &number, sizeof number) != sizeof number)
            break;
    }
    ashmem_lease_end(lease);
    munmap(squares, SIZE);
    close(fd);
    return 0;
}
