/* The first program that anybody writes. */
#include <cutils/ashmem.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

int main(void)
{
    const size_t size = 1 << 20;
    /* As allocators of graphics memory do it. */
    char name[ASHMEM_NAME_LEN];
    snprintf(name, ASHMEM_NAME_LEN, "first of %zu bytes", size);
    int fd = ashmem_create_region(name, size);
    CHECK(fd >= 0);
    CHECK(ashmem_valid(fd) == 1);
    CHECK(ashmem_get_size_region(fd) == 1 << 20);
    char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(data != MAP_FAILED);
    strcpy(data, "decoded");
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(strcmp(data, "decoded") == 0);
    CHECK(munmap(data, size) == 0);
    /* A number that no other thread takes meanwhile. */
    const int number = 900;
    CHECK(dup2(fd, number) == number);
    CHECK(ashmem_pin_region(number, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(close(number) == 0);
    CHECK(ashmem_valid(number) == 0);
    CHECK_FAILS(ashmem_pin_region(number, 0, 0), EBADF);
    CHECK(close(fd) == 0);
    return 0;
}
