/* The kernel's <linux/ashmem.h> has macros of the same names. They have the same values, so either may come first. */
#define ASHMEM_NOT_PURGED 0
#define ASHMEM_IS_PINNED 1
#include <ashmem.h>
#include <android/sharedmem.h>
#define ASHMEM_NOT_PURGED 0
#define ASHMEM_WAS_PURGED 1
#define ASHMEM_IS_UNPINNED 0
#define ASHMEM_IS_PINNED 1
#define ASHMEM_NAME_LEN 256
#define ASHMEM_NAME_DEF "dev/ashmem"

struct ashmem_pin_request {
    unsigned int offset;
    unsigned int len;
};

int main(void)
{
    return ashmem_valid(-1) + ASHMEM_NOT_PURGED + ASHMEM_IS_UNPINNED;
}
