/* Whatever the numbers are, a function returns: an answer, or a failure that says why. */
#define _GNU_SOURCE
#include <android/sharedmem.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "regions.h"

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

enum { OPEN = 20 };
static int open_ones[OPEN];

static int a_descriptor(void)
{
    const int odd[] = {-1, INT_MIN, INT_MAX, 0, 1, 2, 3, 899, 1 << 26, (1 << 26) - 1, -100};
    uint64_t dice = random_number();
    switch (dice % 8) {
    case 0: return odd[(dice >> 8) % (sizeof odd / sizeof *odd)];
    case 1: return (int)(dice >> 16);
    default: return open_ones[(dice >> 8) % OPEN];
    }
}

/* Small numbers, pages, powers of two and what is beside them, anything. */
static uint64_t a_number(void)
{
    uint64_t dice = random_number();
    switch (dice % 8) {
    case 0: return (dice >> 8) % 10;
    case 1: return dice >> 8;
    case 2: return (1UL << (dice >> 8) % 64) + (dice >> 16) % 3 - 1;
    case 3: return 0 - ((dice >> 8) % 10) * page();
    case 4: return dice << 12;
    default: return ((dice >> 8) % 12) * page();
    }
}

/* A failure has a reason that is documented, or the kernel's; success leaves errno alone. */
static long checked(long answer, int line)
{
    const int reasons[] = {EBADF, EINVAL, ENOTTY, EPERM, EACCES, EOVERFLOW, EBUSY, EMFILE, ENFILE, ENOMEM, ENOENT};
    int number = errno;
    bool known = false;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        known = known || reasons[i] == number;
    if (answer < 0 ? !known : number != 4711) {
        fprintf(stderr, "line %d: answer %ld, errno %d\n", line, answer, number);
        exit(1);
    }
    return answer;
}
#define TRY(call) checked((errno = 4711, (long)(call)), __LINE__)

static void close_made(long fd)
{
    if (fd >= 0)
        CHECK(close((int)fd) == 0);
}

static void one_call(void)
{
    uint64_t answer;
    char name[300];
    struct ashmem_stats stats;
    int fd = a_descriptor();
    uint64_t offset = a_number(), len = a_number();
    switch (random_number() % 22) {
    case 0: CHECK(TRY(ashmem_valid(fd)) <= 1); break;
    case 1: TRY(ashmem_set_prot_region(fd, (int)a_number() | PROT_WRITE)); break;
    case 2: CHECK(TRY(ashmem_pin_region(fd, offset, len)) <= 1); break;
    case 3: CHECK(TRY(ashmem_unpin_region(fd, offset, len)) <= 0); break;
    case 4: CHECK(TRY(ashmem_pin(fd, offset, len)) <= 1); break;
    case 5: CHECK(TRY(ashmem_unpin(fd, offset, len)) <= 0); break;
    case 6: TRY(ashmem_get_size_region(fd)); break;
    case 7: TRY(ASharedMemory_getSize(fd)); break;
    case 8: close_made(TRY(ashmem_create_region("garbage", a_number()))); break;
    case 9: {
        errno = 4711;
        int made = ASharedMemory_create("garbage", offset);
        CHECK(made >= 0 ? errno == 4711 : made == -EINVAL || made == -1);
        close_made(made);
        break;
    }
    case 10: {
        unsigned flags = (unsigned)(random_number() % 5 ? random_number() % 16 : random_number());
        /* What there is no memory for is not asked for. */
        close_made(TRY(ashmem_create(NULL, flags & ASHMEM_POPULATE ? len % (1 << 20) : len, flags)));
        break;
    }
    case 11: TRY(ashmem_get_size(fd, random_number() % 8 ? &answer : NULL)); break;
    case 12: CHECK(TRY(ashmem_get_name(fd, name, len % sizeof name)) < 250); break;
    case 13: CHECK(TRY(ashmem_get_prot(fd)) <= 7); break;
    case 14: TRY(ashmem_get_file_id(fd, random_number() % 8 ? &answer : NULL)); break;
    case 15: close_made(TRY(ashmem_share_read_only(fd))); break;
    case 16: CHECK(TRY(ashmem_get_pin_status(fd, offset, len)) <= 1); break;
    case 17: CHECK(TRY(ashmem_purge(fd, random_number() % 2 ? &answer : NULL)) <= 0); break;
    case 18: TRY(ashmem_get_stats(fd, random_number() % 8 ? &stats : NULL)); break;
    case 19: {
        struct ashmem_lease *lease = NULL;
        CHECK((TRY(ashmem_lease_take(fd, offset, len, &lease)) >= 0) == (lease != NULL));
        ashmem_lease_end(lease);
        break;
    }
    case 20: {
        struct ashmem_pin_guard *guard = NULL;
        CHECK((TRY(ashmem_pin_guard_take(fd, offset, len, &guard)) >= 0) == (guard != NULL));
        ashmem_pin_guard_end(guard);
        break;
    }
    default: {
        struct ashmem_policy policy = {a_number(), a_number(), a_number(), a_number()};
        TRY(ashmem_set_policy(random_number() % 4 ? &policy : NULL));
        TRY(ashmem_reclaim(a_number(), NULL));
    }
    }
}

static void open_all(void)
{
    int count = 0, ends[2];
    for (int i = 0; i < 6; i++)
        open_ones[count++] = make_filled(10);
    open_ones[count++] = ashmem_create("partial", 2 * page() + 7, ASHMEM_PURGEABLE);
    open_ones[count++] = ashmem_create("pinned", 4 * page(), ASHMEM_NEVER_PURGEABLE);
    open_ones[count++] = ashmem_create("sealed", 4 * page(), ASHMEM_NO_FURTHER_SEALS);
    open_ones[count++] = ashmem_share_read_only(open_ones[0]);
    open_ones[count++] = ashmem_share_read_only(open_ones[6]);
    open_ones[count++] = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    open_ones[count++] = ends[0];
    open_ones[count++] = ends[1];
    open_ones[count++] = open("/", O_PATH | O_CLOEXEC);
    open_ones[count++] = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    open_ones[count++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
    open_ones[count++] = epoll_create1(EPOLL_CLOEXEC);
    open_ones[count++] = eventfd(0, EFD_CLOEXEC);
    open_ones[count++] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(count == OPEN);
    for (int i = 0; i < OPEN; i++)
        CHECK(open_ones[i] >= 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    const int calls = atoi(arguments[1]);
    open_all();
    for (int i = 0; i < calls; i++)
        one_call();
    /* All of it works still. */
    never_short();
    int fd = make_filled(2);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0 && ashmem_purge(fd, NULL) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_WAS_PURGED && close(fd) == 0);
    for (int i = 0; i < OPEN; i++)
        CHECK(close(open_ones[i]) == 0);
    return 0;
}
