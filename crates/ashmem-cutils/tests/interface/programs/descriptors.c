/* Numbers that come to name something else: whatever closes them, a call is about what they name then. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>

#include "regions.h"

/* What is checked: a high number, that no other thread of the process takes. */
enum { NUMBER = 900, COUNT = 3 };

/* Puts a region with pin state, whose pages are unpinned, at the number; the other descriptor stays. */
static int put_region(void)
{
    int fd = make_filled(COUNT);
    CHECK(dup2(fd, NUMBER) == NUMBER);
    CHECK(ashmem_unpin_region(NUMBER, 0, 0) == 0);
    CHECK(ashmem_pin_region(NUMBER, 0, page()) == ASHMEM_NOT_PURGED);
    return fd;
}

/* Nothing but the first page is pinned. */
static bool is_untouched(int fd)
{
    return ashmem_get_pin_status(fd, 0, page()) == ASHMEM_IS_PINNED &&
           ashmem_get_pin_status(fd, page(), page()) == ASHMEM_IS_UNPINNED &&
           ashmem_get_pin_status(fd, 2 * page(), 0) == ASHMEM_IS_UNPINNED;
}

static void by_close(void)
{
    CHECK(close(NUMBER) == 0);
}

static void by_close_range(void)
{
    CHECK(close_range(NUMBER - 10, NUMBER + 10, 0) == 0);
}

static void by_closefrom(void)
{
    closefrom(NUMBER);
}

static void by_fclose(void)
{
    FILE *stream = fdopen(NUMBER, "r+");
    CHECK(stream != NULL && fclose(stream) == 0);
}

static void by_freopen(void)
{
    FILE *stream = fdopen(NUMBER, "r+");
    CHECK(stream != NULL);
    stream = freopen("/dev/null", "r", stream);
    CHECK(stream != NULL && fclose(stream) == 0);
    /* The new file may have another number. */
    CHECK(close(NUMBER) == 0 || errno == EBADF);
}

static void *close_it(void *nothing)
{
    by_close();
    return nothing;
}

static void by_another_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, close_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void by_dup2_of_pipe(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(dup2(ends[0], NUMBER) == NUMBER);
    CHECK_FAILS(ashmem_pin_region(NUMBER, 0, 0), ENOTTY);
    CHECK_FAILS(ashmem_unpin_region(NUMBER, 0, 0), ENOTTY);
    CHECK(ashmem_valid(NUMBER) == 0);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0 && close(NUMBER) == 0);
}

static void closed(void)
{
    static void (*const WAYS[])(void) = {by_close,   by_close_range,    by_closefrom,   by_fclose,
                                         by_freopen, by_another_thread, by_dup2_of_pipe};
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        for (int reused = 0; reused < 3; reused++) {
            int fd = put_region();
            WAYS[i]();
            if (reused == 0) {
                CHECK_FAILS(ashmem_pin_region(NUMBER, 0, 0), EBADF);
                CHECK_FAILS(ashmem_unpin_region(NUMBER, 0, 0), EBADF);
                CHECK(ashmem_valid(NUMBER) == 0);
                CHECK_FAILS(ashmem_get_pin_status(NUMBER, 0, 0), EBADF);
            } else {
                /* Another region, which had pin state before or has none. */
                int other = make_filled(COUNT);
                if (reused == 2)
                    CHECK(ashmem_unpin_region(other, page(), page()) == 0);
                CHECK(dup2(other, NUMBER) == NUMBER);
                CHECK(ashmem_pin_region(NUMBER, 0, 0) == ASHMEM_NOT_PURGED);
                CHECK(is_untouched(fd));
                CHECK(ashmem_unpin_region(NUMBER, 0, page()) == 0);
                CHECK(ashmem_get_pin_status(other, 0, page()) == ASHMEM_IS_UNPINNED);
                CHECK(ashmem_get_pin_status(other, page(), 0) == ASHMEM_IS_PINNED);
                CHECK(close(NUMBER) == 0 && close(other) == 0);
            }
            CHECK(is_untouched(fd));
            CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED);
            CHECK(page_is(fd, 0, 1) && page_is(fd, 2, 3) && close(fd) == 0);
        }
    }
}

