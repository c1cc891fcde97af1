// Children: of vfork(2), which closes in the parent's memory, and of fork(2). And before everything else: closing before the
// library's constructor has run. And the last: a thread that is cancelled in close(2).
// Usage: children [copied]     (copied: vfork(2) is fork(2), as under valgrind)
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void (*listener_t)(unsigned int, unsigned int);
int ashmem_close_watch(listener_t listener);

static int early = -1;

// Runs before the constructors of all libraries.
static void before_all(void) {
    int fd = dup(0);
    early = fd != -1 && close(fd) == 0 && fcntl(fd, F_GETFD) == -1 && close(fd) == -1 && errno == EBADF;
}
__attribute__((section(".preinit_array"), used)) static void (*at_start)(void) = before_all;

static volatile int heard;

static void listener(unsigned int first, unsigned int last) {
    (void)first, (void)last;
    heard++;
}

static int status_of(pid_t child) {
    int status = -1;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

static void *cancelled(void *started) {
    int fd = dup(0);
    *(int *)started = fd;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    close(fd);
    return NULL;
}

#define CHECK(what)                                     \
    do {                                                \
        if (!(what)) {                                  \
            printf("line %d: %s\n", __LINE__, #what);   \
            return 1;                                   \
        }                                               \
    } while (0)

int main(int argc, char **argv) {
    int copied = argc > 1 && strcmp(argv[1], "copied") == 0;
    CHECK(early == 1);
    CHECK(ashmem_close_watch(listener) == 1);
    int first = dup(0), second = dup(0), third = dup(0);
    CHECK(first != -1 && second != -1 && third != -1);

    pid_t child = vfork();
    if (child == 0) {
        int failures = close(first) != 0;
        failures += close(first) != -1 || errno != EBADF;
        failures += dup2(second, third) != third;
        failures += close_range((unsigned)second, ~0U, 0) != 0;
        _exit(failures);
    }
    CHECK(status_of(child) == 0);
    CHECK(heard == (copied ? 0 : 8));
    // The parent's own are as they were.
    CHECK(fcntl(first, F_GETFD) == 0 && fcntl(second, F_GETFD) == 0 && fcntl(third, F_GETFD) == 0);

    heard = 0;
    child = fork();
    if (child == 0) {
        int failures = ashmem_close_watch(listener) != 1;
        failures += close(first) != 0 || heard != 2;
        _exit(failures);
    }
    CHECK(status_of(child) == 0);
    CHECK(heard == 0);

    int fd = -1;
    pthread_t thread;
    void *result = NULL;
    CHECK(pthread_create(&thread, NULL, cancelled, &fd) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(heard == 1);
    puts("all well");
    return 0;
}
