/* Callbacks run, and are removed, also after the thread-local storage of the main thread has gone. */
#include "regions.h"

static ashmem_purge_listener *listener;
static int calls, fd;

static void on_purge(const ashmem_purge_event *event, void *data)
{
    (void)event;
    (void)data;
    calls++;
}

static void purge(void)
{
    CHECK(ashmem_pin(fd, 0, 0) >= 0);
    CHECK(ashmem_unpin(fd, 0, 0) == 0);
    CHECK(ashmem_reclaim(UINT64_MAX, NULL) == 0);
}

static void at_exit(void)
{
    purge();
    if (calls != 2)
        _exit(2);
    ashmem_remove_listener(listener);
    purge();
    if (calls != 2)
        _exit(3);
}

int main(void)
{
    CHECK(atexit(at_exit) == 0);
    never_short();
    fd = make_filled(2);
    listener = ashmem_on_purge(on_purge, NULL);
    CHECK(listener != NULL);
    purge();
    CHECK(calls == 1);
    return 0;
}
