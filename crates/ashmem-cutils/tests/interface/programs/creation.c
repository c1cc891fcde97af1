/* What a new region is: its name, its size, and that it does not pass an exec. */
#define _GNU_SOURCE
#include <android/sharedmem.h>
#include <sys/stat.h>

#include "regions.h"

/* Whether /proc/self/maps shows a mapping with that label. */
static bool is_shown(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    char label[600];
    snprintf(label, sizeof label, " /memfd:%s (deleted)\n", name);
    char line[1000];
    bool found = false;
    while (fgets(line, sizeof line, maps))
        found = found || (strlen(line) > strlen(label) && strcmp(line + strlen(line) - strlen(label), label) == 0);
    CHECK(fclose(maps) == 0);
    return found;
}

static void named(const char *name, const char *expected)
{
    int fds[] = {ashmem_create_region(name, 100), ASharedMemory_create(name, 100), ashmem_create(name, 100, 0)};
    for (size_t i = 0; i < 3; i++) {
        CHECK(fds[i] >= 0);
        CHECK(!is_shown(expected));
        char *data = map(fds[i], 100);
        CHECK(is_shown(expected));
        CHECK(munmap(data, 100) == 0);
        CHECK(close(fds[i]) == 0);
    }
}

static void names(void)
{
    named("tiles of a map", "tiles of a map");
    named("", "");
    named(NULL, "none");
    named("dev/ashmem/deep", "dev/ashmem/deep");
    char longest[250] = "";
    memset(longest, 'n', 249);
    named(longest, longest);
    char longer[400] = "";
    memset(longer, 'n', 250);
    named(longer, longest);
    memset(longer, 'n', 399);
    named(longer, longest);
    /* A label, no key. */
    int one = ashmem_create_region("same", 1), other = ashmem_create_region("same", 1);
    uint64_t id, other_id;
    CHECK(ashmem_get_file_id(one, &id) == 0 && ashmem_get_file_id(other, &other_id) == 0);
    CHECK(id != other_id);
    CHECK(close(one) == 0 && close(other) == 0);
}

static void of_size(size_t size)
{
    int fds[] = {ashmem_create_region("sized", size), ASharedMemory_create("sized", size),
                 ashmem_create("sized", size, 0)};
    for (size_t i = 0; i < 3; i++) {
        int fd = fds[i];
        CHECK(fd >= 0);
        CHECK(ashmem_valid(fd) == 1);
        CHECK(ASharedMemory_getSize(fd) == size);
        uint64_t answer = 0;
        CHECK(ashmem_get_size(fd, &answer) == 0 && answer == size);
        if (size <= INT_MAX)
            CHECK(ashmem_get_size_region(fd) == (int)size);
        else
            CHECK_FAILS(ashmem_get_size_region(fd), EOVERFLOW);
        struct stat status;
        CHECK(fstat(fd, &status) == 0);
        CHECK(status.st_blocks == 0 || size < 10 * page());
        CHECK_FAILS(ftruncate(fd, 0), EPERM);
        if (size > 1)
            CHECK_FAILS(ftruncate(fd, (off_t)size - 1), EPERM);
        CHECK(ASharedMemory_getSize(fd) == size);
        CHECK(close(fd) == 0);
    }
}

static void sizes(void)
{
    const size_t fine[] = {1,         page() - 1, page(),       page() + 1,      10000,
                           1UL << 30, INT_MAX,    1UL + INT_MAX, (5UL << 32) + 7, 1UL << 56};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        of_size(fine[i]);
    const size_t wrong[] = {0, (1UL << 56) + 1, LONG_MAX, 1UL + LONG_MAX, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_FAILS(ashmem_create_region("sized", wrong[i]), EINVAL);
        CHECK_FAILS(ashmem_create("sized", wrong[i], 0), EINVAL);
        if (wrong[i] != 0)
            CHECK_FAILS(ASharedMemory_create("sized", wrong[i]), EINVAL);
    }
    CHECK(ASharedMemory_create("sized", 0) == -EINVAL);
    CHECK(ASharedMemory_create(NULL, 0) == -EINVAL);
}

static void contents(void)
{
    const size_t size = 3 * page() + 5;
    int fd = make_region(size);
    char *data = map(fd, size);
    for (size_t i = 0; i < size; i++)
        CHECK(data[i] == 0);
    CHECK(ashmem_get_pin_status(fd, 0, 0) == ASHMEM_IS_PINNED);
    memset(data, 7, size);
    /* Neither the mapping nor the descriptor is needed by the other. */
    CHECK(close(fd) == 0);
    CHECK(data[size - 1] == 7);
    CHECK(munmap(data, size) == 0);
    /* The whole last page can be mapped and used. */
    fd = make_region(1);
    data = map(fd, page());
    data[page() - 1] = 1;
    CHECK(munmap(data, page()) == 0);
    CHECK(close(fd) == 0);
}

/* As another program: the numbers in the arguments are no descriptors. */
static int look_for(int count, char **numbers)
{
    for (int i = 0; i < count; i++) {
        int fd = atoi(numbers[i]);
        CHECK(fd >= 800);
        CHECK_FAILS(fcntl(fd, F_GETFD), EBADF);
    }
    return 0;
}

static void exec(void)
{
    int fds[6];
    fds[0] = make_region(1);
    fds[1] = ASharedMemory_create("closed", 1);
    fds[2] = ashmem_create("closed", 1, 0);
    fds[3] = ashmem_create("closed", 1, ASHMEM_PURGEABLE);
    fds[4] = ashmem_create("closed", 1, ASHMEM_NEVER_PURGEABLE | ASHMEM_POPULATE | ASHMEM_NO_FURTHER_SEALS);
    fds[5] = ashmem_share_read_only(fds[0]);
    char numbers[6][12];
    char *arguments[9] = {"creation", "look-for"};
    for (int i = 0; i < 6; i++) {
        CHECK(fds[i] >= 0);
        CHECK(fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
        /* Keeps the flag, and takes a number that the other program does not use. */
        int high = fcntl(fds[i], F_DUPFD, 800);
        CHECK(high >= 800);
        CHECK(fcntl(high, F_SETFD, fcntl(fds[i], F_GETFD)) == 0);
        snprintf(numbers[i], sizeof numbers[i], "%d", high);
        arguments[2 + i] = numbers[i];
        /* With pin state the library has descriptors of its own. */
        if (i < 4)
            CHECK(ashmem_unpin_region(high, 0, 0) == 0);
    }
    if (in_child()) {
        execv("/proc/self/exe", arguments);
        _exit(1);
    }
    wait_for_children();
    for (int i = 0; i < 6; i++)
        CHECK(close(fds[i]) == 0);
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "look-for") == 0)
        return look_for(count - 2, arguments + 2);
    names();
    sizes();
    contents();
    exec();
    return 0;
}
