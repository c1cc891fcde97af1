/* A child that closes a descriptor before the library's own handler has run, or without any handler, and uses the number again. */
#include <pthread.h>
#include <sys/syscall.h>

#include "regions.h"

static int fd;
static bool closes;

static void in_child_handler(void)
{
    if (closes)
        CHECK(close(fd) == 0);
}

static void use_again(void)
{
    int again = make_region(4 * page());
    CHECK(again == fd);
    CHECK(ashmem_unpin(again, 3 * page(), page()) == 0);
    CHECK(ashmem_get_pin_status(again, 0, page()) == ASHMEM_IS_PINNED);
    CHECK(ashmem_pin(again, 3 * page(), page()) == ASHMEM_NOT_PURGED);
}

int main(void)
{
    CHECK(pthread_atfork(NULL, NULL, in_child_handler) == 0);
    never_short();
    fd = make_region(2 * page());
    CHECK(ashmem_unpin(fd, 0, 0) == 0);
    CHECK(ashmem_pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    closes = true;
    if (in_child()) {
        use_again();
        _exit(0);
    }
    wait_for_children();
    /* As _Fork(3) does. */
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        CHECK(close(fd) == 0);
        use_again();
        /* And a child of that one. */
        if (in_child()) {
            use_again();
            _exit(0);
        }
        wait_for_children();
        _exit(0);
    }
    wait_for_children();
    CHECK(ashmem_unpin(fd, 0, 0) == 0);
    return 0;
}
