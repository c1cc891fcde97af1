// Each interposed function once or more: answers, errno, and what a listener hears. Without the library, the lines "heard" are
// missing, and nothing else differs.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE_LIMIT 256

// Straight to the kernel's file: neither a stream that is closed here, nor an interposed call.
#define SAY(...)                                                     \
    do {                                                             \
        char line[LINE_LIMIT];                                       \
        int length = snprintf(line, sizeof line, __VA_ARGS__);       \
        syscall(SYS_write, 1, line, (size_t)length);                 \
    } while (0)

static int is_open(unsigned int fd) { return syscall(SYS_fcntl, fd, F_GETFD) != -1; }

static void listener(unsigned int first, unsigned int last) {
    SAY("heard %u %u %s\n", first, last, is_open(first) ? "open" : "closed");
    errno = ENOTTY;
}

#define CALL(call)                                             \
    do {                                                       \
        errno = EXDEV;                                         \
        long answer = (long)(call);                            \
        int error = errno;                                     \
        SAY("%s = %ld errno %d\n", #call, answer, error);      \
    } while (0)
#define CALL_POINTER(call, expected)                                                       \
    do {                                                                                   \
        errno = EXDEV;                                                                     \
        void *answer = (call);                                                             \
        int error = errno;                                                                 \
        SAY("%s = %s errno %d\n", #call, answer == (expected) ? "expected" : "other", error); \
    } while (0)

static void open_at(int fd) {
    int opened = open("/dev/null", O_RDONLY);
    if (opened == fd) return;
    if (opened == -1 || syscall(SYS_dup3, opened, fd, 0) != fd) SAY("open_at failed\n");
    syscall(SYS_close, opened);
}

static FILE *stream_at(int fd) {
    open_at(fd);
    return fdopen(fd, "r");
}

static void failing_listener(unsigned int first, unsigned int last) {
    (void)first, (void)last;
    SAY("heard by somebody who was refused\n");
}

int main(void) {
    int (*watch)(void (*)(unsigned int, unsigned int)) =
        (int (*)(void (*)(unsigned int, unsigned int)))dlsym(RTLD_DEFAULT, "ashmem_close_watch");
    // Before the first watch, nothing is announced.
    CALL(close(-1));
    if (watch != NULL) {
        errno = EXDEV;
        int only_asked = watch(NULL), first = watch(listener), again = watch(listener);
        int error = errno;
        SAY("heard effective %d %d %d errno %d\n", only_asked, first, again, error);
        if (!first) watch(failing_listener);
    }

    open_at(200);
    CALL(close(200));
    CALL(close(200));
    CALL(close(-1));
    CALL(close(INT_MIN));
    CALL(close(INT_MAX));

    open_at(200);
    open_at(201);
    CALL(dup2(200, 201));
    CALL(dup2(200, 202));
    CALL(dup2(200, 200));
    CALL(dup2(203, 203));
    CALL(dup2(203, 201));
    CALL(is_open(201));
    CALL(dup2(200, -1));
    CALL(dup2(-1, -1));
    CALL(dup2(-1, 201));
    CALL(dup2(200, INT_MAX));

    CALL(dup3(200, 201, O_CLOEXEC));
    CALL(fcntl(201, F_GETFD));
    CALL(dup3(200, 200, 0));
    CALL(dup3(-1, -1, 0));
    CALL(dup3(200, 201, O_APPEND));
    CALL(dup3(203, 201, 0));

    CALL(close_range(200, 201, 4 /* CLOSE_RANGE_CLOEXEC */));
    CALL(fcntl(200, F_GETFD));
    CALL(close_range(200, 201, 0));
    CALL(is_open(200) || is_open(201));
    CALL(is_open(202));
    CALL(close_range(202, ~0U, 2 /* CLOSE_RANGE_UNSHARE */));
    CALL(is_open(202));
    CALL(close_range(201, 200, 0));
    CALL(close_range(~0U, ~0U, 0));
    CALL(close_range(200, 201, 1 << 20));

    open_at(300);
    CALL((closefrom(300), 0));
    CALL(is_open(300));
    CALL((closefrom(INT_MAX), 0));

    FILE *stream = stream_at(200);
    CALL(fclose(stream));
    char memory[16] = "text";
    stream = fmemopen(memory, sizeof memory, "r");
    CALL(fclose(stream));
    stream = stream_at(200);
    syscall(SYS_close, 200);
    CALL(fclose(stream));

    CALL_POINTER(freopen("/dev/zero", "r", stdin), stdin);
    CALL_POINTER(freopen64("/dev/null", "r", stdin), stdin);
    CALL_POINTER(freopen("/nonexistent/file", "r", stdin), NULL);
    CALL(is_open(0));

    // Without a descriptor below, and still usable afterwards.
    stream = fmemopen(memory, sizeof memory, "r");
    CALL(getc(stream));
    CALL(fclose(stream));

    open_at(0);
    open_at(200);
    CALL(is_open(200));
    // From the lowest number on: the output is the last to go.
    CALL((closefrom(-5), 0));
    return 0;
}
