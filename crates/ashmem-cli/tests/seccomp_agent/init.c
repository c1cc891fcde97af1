/* The first process of a container: talks to /dev/ashmem with bare system calls. Exits with 0, with 77 where
 * there is no device, or with the line that failed. With an argument it then waits to be killed. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SET_SIZE 0x40087703
#define GET_SIZE 0x7704
#define CHECK(condition) \
    do {                 \
        if (!(condition)) \
            _exit(__LINE__); \
    } while (0)

int main(int argc, char **argv)
{
    (void)argv;
    int fd = syscall(SYS_openat, AT_FDCWD, "/dev/ashmem", O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        _exit(77);
    CHECK(syscall(SYS_ioctl, fd, SET_SIZE, 8192UL) == 0);
    CHECK(syscall(SYS_ioctl, fd, GET_SIZE, 0) == 8192);
    char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    memory[8191] = 7;
    CHECK(memory[8191] == 7);
    /* What is not there still is not. */
    CHECK(syscall(SYS_openat, AT_FDCWD, "/dev/other", O_RDWR, 0) == -1);
    CHECK(syscall(SYS_dup, fd) >= 0);
    CHECK(syscall(SYS_write, 1, "ashmem works\n", 13) == 13);
    while (argc > 1)
        pause();
    return 0;
}
