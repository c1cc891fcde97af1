/* The C side of benches/cutils.rs. Reads orders { case, how many times } from standard input, both 64-bit numbers, and answers each with
 * the nanoseconds that it took.
 */
#define _GNU_SOURCE
#include <cutils/ashmem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

enum { PINS, LIBRARY_CREATE, RAW_CREATE };

static const size_t SIZE = 4096;
static int region;
static unsigned int memfd_flags = MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_NOEXEC_SEAL;

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void unpin_and_pin(void)
{
    check(ashmem_unpin_region(region, 0, 0) == 0, "ashmem_unpin_region");
    check(ashmem_pin_region(region, 0, 0) >= 0, "ashmem_pin_region");
}

static void library_create(void)
{
    int fd = ashmem_create_region("bench", SIZE);
    check(fd >= 0, "ashmem_create_region");
    check(close(fd) == 0, "close");
}

/* The system calls below that. Also close is the kernel's own here, without the library in front of it. */
static void raw_create(void)
{
    int fd = memfd_create("bench", memfd_flags);
    check(fd >= 0, "memfd_create");
    check(ftruncate(fd, (off_t)SIZE) == 0, "ftruncate");
    check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "fcntl");
    check(syscall(SYS_close, fd) == 0, "close");
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

int main(void)
{
    static void (*const cases[])(void) = {
        [PINS] = unpin_and_pin, [LIBRARY_CREATE] = library_create, [RAW_CREATE] = raw_create};
    /* Kernels before 6.3 do not know all flags. */
    int probe = memfd_create("probe", memfd_flags);
    if (probe < 0 && errno == EINVAL)
        memfd_flags &= ~MFD_NOEXEC_SEAL;
    else
        close(probe);
    /* From the first unpin on the library hears of every close: as in a program that uses it. */
    region = ashmem_create_region("whole", SIZE);
    check(region >= 0, "ashmem_create_region");
    unpin_and_pin();

    uint64_t order[2];
    while (fread(order, sizeof order, 1, stdin) == 1) {
        check(order[0] < sizeof cases / sizeof *cases, "no such case");
        void (*const operation)(void) = cases[order[0]];
        uint64_t start = now();
        for (uint64_t i = 0; i < order[1]; i++)
            operation();
        uint64_t took = now() - start;
        check(fwrite(&took, sizeof took, 1, stdout) == 1 && fflush(stdout) == 0, "no answer");
    }
    return 0;
}