/* Replaced in one step. */
static void replaced(void)
{
    for (int way = 0; way < 2; way++) {
        int fd = put_region(), other = make_filled(COUNT);
        CHECK((way == 0 ? dup2(other, NUMBER) : dup3(other, NUMBER, O_CLOEXEC)) == NUMBER);
        CHECK(ashmem_pin_region(NUMBER, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(is_untouched(fd));
        CHECK(ashmem_unpin_region(NUMBER, 0, 0) == 0);
        CHECK(ashmem_get_pin_status(other, 0, page()) == ASHMEM_IS_UNPINNED);
        /* By the first one again, and by itself. */
        CHECK(dup2(fd, NUMBER) == NUMBER && dup2(NUMBER, NUMBER) == NUMBER);
        CHECK(is_untouched(NUMBER));
        CHECK(ashmem_pin_region(NUMBER, page(), 0) == ASHMEM_NOT_PURGED);
        CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_PINNED);
        CHECK(ashmem_get_pin_status(other, 0, 0) == ASHMEM_IS_UNPINNED);
        /* The same region, but read-only, and back. */
        int reader = ashmem_share_read_only(fd);
        CHECK(dup2(reader, NUMBER) == NUMBER);
        CHECK_FAILS(ashmem_unpin_region(NUMBER, 0, 0), EACCES);
        CHECK(dup2(fd, NUMBER) == NUMBER);
        CHECK(ashmem_unpin_region(NUMBER, 0, 0) == 0);
        /* Calls that fail close nothing. */
        CHECK_FAILS(dup2(-1, NUMBER), EBADF);
        CHECK_FAILS(dup3(NUMBER, NUMBER, 0), EINVAL);
        CHECK_FAILS(close_range(NUMBER + 1, NUMBER, 0), EINVAL);
        CHECK(close_range(NUMBER, NUMBER, CLOSE_RANGE_CLOEXEC) == 0);
        CHECK(ashmem_pin_region(NUMBER, 0, 0) == ASHMEM_NOT_PURGED);
        CHECK(close(reader) == 0 && close(NUMBER) == 0 && close(fd) == 0 && close(other) == 0);
    }
}

/* Several numbers of one region: each goes alone. */
static void duplicates(void)
{
    int fd = put_region();
    CHECK(dup2(NUMBER, NUMBER + 1) == NUMBER + 1 && fcntl(NUMBER, F_DUPFD_CLOEXEC, NUMBER + 2) == NUMBER + 2);
    for (int i = 0; i < 3; i++)
        CHECK(ashmem_pin_region(NUMBER + i, 0, 0) == ASHMEM_NOT_PURGED && ashmem_unpin_region(NUMBER + i, 0, 0) == 0);
    CHECK(close(fd) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(close(NUMBER + i) == 0);
        CHECK_FAILS(ashmem_pin_region(NUMBER + i, 0, 0), EBADF);
        for (int left = i + 1; left < 3; left++) {
            CHECK(ashmem_pin_region(NUMBER + left, 0, 0) == ASHMEM_NOT_PURGED);
            CHECK(ashmem_unpin_region(NUMBER + left, 0, 0) == 0);
        }
    }
}

/* What a child closes, or puts there, is the child's. */
static int close_in_child(void *nothing)
{
    (void)nothing;
    return close(NUMBER) == 0 && close(NUMBER) == -1 && dup2(0, NUMBER) == NUMBER ? 0 : 1;
}

static void children(void)
{
    int fd = put_region(), status;
    pid_t child = vfork();
    CHECK(child != -1);
    if (child == 0)
        _exit(close_in_child(NULL));
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(ashmem_pin_region(NUMBER, page(), page()) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_unpin_region(NUMBER, page(), page()) == 0 && is_untouched(fd));

    if (in_child()) {
        CHECK(is_untouched(NUMBER) && close(NUMBER) == 0);
        CHECK_FAILS(ashmem_pin_region(NUMBER, 0, 0), EBADF);
        int other = make_filled(COUNT);
        CHECK(dup2(other, NUMBER) == NUMBER && ashmem_unpin_region(NUMBER, 0, 0) == 0);
        CHECK(is_untouched(fd));
        _exit(0);
    }
    wait_for_children();
    CHECK(is_untouched(NUMBER));

    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, NUMBER) == 0);
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    CHECK(posix_spawnp(&child, "true", &actions, NULL, arguments, environment) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
    CHECK(ashmem_pin_region(NUMBER, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_PINNED);
    CHECK(close(NUMBER) == 0 && close(fd) == 0);
}

/* Mappings and descriptors of the process whose files have that name. */
static int traces(const char *name)
{
    char label[100], line[1000];
    snprintf(label, sizeof label, "/memfd:%s (deleted)", name);
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        found += strstr(line, label) != NULL;
    CHECK(fclose(maps) == 0);
    DIR *descriptors = opendir("/proc/self/fd");
    CHECK(descriptors != NULL);
    for (struct dirent *entry; (entry = readdir(descriptors)) != NULL;) {
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, line, sizeof line - 1);
        if (length > 0) {
            line[length] = 0;
            found += strcmp(line, label) == 0;
        }
    }
    CHECK(closedir(descriptors) == 0);
    return found;
}

