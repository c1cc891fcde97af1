/* A thread that is to be cancelled is not while it is in the library, and is afterwards. */
#include <pthread.h>
#include <stdatomic.h>

#include "regions.h"

static int fd;
static atomic_bool requested;

static void wait_for_request(void)
{
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0);
    while (!requested)
        usleep(100);
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL) == 0);
}

static void *call(void *data)
{
    int *answer = data;
    wait_for_request();
    *answer = ashmem_get_prot(fd);
    CHECK(ashmem_unpin(fd, 0, 0) == 0);
    CHECK(ashmem_pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    pthread_testcancel();
    *answer = -2;
    return NULL;
}

static void *close_it(void *data)
{
    wait_for_request();
    close(fd);
    return data;
}

static void *cancel(void *(*start)(void *), int *data)
{
    pthread_t thread;
    void *result;
    requested = false;
    CHECK(pthread_create(&thread, NULL, start, data) == 0);
    CHECK(pthread_cancel(thread) == 0);
    requested = true;
    CHECK(pthread_join(thread, &result) == 0);
    return result;
}

int main(void)
{
    int answer = -3;
    never_short();
    fd = make_region(page());
    CHECK(cancel(call, &answer) == PTHREAD_CANCELED);
    CHECK(answer == (PROT_READ | PROT_WRITE | PROT_EXEC));
    CHECK(cancel(close_it, &answer) == PTHREAD_CANCELED);
    return 0;
}
