/* Whether the library sees descriptors being closed: usage: closing seen|unseen [LIBRARY TO OPEN]. It works in both cases. */
#define _GNU_SOURCE
#include <cutils/ashmem.h>
#include <dirent.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

#define NAME "closing-test"

static struct {
    int (*create)(const char *name, size_t size);
    int (*unpin)(int fd, size_t offset, size_t len);
    int (*pin)(int fd, size_t offset, size_t len);
    int (*valid)(int fd);
} library;

static void *find(void *handle, const char *name)
{
    void *found = dlsym(handle, name);
    CHECK(found != NULL);
    return found;
}

static void use_library(const char *path)
{
#ifdef NOT_LINKED
    CHECK(dlsym(RTLD_DEFAULT, "ashmem_valid") == NULL);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(handle != NULL);
    *(void **)&library.create = find(handle, "ashmem_create_region");
    *(void **)&library.unpin = find(handle, "ashmem_unpin_region");
    *(void **)&library.pin = find(handle, "ashmem_pin_region");
    *(void **)&library.valid = find(handle, "ashmem_valid");
#else
    (void)find;
    CHECK(path == NULL);
    library.create = ashmem_create_region;
    library.unpin = ashmem_unpin_region;
    library.pin = ashmem_pin_region;
    library.valid = ashmem_valid;
#endif
}

/* How many descriptors of this process name the region. */
static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char target[64] = "";
        CHECK(readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) >= 0 || errno == EINVAL || errno == ENOENT);
        count += strstr(target, NAME) != NULL;
    }
    CHECK(closedir(directory) == 0);
    return count;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    int seen = strcmp(argv[1], "seen") == 0;
    use_library(argv[2]);
    int fd = library.create(NAME, 4096);
    CHECK(fd >= 0 && library.valid(fd) == 1);
    CHECK(descriptors() == 1);
    char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(data != MAP_FAILED);
    strcpy(data, "decoded");
    CHECK(library.unpin(fd, 0, 0) == 0);
    CHECK(library.pin(fd, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(strcmp(data, "decoded") == 0);
    /* What the library keeps of it. */
    CHECK(descriptors() > 1);
    CHECK(dup2(fd, 900) == 900);
    CHECK(library.pin(900, 0, 0) == ASHMEM_NOT_PURGED);
    CHECK(close(900) == 0);
    CHECK_FAILS(library.pin(900, 0, 0), EBADF);
    CHECK(close(fd) == 0);
    CHECK((descriptors() == 0) == seen);
    int (*watch)(void *listener);
    *(void **)&watch = dlsym(RTLD_DEFAULT, "ashmem_close_watch");
    CHECK((watch != NULL && watch(NULL) == 1) == seen);
    return 0;
}