/* The reclaimer's thread may be looking at them just now. */
static void leaves(const char *name, int most)
{
    for (int tries = 0; traces(name) > most; tries++) {
        CHECK(tries < 30000);
        usleep(1000);
    }
}

/* A region whose last descriptor is closed is gone, with its memory: nothing of the library keeps it. */
static void freed(bool seen)
{
    enum { REGIONS = 200 };
    /* Where closing is not seen, the entry of the last one waits for the next. An entry is a descriptor and a mapping or two. */
    const int one = 4;
    for (int i = 0; i < REGIONS; i++) {
        int fd = ashmem_create_region("gone", 4 << 20);
        CHECK(fd >= 0);
        char *data = map(fd, 4 << 20);
        for (size_t at = 0; at < 4 << 20; at += page())
            data[at] = 1;
        CHECK(munmap(data, 4 << 20) == 0);
        CHECK(ashmem_unpin_region(fd, 0, 0) == 0);
        CHECK(i % 2 == 0 || ashmem_pin_region(fd, 0, page()) == ASHMEM_NOT_PURGED);
        CHECK(close(fd) == 0);
        if (i % 20 == 0)
            leaves("gone", seen ? 0 : one);
    }
    leaves("gone", seen ? 0 : one);
    /* Closed at once, many of them. */
    for (int i = 0; i < 50; i++) {
        int fd = ashmem_create_region("many", page());
        CHECK(dup2(fd, NUMBER + i) == NUMBER + i && close(fd) == 0);
        CHECK(ashmem_unpin_region(NUMBER + i, 0, 0) == 0);
    }
    CHECK(traces("many") >= 50);
    CHECK(close_range(NUMBER, NUMBER + 49, 0) == 0);
    if (!seen) {
        int next = make_filled(1);
        CHECK(ashmem_unpin_region(next, 0, 0) == 0 && close(next) == 0);
    }
    leaves("many", 0);
    /* Only asked about, they are not kept either way. */
    int fd = ashmem_create_region("asked", page());
    struct ashmem_stats stats;
    CHECK(ashmem_pin_region(fd, 0, 0) == ASHMEM_NOT_PURGED && ashmem_get_stats(fd, &stats) == 0);
    CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_PINNED && ashmem_purge(fd, NULL) == 0);
    CHECK(ashmem_get_size_region(fd) == (int)page() && ashmem_valid(fd) == 1);
    CHECK(traces("asked") == 1);
    CHECK(close(fd) == 0 && traces("asked") == 0);
    /* What is closed is no more reclaimed. */
    if (seen) {
        int left = renumber(make_filled(COUNT), NUMBER);
        CHECK(dup2(left, NUMBER + 1) == NUMBER + 1 && ashmem_unpin_region(NUMBER + 1, 0, 0) == 0);
        CHECK(close(NUMBER + 1) == 0);
        leaves("checked", 1);
        struct ashmem_freed freed;
        CHECK(ashmem_reclaim(UINT64_MAX, &freed) == 0 && freed.pages == 0);
        CHECK(close(NUMBER) == 0);
    }
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    never_short();
    closed();
    replaced();
    duplicates();
    children();
    freed(strcmp(arguments[1], "seen") == 0);
    return 0;
}
