/* This library and another one in Rust, both linked into the program. */
#include <cutils/ashmem.h>
#include <unistd.h>

#include "check.h"

size_t other_count(unsigned char bytes);

int main(void)
{
    CHECK(other_count(100) == 100);
    int fd = ashmem_create_region("two", 4096);
    CHECK(fd >= 0);
    CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(other_count(7) == 7);
    CHECK(close(fd) == 0);
    return 0;
}
