/* What is closed while another thread is in the library goes when that one is done. */
#include <pthread.h>
#include <stdatomic.h>

#include "regions.h"

static int other;
static atomic_bool stop;

static void *look(void *data)
{
    ashmem_stats stats;
    while (!stop)
        CHECK(ashmem_get_stats(other, &stats) == 0);
    return data;
}

static void *pin(void *data)
{
    while (!stop) {
        CHECK(ashmem_pin(other, 0, 0) >= 0);
        CHECK(ashmem_unpin(other, 0, 0) == 0);
    }
    return data;
}

static int count_open(const char *name)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[128];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        count += strstr(target, name) != NULL;
    }
    return count;
}

int main(void)
{
    never_short();
    other = make_region(1024 * page());
    CHECK(ashmem_unpin(other, 0, 0) == 0);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        stop = false;
        CHECK(pthread_create(&thread, NULL, i % 2 == 0 ? look : pin, NULL) == 0);
        for (int j = 0; j < 10; j++) {
            int fd = ashmem_create_region("closed", 16 * page());
            CHECK(fd >= 0);
            CHECK(ashmem_unpin(fd, 0, 0) == 0);
            CHECK(close(fd) == 0);
        }
        stop = true;
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(count_open("closed") == 0);
    }
    return 0;
}
