/* The library in the program's own handlers of fork, which run inside and outside of the library's. */
#include <pthread.h>

#include "regions.h"

static int fd = -1;
static int calls;

static void use(void)
{
    calls++;
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    struct ashmem_lease *lease;
    CHECK(ashmem_lease_take(fd, 0, page(), &lease) == ASHMEM_NOT_PURGED);
    ashmem_lease_end(lease);
    int other = make_filled(1);
    CHECK(ashmem_unpin_region(other, 0, 0) == 0);
    CHECK(close(other) == 0);
}

int main(void)
{
    /* Hangs are not waited for. */
    alarm(60);
    never_short();
    CHECK(pthread_atfork(use, use, NULL) == 0);
    fd = make_filled(2);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(pthread_atfork(use, use, use) == 0);
    for (int round = 0; round < 10; round++) {
        if (in_child()) {
            use();
            _exit(0);
        }
        wait_for_children();
    }
    CHECK(calls == 40);
    CHECK(close(fd) == 0);
    return 0;
}
