/* A program that closes all descriptors but its own, and then goes on: no other file loses pages for it. */
#define _GNU_SOURCE
#include "regions.h"

int main(void)
{
    never_short();
    int kept = make_filled(4);
    CHECK(ashmem_unpin(kept, 0, 0) == 0);
    for (int fd = kept + 1; fd < 1024; fd++)
        close(fd);
    int other = make_filled(4);
    CHECK(ashmem_unpin(other, 0, page()) == 0);
    CHECK(ashmem_pin(other, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
    for (size_t i = 0; i < 4; i++)
        CHECK(page_is(other, i, (char)(i + 1)));
    return 0;
}
