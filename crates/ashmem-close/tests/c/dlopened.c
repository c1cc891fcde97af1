// The library opened while the program runs: calls of the program pass it by, and it says so.
// Usage: dlopened LIBRARY local|global|deepbind|namespace
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef void (*listener_t)(unsigned int, unsigned int);

static int heard;

static void listener(unsigned int first, unsigned int last) {
    (void)first, (void)last;
    heard++;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    void *library;
    if (strcmp(argv[2], "local") == 0)
        library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    else if (strcmp(argv[2], "global") == 0)
        library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    else if (strcmp(argv[2], "deepbind") == 0)
        library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    else if (strcmp(argv[2], "namespace") == 0)
        library = dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW);
    else
        return 2;
    if (library == NULL) {
        printf("%s\n", dlerror());
        return 3;
    }
    int (*watch)(listener_t) = (int (*)(listener_t))dlsym(library, "ashmem_close_watch");
    int (*its_close)(int) = (int (*)(int))dlsym(library, "close");
    if (watch == NULL || its_close == NULL) return 4;
    // Opening it leaves no error for the program to find.
    if (dlerror() != NULL) return 5;

    errno = EXDEV;
    if (watch(listener) != 0 || watch(NULL) != 0 || watch(listener) != 0) return 6;
    if (errno != EXDEV) return 7;
    if (dlerror() != NULL) return 8;

    // Whoever calls it all the same gets what close(2) does.
    int fd = dup(0);
    if (fd == -1 || its_close(fd) != 0 || fcntl(fd, F_GETFD) != -1) return 9;
    fd = dup(0);
    if (fd == -1 || close(fd) != 0) return 10;
    if (heard != 0) return 11;

    // It stays: others may have its addresses.
    dlclose(library);
    fd = dup(0);
    if (its_close(fd) != 0 || watch(listener) != 0) return 12;
    puts("passed by");
    return 0;
}
