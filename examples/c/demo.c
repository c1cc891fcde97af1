/* A cache in one region: filled, offered to the system, taken away, noticed, built again.
 *
 *     cc demo.c -o demo $(pkg-config --cflags --libs ashmem_cutils) && ./demo
 */
#include <ashmem.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT = 1 << 17, SIZE = COUNT * sizeof(uint64_t) };

static void or_exit(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* Stands for what takes long: decoding, rendering, computing. */
static void build(uint64_t *squares)
{
    for (uint64_t i = 0; i < COUNT; i++)
        squares[i] = i * i;
}

int main(void)
{
    int fd = ashmem_create_region("squares", SIZE);
    or_exit(fd >= 0, "ashmem_create_region");
    uint64_t *squares = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    or_exit(squares != MAP_FAILED, "mmap");
    build(squares);
    printf("built: %llu\n", (unsigned long long)squares[1000]);

    /* Nobody needs them now, so they may go when memory runs short. */
    or_exit(ashmem_unpin_region(fd, 0, 0) == 0, "ashmem_unpin_region");
    struct ashmem_stats stats;
    or_exit(ashmem_get_stats(fd, &stats) == 0, "ashmem_get_stats");
    printf("unpinned: %llu bytes are in memory\n", (unsigned long long)stats.resident_bytes);

    /* The system would do this by itself when memory runs short. */
    uint64_t purged;
    or_exit(ashmem_purge(fd, &purged) == 0, "ashmem_purge");
    printf("purged: %llu bytes\n", (unsigned long long)purged);

    /* Before each use: pin, and look whether they are still there. */
    int contents = ashmem_pin_region(fd, 0, 0);
    or_exit(contents >= 0, "ashmem_pin_region");
    if (contents == ASHMEM_WAS_PURGED) {
        printf("pinned: they are gone (%llu)\n", (unsigned long long)squares[1000]);
        build(squares);
    }
    printf("built again: %llu\n", (unsigned long long)squares[1000]);

    munmap(squares, SIZE);
    close(fd);
    return 0;
}
