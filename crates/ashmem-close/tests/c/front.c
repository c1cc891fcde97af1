// A library in front: passes on what it gets (as sanitizers do), or swallows close(2) if it is built with -DSWALLOW.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

int close(int fd) {
#ifdef SWALLOW
    if (fd < 0) {
        errno = EBADF;
        return -1;
    }
#endif
    static int (*next)(int);
    if (next == NULL) next = (int (*)(int))dlsym(RTLD_NEXT, "close");
    return next(fd);
}
