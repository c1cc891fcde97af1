/* A function that succeeds leaves errno as it is; also the first one of a process, and where the call takes the long way. */
#define _GNU_SOURCE
#include <android/sharedmem.h>

#include "regions.h"

static const int MARK = 12345;

/* The call succeeds and leaves errno alone. */
#define SUCCEEDS(call, expected)                                                                               \
    do {                                                                                                       \
        errno = MARK;                                                                                          \
        long success = (long)(call);                                                                           \
        int after = errno;                                                                                     \
        CHECK(success == (long)(expected));                                                                    \
        CHECK(after == MARK);                                                                                  \
    } while (0)

/* As SUCCEEDS, for what returns a descriptor. */
static int given(int fd)
{
    int after = errno;
    CHECK(fd >= 0 && after == MARK);
    return fd;
}
#define GIVES(call) given((errno = MARK, (call)))

static uint64_t number;
static struct ashmem_stats stats;
static struct ashmem_metrics metrics;
static struct ashmem_freed freed;
static struct ashmem_policy policy = {ASHMEM_DEFAULT, 0, 0, ASHMEM_DEFAULT};

static void ignore(const struct ashmem_purge_event *event, void *data)
{
    (void)event;
    (void)data;
    errno = 1;
}

static void call(int function, int fd, int was_purged)
{
    struct ashmem_lease *lease;
    struct ashmem_pin_guard *guard;
    char name[10];
    const size_t size = 8 * page();
    switch (function) {
    case 0:
        SUCCEEDS(ashmem_valid(fd), 1);
        SUCCEEDS(ashmem_valid(-1), 0);
        SUCCEEDS(ashmem_valid(INT_MAX), 0);
        break;
    case 1: close(GIVES(ashmem_create_region(NULL, 1 << 20))); break;
    case 2: SUCCEEDS(ashmem_set_prot_region(fd, PROT_READ | PROT_WRITE), 0); break;
    case 3: SUCCEEDS(ashmem_pin_region(fd, 0, 0), was_purged); break;
    case 4: SUCCEEDS(ashmem_unpin_region(fd, 0, 0), 0); break;
    case 5: SUCCEEDS(ashmem_get_size_region(fd), size); break;
    case 6: close(GIVES(ASharedMemory_create("made", 1))); break;
    case 7:
        SUCCEEDS(ASharedMemory_getSize(fd), size);
        SUCCEEDS(ASharedMemory_getSize(-1), 0);
        break;
    case 8: SUCCEEDS(ASharedMemory_setProt(fd, PROT_READ), 0); break;
    case 9: close(GIVES(ashmem_create("made", 1 << 20, ASHMEM_PURGEABLE | ASHMEM_POPULATE))); break;
    case 10: SUCCEEDS(ashmem_get_size(fd, &number), 0); break;
    case 11: SUCCEEDS(ashmem_get_name(fd, name, sizeof name), 3); break;
    case 12: SUCCEEDS(ashmem_get_prot(fd), PROT_READ | PROT_WRITE | PROT_EXEC); break;
    case 13: SUCCEEDS(ashmem_get_file_id(fd, &number), 0); break;
    case 14: close(GIVES(ashmem_share_read_only(fd))); break;
    case 15: SUCCEEDS(ashmem_pin(fd, page(), page()), was_purged); break;
    case 16: SUCCEEDS(ashmem_unpin(fd, page(), page()), 0); break;
    case 17: SUCCEEDS(ashmem_get_pin_status(fd, 0, 0), was_purged ? ASHMEM_IS_UNPINNED : ASHMEM_IS_PINNED); break;
    case 18: SUCCEEDS(ashmem_purge(fd, &number), 0); break;
    case 19: SUCCEEDS(ashmem_get_stats(fd, &stats), 0); break;
    case 20:
        SUCCEEDS(ashmem_lease_take(fd, 0, 0, &lease), was_purged);
        SUCCEEDS((ashmem_lease_end(lease), 0), 0);
        break;
    case 21:
        SUCCEEDS(ashmem_pin_guard_take(fd, 0, page(), &guard), was_purged);
        SUCCEEDS((ashmem_pin_guard_end(guard), 0), 0);
        break;
    case 22: SUCCEEDS(ashmem_set_policy(&policy), 0); break;
    case 23: SUCCEEDS(ashmem_reclaim(UINT64_MAX, &freed), 0); break;
    case 24: SUCCEEDS(ashmem_get_metrics(&metrics), 0); break;
    case 25: {
        ashmem_purge_listener *listener;
        SUCCEEDS((listener = ashmem_on_purge(ignore, NULL)) != NULL, true);
        SUCCEEDS((ashmem_remove_listener(listener), 0), 0);
        break;
    }
    case 26: SUCCEEDS((ashmem_lease_end(NULL), ashmem_pin_guard_end(NULL), ashmem_remove_listener(NULL), 0), 0); break;
    case 27: {
        /* What a callback leaves in errno is not the caller's. */
        ashmem_purge_listener *listener = ashmem_on_purge(ignore, NULL);
        int own = make_filled(4);
        SUCCEEDS(ashmem_unpin_region(own, 0, 0), 0);
        SUCCEEDS(ashmem_reclaim(UINT64_MAX, &freed), 0);
        CHECK(freed.pages >= 4);
        SUCCEEDS(ashmem_pin_region(own, 0, 0), ASHMEM_WAS_PURGED);
        SUCCEEDS(close(own), 0);
        ashmem_remove_listener(listener);
        break;
    }
    default: exit(1);
    }
}
enum { FUNCTIONS = 28 };

/* The functions of the C library that the library stands in front of. */
static void closing(void)
{
    int fd = make_filled(1);
    SUCCEEDS(ashmem_unpin_region(fd, 0, 0), 0);
    SUCCEEDS(dup2(fd, 900), 900);
    SUCCEEDS(ashmem_pin_region(900, 0, 0), ASHMEM_NOT_PURGED);
    SUCCEEDS(ashmem_unpin_region(900, 0, 0), 0);
    SUCCEEDS(dup3(fd, 900, O_CLOEXEC), 900);
    SUCCEEDS(ashmem_pin_region(900, 0, 0), ASHMEM_NOT_PURGED);
    SUCCEEDS(close_range(900, 910, 0), 0);
    CHECK_FAILS(ashmem_pin_region(900, 0, 0), EBADF);
    SUCCEEDS(close(fd), 0);
    CHECK_FAILS(close(fd), EBADF);
}

int main(void)
{
    for (int function = 0; function < FUNCTIONS; function++) {
        for (int purged = 0; purged < 2; purged++) {
            /* A region that this process has not made; another one may have unpinned and purged it. */
            int fd = memfd_create("own", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CHECK(fd >= 0 && ftruncate(fd, (off_t)(8 * page())) == 0);
            if (purged && in_child()) {
                CHECK(ashmem_unpin_region(fd, 0, 0) == 0 && ashmem_purge(fd, NULL) == 0);
                _exit(0);
            }
            wait_for_children();
            if (in_child()) {
                call(function, fd, purged);
                /* Once more, which is the short way; now that they are pinned. */
                bool pinned = ashmem_pin_region(fd, 0, 0) >= 0;
                if (pinned)
                    call(function, fd, ASHMEM_NOT_PURGED);
                _exit(0);
            }
            wait_for_children();
            CHECK(close(fd) == 0);
        }
    }
    closing();
    return 0;
}
