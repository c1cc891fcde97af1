/* Regions, mappings and child processes as the programs need them. */
#ifndef REGIONS_H
#define REGIONS_H

#include <ashmem.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* A program that hangs is ended by SIGALRM. */
__attribute__((constructor)) static void end_when_hanging(void)
{
    alarm(300);
}

static inline size_t page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* However little memory the machine has, nothing goes but by order. */
static inline void never_short(void)
{
    struct ashmem_policy policy = {ASHMEM_DEFAULT, 0, 0, ASHMEM_DEFAULT};
    CHECK(ashmem_set_policy(&policy) == 0);
}

static inline int make_region(size_t size)
{
    int fd = ashmem_create_region("checked", size);
    CHECK(fd >= 0);
    return fd;
}

static inline char *map(int fd, size_t size)
{
    char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(data != MAP_FAILED);
    return data;
}

/* A region of so many pages; each page is full of its number plus one. */
static inline int make_filled(size_t pages)
{
    int fd = make_region(pages * page());
    char *data = map(fd, pages * page());
    for (size_t i = 0; i < pages; i++)
        memset(data + i * page(), (int)(i + 1), page());
    CHECK(munmap(data, pages * page()) == 0);
    return fd;
}

/* Whether a whole page of a region is full of a byte. */
static inline bool page_is(int fd, size_t index, char byte)
{
    char *data = mmap(NULL, page(), PROT_READ, MAP_SHARED, fd, (off_t)(index * page()));
    CHECK(data != MAP_FAILED);
    bool same = true;
    for (size_t i = 0; i < page(); i++)
        same = same && data[i] == byte;
    CHECK(munmap(data, page()) == 0);
    return same;
}

/* Gives a descriptor another number, a high one, that no other thread takes meanwhile. */
static inline int renumber(int fd, int number)
{
    CHECK(dup2(fd, number) == number);
    CHECK(close(fd) == 0);
    return number;
}

/* Use: if (in_child()) { ...; _exit(0); } wait_for_children(); */
static inline bool in_child(void)
{
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0)
        alarm(200);
    return child == 0;
}

/* All of them; each has to end with success. */
static inline void wait_for_children(void)
{
    int status;
    pid_t child;
    do {
        child = wait(&status);
        CHECK(child != -1 || errno == EINTR || errno == ECHILD);
        CHECK(child == -1 || status == 0);
    } while (child != -1 || errno == EINTR);
}

#endif
