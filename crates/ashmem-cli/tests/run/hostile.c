/*
 * Programs that mean harm, or mean well and are unlucky, for the tests of `ashmem run`.
 *
 *   hostile WHAT [ARGUMENTS]   does what `main` lists under that name. Says what is not as it should be, and fails then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define SET_NAME _IOW(0x77, 1, char[256])
#define GET_NAME _IOR(0x77, 2, char[256])
#define SET_SIZE _IOW(0x77, 3, size_t)
#define GET_SIZE _IO(0x77, 4)
#define SET_PROT _IOW(0x77, 5, unsigned long)
#define PIN _IOW(0x77, 7, struct pin)
#define UNPIN _IOW(0x77, 8, struct pin)
#define PIN_STATUS _IO(0x77, 9)
#define FILE_ID _IOR(0x77, 11, unsigned long)

struct pin { uint32_t offset, len; };

#define PAGE 4096ul
#define DEVICE "/dev/ashmem"

static atomic_int failures, over;

#define CHECK(what) \
	do { \
		errno = 0; \
		if (!(what)) { \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #what, strerror(errno)); \
			failures++; \
		} \
	} while (0)
#define FAILS(call, error) CHECK((call) == -1 && errno == (error))

static int area(size_t size)
{
	int fd = open(DEVICE, O_RDWR);
	CHECK(fd >= 0);
	CHECK(ioctl(fd, SET_SIZE, size) == 0);
	return fd;
}

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	over = 0;
	CHECK(pthread_create(&thread, 0, run, argument) == 0);
	return thread;
}

static void end(pthread_t thread)
{
	over = 1;
	pthread_join(thread, 0);
}

/* ---- races ---- */

static char flipping[64];

static void *flip_path(void *other)
{
	while (!over) {
		/* Both have their end at the same place. */
		memcpy(flipping, DEVICE, sizeof DEVICE);
		memcpy(flipping, other, sizeof DEVICE);
	}
	return 0;
}

/* A path that changes while it is opened: the device or the file or neither, never anything else. */
static void paths(void)
{
	strcpy(flipping, DEVICE);
	pthread_t thread = start(flip_path, "/proc/uptim");
	int devices = 0;
	for (int i = 0; i < 3000; i++) {
		int fd = open(flipping, O_RDWR);
		if (fd >= 0) {
			CHECK(ioctl(fd, GET_SIZE) == 0);
			devices++;
			close(fd);
		} else if (errno != ENOENT && errno != EACCES)
			CHECK(!"another error");
	}
	end(thread);
	thread = start(flip_path, "/dev/random");
	for (int i = 0; i < 3000; i++) {
		struct stat found;
		int fd = open(flipping, O_RDONLY);
		if (fd < 0 && errno != ENOENT)
			CHECK(!"another error");
		if (fd >= 0) {
			CHECK(fstat(fd, &found) == 0 && S_ISCHR(found.st_mode));
			close(fd);
		}
		CHECK(stat(flipping, &found) == 0 || errno == ENOENT);
		CHECK(access(flipping, R_OK) == 0 || errno == ENOENT);
	}
	end(thread);
}

static char name[256];
static struct pin changing;

static void *change(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !over; i++) {
		memset(name, 'a' + i % 26, i % 3 ? 255 : 256);
		name[i % 256] = 0;
		changing.offset = i % 9 ? (i % 5) * PAGE : i;
		changing.len = i % 7 ? (i % 4) * PAGE : i;
	}
	return 0;
}

static void arguments_that_change(void)
{
	pthread_t thread = start(change, 0);
	for (int i = 0; i < 300; i++) {
		char found[256];
		int fd = area(4 * PAGE);
		CHECK(ioctl(fd, SET_NAME, name) == 0);
		memset(found, 0x7f, sizeof found);
		CHECK(ioctl(fd, GET_NAME, found) == 0);
		CHECK(memchr(found, 0, sizeof found));
		CHECK(ioctl(fd, GET_NAME, name) == 0);
		char *memory = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(memory != MAP_FAILED);
		for (int j = 0; j < 8; j++) {
			CHECK(ioctl(fd, UNPIN, &changing) == 0 || errno == EINVAL);
			CHECK(ioctl(fd, PIN_STATUS, &changing) >= 0 || errno == EINVAL);
			CHECK(ioctl(fd, PIN, &changing) >= 0 || errno == EINVAL);
		}
		munmap(memory, 4 * PAGE);
		close(fd);
	}
	end(thread);
}

static int secret, other, number;

static void *exchange(void *unused)
{
	(void)unused;
	while (!over) {
		dup2(secret, number);
		dup2(other, number);
		if (!(rand() % 8))
			close(number);
	}
	return 0;
}

static int unwritable(int fd, char *readable)
{
	char before = readable[0];
	char path[64];
	CHECK(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(mprotect(readable, PAGE, PROT_READ | PROT_WRITE) == -1);
	CHECK(pwrite(fd, "!", 1, 0) == -1);
	CHECK(write(fd, "!", 1) == -1);
	CHECK(ftruncate(fd, 0) == -1);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == -1);
	CHECK(madvise(readable, PAGE, MADV_REMOVE) == -1);
	CHECK(ioctl(fd, SET_PROT, 7ul) == -1);
	/* Opening it anew makes an area of its own. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR);
	if (again >= 0) {
		CHECK(ioctl(again, GET_SIZE) == 0);
		if (write(again, "!", 1) == 1)
			ftruncate(again, 0);
		close(again);
	}
	snprintf(path, sizeof path, "/proc/%d/task/%ld/fd/%d", getpid(), syscall(SYS_gettid), fd);
	again = open(path, O_RDWR);
	if (again >= 0) {
		CHECK(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
		close(again);
	}
	return before == 's' && readable[0] == 's';
}

/* Once WRITE is taken away nobody new may write, whatever happens to the descriptor meanwhile. */
static void masked(void)
{
	for (int round = 0; round < 6; round++) {
		secret = area(PAGE);
		other = area(PAGE);
		number = dup(round % 2 ? secret : other);
		if (round > 3)
			number = dup2(secret, 500);
		char *memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
		CHECK(memory != MAP_FAILED);
		memset(memory, 's', PAGE);
		CHECK(ioctl(secret, SET_PROT, (unsigned long)PROT_READ) == 0);
		char *readable = mmap(0, PAGE, PROT_READ, MAP_SHARED, secret, 0);
		CHECK(readable != MAP_FAILED);
		CHECK(unwritable(secret, readable));
		pthread_t thread = start(exchange, 0);
		for (int i = 0; i < 800; i++) {
			char *mapped = mmap(0, PAGE, PROT_READ | (i % 4 ? PROT_WRITE : 0), MAP_SHARED, number, 0);
			if (mapped != MAP_FAILED) {
				if (i % 4)
					mapped[0] = '!';
				else if (mprotect(mapped, PAGE, PROT_READ | PROT_WRITE) == 0)
					mapped[0] = '!';
				munmap(mapped, PAGE);
			}
			if (!(i % 5))
				mapped = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, number, 0);
			if (!(i % 5) && mapped != MAP_FAILED) {
				mapped[0] = '!';
				munmap(mapped, PAGE);
			}
			pwrite(number, "!", 1, 0);
			write(number, "!", 1);
			ftruncate(number, 0);
			CHECK(readable[0] == 's');
		}
		end(thread);
		CHECK(unwritable(secret, readable));
		CHECK(memory[0] == 's' && memory[PAGE - 1] == 's');
		memory[1] = 't';
		CHECK(readable[1] == 't');
		munmap(memory, PAGE);
		munmap(readable, PAGE);
		close(secret);
		close(other);
		close(number);
	}
}

static void *map_privately(void *unused)
{
	struct pin all = { 0, 0 };
	(void)unused;
	for (int i = 0; i < 1500; i++) {
		int fd = area(PAGE);
		char *memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		CHECK(memory != MAP_FAILED);
		munmap(memory, PAGE);
		CHECK(ioctl(fd, UNPIN, &all) == 0);
		memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(memory != MAP_FAILED);
		munmap(memory, PAGE);
		CHECK(close(fd) == 0);
	}
	return 0;
}

/* What stands behind private mappings is there, however short it is needed, whatever the server tidies up meanwhile. */
static void privately(void)
{
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], 0, map_privately, 0) == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], 0);
}

/* ---- bad pointers ---- */

static void pointers(void)
{
	char *mapped = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *nothing = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(mapped + PAGE, PAGE);
	void *bad[] = { 0, (void *)8, nothing, mapped + PAGE, mapped + PAGE - 1, (void *)0x8000000000000000, (void *)-8l,
		(void *)-4096l, (void *)0xffff888000000000, (void *)0x7ffffffff000 };
	int fd = area(2 * PAGE);
	char *memory = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK(memory != MAP_FAILED);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		void *at = bad[i];
		/* One byte can be read there: it is an empty string. */
		int empty = at == mapped + PAGE - 1;
		CHECK(open(at, O_RDWR) == -1 && errno == (empty ? ENOENT : EFAULT));
		CHECK(openat(AT_FDCWD, at, O_RDWR) == -1 && errno == (empty ? ENOENT : EFAULT));
		CHECK(syscall(SYS_openat2, AT_FDCWD, DEVICE, at, 24) == -1 && errno == EFAULT);
		CHECK(syscall(SYS_openat2, AT_FDCWD, at, mapped, 24) == -1);
		CHECK(syscall(SYS_newfstatat, AT_FDCWD, at, memory, 0) == -1);
		CHECK(syscall(SYS_newfstatat, AT_FDCWD, DEVICE, at, 0) == -1 && errno == EFAULT);
		CHECK(syscall(SYS_fstat, fd, at) == -1 && errno == EFAULT);
		CHECK(syscall(SYS_statx, AT_FDCWD, DEVICE, 0, 0x7ff, at) == -1 && errno == EFAULT);
		CHECK(syscall(SYS_statx, AT_FDCWD, at, 0, 0x7ff, memory) == -1);
		CHECK(access(at, R_OK) == -1);
		CHECK(readlink(at, memory, 10) == -1);
		CHECK(readlink(path, at, 11) == -1 && errno == EFAULT);
		for (int request = 0; request < 12; request++) {
			unsigned long all[] = { SET_NAME, GET_NAME, PIN, UNPIN, PIN_STATUS, FILE_ID };
			if (request >= 6 || all[request] == FILE_ID)
				continue;
			if (all[request] == SET_NAME && empty)
				FAILS(ioctl(fd, SET_NAME, at), EINVAL);
			else
				FAILS(ioctl(fd, all[request], at), EFAULT);
		}
		FAILS(read(fd, at, 100), EFAULT);
		FAILS(pread(fd, at, 100, 0), EFAULT);
		FAILS(readv(fd, at, 1), EFAULT);
		FAILS(preadv(fd, at, 1, 0), EFAULT);
		struct iovec io = { at, 100 };
		FAILS(readv(fd, &io, 1), EFAULT);
		FAILS(write(fd, at, 100), EINVAL);
		CHECK(syscall(SYS_sendfile, 1, fd, at, 10) == -1);
		CHECK(syscall(SYS_getxattr, DEVICE, at, at, 10) == -1);
		CHECK(mprotect(at, PAGE, PROT_READ) == -1 || i == 2 || at == bad[2]);
		CHECK(syscall(SYS_remap_file_pages, at, PAGE, 0, 0, 0) == -1);
	}
	/* What is partly there is filled as far as it goes. */
	char *edge = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(edge + PAGE, PAGE);
	CHECK(pread(fd, edge + PAGE - 10, 100, 0) == 10);
	/* Names as long as can be, and longer. */
	char *names = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), found[256];
	memset(names, 'n', 1 << 20);
	int named = area(PAGE);
	CHECK(ioctl(named, SET_NAME, names) == 0);
	CHECK(ioctl(named, GET_NAME, found) == 0);
	CHECK(strlen(found) == 255);
	FAILS(open(names, O_RDWR), ENAMETOOLONG);
	FAILS(access(names, R_OK), ENAMETOOLONG);
	memcpy(names, "/dev/ashmem", 11);
	FAILS(open(names, O_RDWR), ENAMETOOLONG);
	CHECK(readv(fd, (struct iovec *)names, 5000) == -1 && errno == EINVAL);
	struct iovec huge[2] = { { edge, -1ul }, { edge, 10 } };
	FAILS(readv(fd, huge, 2), EINVAL);
	volatile size_t most = -1ul;
	CHECK(read(fd, edge, most) == -1 && (errno == EFAULT || errno == EINVAL));
	memory[0] = 'm';
	CHECK(pread(fd, edge, 1, 0) == 1 && edge[0] == 'm');
	/* Numbers that are no descriptors. */
	int numbers[] = { -1, -2, 12345, 1 << 30, 0x7fffffff, (int)0x80000000 };
	for (unsigned i = 0; i < 6; i++) {
		FAILS(ioctl(numbers[i], GET_SIZE), EBADF);
		FAILS(ioctl(numbers[i], PIN, 0), EBADF);
		FAILS(fcntl(numbers[i], F_DUPFD, 0), EBADF);
		FAILS(read(numbers[i], edge, 1), EBADF);
		FAILS(lseek(numbers[i], 0, SEEK_SET), EBADF);
		CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, numbers[i], 0) == MAP_FAILED && errno == EBADF);
	}
}

/* ---- descriptors ---- */

static void limit(rlim_t files)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = files;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int fill(int *all, int most)
{
	int count = 0;
	while (count < most && (all[count] = open(DEVICE, O_RDWR)) >= 0)
		count++;
	return count;
}

static void exhaustion(void)
{
	static int all[3000];
	rlim_t limits[] = { 20, 700, 768, 769, 1024 };
	for (int i = 0; i < 5; i++) {
		limit(limits[i]);
		int count = fill(all, 3000);
		int error = errno;
		CHECK(error == EMFILE);
		/* As many as fit, and no more. */
		CHECK(count <= (int)limits[i] && count >= (int)limits[i] - 8);
		if (count > (int)limits[i] || count < (int)limits[i] - 8)
			fprintf(stderr, "%d of %d\n", count, (int)limits[i]);
		FAILS(dup(all[0]), EMFILE);
		FAILS(open("/dev/null", O_RDONLY), EMFILE);
		for (int j = 0; j < count; j++) {
			CHECK(ioctl(all[j], SET_SIZE, PAGE) == 0);
			CHECK(ioctl(all[j], GET_SIZE) == PAGE);
			/* The file behind it is exchanged where there is no number left. */
			char *memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, j % 2 ? MAP_SHARED : MAP_PRIVATE, all[j], 0);
			CHECK(memory != MAP_FAILED);
			if (memory != MAP_FAILED) {
				memory[0] = 1;
				munmap(memory, PAGE);
			}
		}
		for (int j = 0; j < count; j++)
			CHECK(close(all[j]) == 0);
		int again = open(DEVICE, O_RDWR);
		CHECK(again >= 0);
		close(again);
	}
}

/* Thousands of areas, all at once. */
static void many(int count)
{
	int *all = calloc(count, sizeof *all);
	limit(count + 2000);
	for (int i = 0; i < count; i++) {
		all[i] = area(PAGE);
		char *memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, all[i], 0);
		CHECK(memory != MAP_FAILED);
		memory[0] = i;
		munmap(memory, PAGE);
		if (all[i] < 0 || failures)
			return;
	}
	for (int i = 0; i < count; i += 7) {
		char byte;
		CHECK(pread(all[i], &byte, 1, 0) == 1 && byte == (char)i);
	}
}

/* ---- other filters ---- */

static int filter(unsigned flags, int call, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void filters(void)
{
	int before = area(PAGE);
	CHECK(filter(0, SYS_getppid, SECCOMP_RET_ERRNO | EDOM) == 0);
	FAILS(syscall(SYS_getppid), EDOM);
	CHECK(ioctl(before, GET_SIZE) == PAGE);
	int fd = area(PAGE);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	/* One listener is all that the kernel allows. */
	FAILS(filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, SYS_getppid, SECCOMP_RET_USER_NOTIF), EBUSY);
	/* A filter of its own that refuses comes first. */
	CHECK(filter(0, SYS_ioctl, SECCOMP_RET_ERRNO | EDOM) == 0);
	FAILS(ioctl(before, GET_SIZE), EDOM);
}

/* ---- ends ---- */

/* Works until it is killed, or nobody answers any more. */
static void *work(void *unused)
{
	(void)unused;
	for (int i = 0;; i++) {
		int fd = open(DEVICE, O_RDWR);
		if (fd < 0)
			return (void *)(long)errno;
		struct pin pin = { 0, 0 };
		ioctl(fd, SET_NAME, "work");
		if (ioctl(fd, SET_SIZE, 4 * PAGE) < 0)
			return (void *)(long)errno;
		char *memory = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, i % 5 ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		if (memory == MAP_FAILED)
			return (void *)(long)errno;
		memory[0] = 1;
		ioctl(fd, UNPIN, &pin);
		ioctl(fd, PIN, &pin);
		munmap(memory, 4 * PAGE);
		if (i % 3)
			close(fd);
		else
			close(dup2(fd, 20 + i % 7));
		if (i % 3 == 0)
			close(fd);
		if (i == 20)
			puts("ready");
	}
}

static void works(void)
{
	pthread_t thread[3];
	void *error;
	setvbuf(stdout, 0, _IOLBF, 0);
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], 0, work, 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], &error);
		printf("%s\n", (long)error == ENOSYS ? "ENOSYS" : strerror((long)error));
	}
	/* What is not ours goes on. */
	char path[8];
	CHECK(open("/proc/self/comm", O_RDONLY) == -1 && errno == ENOSYS);
	CHECK(getcwd(path, sizeof path) || errno == ERANGE);
}

/* ---- garbage ---- */

static uint64_t state;

static uint64_t roll(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static char shared[16 * PAGE] __attribute__((aligned(4096)));

static long garbage(int *areas)
{
	switch (roll() % 16) {
	case 0: case 1: return areas[roll() % 8];
	case 2: return 768 + roll() % 32;
	case 3: return (long)shared + roll() % sizeof shared;
	case 4: return (long)shared + (roll() % 16) * PAGE;
	case 5: return roll() % 64;
	case 6: return (roll() % 32) * PAGE;
	case 7: return -(long)(roll() % 4096);
	case 8: return roll();
	case 9: return 0;
	case 10: return 1l << roll() % 64;
	case 11: return (1l << roll() % 64) - 1;
	case 12: return (long)DEVICE;
	case 13: return (long)"/proc/self/maps";
	case 14: return 0x7700 + roll() % 16 + (roll() % 4 << 30) + (roll() % 300 << 16);
	default: return AT_FDCWD;
	}
}

static void fuzz(unsigned long seed, long count)
{
	static const int calls[] = { SYS_ioctl, SYS_ioctl, SYS_ioctl, SYS_ioctl, SYS_openat, SYS_openat2, SYS_newfstatat, SYS_statx,
		SYS_fstat, SYS_readlinkat, SYS_faccessat, SYS_faccessat2, SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64,
		SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_fcntl, SYS_dup, SYS_ftruncate,
		SYS_fallocate, SYS_mprotect, SYS_pkey_mprotect, SYS_remap_file_pages, SYS_mmap, SYS_mmap, SYS_fsync,
		SYS_fdatasync, SYS_sync_file_range, SYS_copy_file_range, SYS_splice, SYS_sendfile, SYS_getxattr, SYS_listxattr,
		SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg };
	int areas[8];
	state = seed * 0x9e3779b97f4a7c15 + 1;
	limit(1024);
	/* No file of others': none is written to, none is waited for. */
	int null = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close_range(3, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	for (int i = 0; i < 8; i++) {
		areas[i] = open(DEVICE, O_RDWR);
		ioctl(areas[i], SET_SIZE, (roll() % 9) * PAGE + roll() % 2);
	}
	for (long i = 0; i < count; i++) {
		long a[6];
		int call = calls[roll() % (sizeof calls / sizeof *calls)];
		for (int j = 0; j < 6; j++)
			a[j] = garbage(areas);
		if (roll() % 2)
			a[0] = areas[roll() % 8];
		if (call == SYS_ioctl && roll() % 4)
			a[1] = (long[]){ SET_NAME, GET_NAME, SET_SIZE, GET_SIZE, SET_PROT, PIN, UNPIN, PIN_STATUS, FILE_ID }[roll() % 9];
		if (call == SYS_openat || call == SYS_openat2) {
			a[0] = AT_FDCWD;
			a[2] &= ~(O_CREAT | O_TRUNC);
		}
		if (call == SYS_mmap) {
			/* Not over what the program lives in. */
			a[0] = roll() % 2 ? 0 : (long)shared + (8 + roll() % 8) * PAGE;
			a[1] = a[0] ? PAGE : a[1] % (64 * PAGE);
			a[3] = (a[0] ? MAP_FIXED : 0) | (roll() % 2 ? MAP_SHARED : MAP_PRIVATE);
			a[4] = areas[roll() % 8];
		}
		if (call == SYS_mprotect || call == SYS_pkey_mprotect || call == SYS_remap_file_pages) {
			a[0] = (long)shared + (8 + roll() % 8) * PAGE;
			a[1] %= 9 * PAGE - (a[0] - (long)shared - 8 * (long)PAGE) % (8 * PAGE);
			a[1] = a[1] < 0 ? PAGE : a[1] % (8 * PAGE);
			if (a[0] + a[1] > (long)shared + (long)sizeof shared)
				a[1] = PAGE;
		}
		if (call == SYS_fcntl)
			a[1] = (long[]){ F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, 1033, 1034 }[roll() % 6];
		/* Only areas are written to, and only the program's own buffer is read into. */
		if (call == SYS_read || call == SYS_write || call == SYS_readv || call == SYS_writev)
			a[0] = areas[roll() % 8];
		if (call == SYS_sendmsg || call == SYS_recvmsg || call == SYS_sendmmsg) {
			static int pair[2] = { -1, -1 };
			if (pair[0] < 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair)) {}
			a[0] = pair[roll() % 2];
		}
		syscall(call, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (!(roll() % 16)) {
			int slot = roll() % 8;
			close(areas[slot]);
			areas[slot] = open(DEVICE, roll() % 4 ? O_RDWR : O_RDONLY);
			ioctl(areas[slot], SET_SIZE, (roll() % 9) * PAGE + roll() % 2);
			/* What calls have left behind. */
			if (!(roll() % 16))
				close_range(40, 700, 0);
			if (!(roll() % 64))
				close_range(800, 1024, 0);
		}
	}
}

/* Ways to an area's file that go around its descriptor. */
static void ways_around(void)
{
	char path[64];
	int fd = area(2 * PAGE);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS(truncate(path, 0), EINVAL);
	FAILS(truncate(DEVICE, 0), EINVAL);
	char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	memset(memory, 7, 2 * PAGE);
	/* The device's permissions are root's to change; the area stays what it is. */
	CHECK(fchmod(fd, 0) == (geteuid() ? -1 : 0));
	CHECK(fchown(fd, 1, 1) == (geteuid() ? -1 : 0));
	char *private = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(private != MAP_FAILED && *private == 0);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	FAILS(open("/dev/ashmem/x", O_RDWR), ENOTDIR);
	FAILS(open(path, O_RDWR | O_NOFOLLOW), ELOOP);
}

/* An area whose only descriptor is on its way stays as it is. */
static void on_its_way(void)
{
	int sockets[2], fd = area(2 * PAGE);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	memset(memory, 7, 2 * PAGE);
	struct pin all = { 0, 0 };
	CHECK(ioctl(fd, UNPIN, &all) == 0);
	union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } control;
	struct iovec vector = { "x", 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	CHECK(sendmsg(sockets[0], &message, 0) == 1);
	CHECK(close(fd) == 0);
	int other = area(PAGE), purged = ioctl(other, _IO(0x77, 10));
	CHECK(purged == (geteuid() ? -1 : 2));
	char data[1];
	vector = (struct iovec){ data, 1 };
	CHECK(recvmsg(sockets[1], &message, 0) == 1);
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	CHECK(ioctl(fd, PIN_STATUS, &all) == 0);
	CHECK(ioctl(fd, PIN, &all) == (geteuid() ? 0 : 1));
	CHECK(memory[PAGE] == (geteuid() ? 7 : 0));
}

/* Many ranges: each call takes as long as what it touches. */
static void ranges(uint32_t count)
{
	int fd = area(2ul * count * PAGE);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
	for (uint32_t range = 0; range < count; range++) {
		struct pin one = { 2 * range * PAGE, PAGE };
		if (ioctl(fd, UNPIN, &one) != 0)
			failures++;
	}
	struct pin all = { 0, 0 };
	CHECK(ioctl(fd, PIN_STATUS, &all) == 0);
	CHECK(ioctl(fd, PIN, &all) == 0);
	CHECK(ioctl(fd, PIN_STATUS, &all) == 1);
}

/* A child for the calls, so that whatever befalls it is no news. */
static void fuzzes(unsigned long seed, long count)
{
	for (int i = 0; i < 4; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			alarm(60);
			fuzz(seed + i, count);
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child);
		CHECK(!(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM));
	}
	/* And yet it works. */
	int fd = area(PAGE);
	CHECK(ioctl(fd, GET_SIZE) == PAGE);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";
	alarm(100); /* not to outlive a test that was killed */
	if (!strcmp(what, "paths")) paths();
	else if (!strcmp(what, "arguments")) arguments_that_change();
	else if (!strcmp(what, "masked")) masked();
	else if (!strcmp(what, "privately")) privately();
	else if (!strcmp(what, "pointers")) pointers();
	else if (!strcmp(what, "exhaustion")) exhaustion();
	else if (!strcmp(what, "many")) many(atoi(arguments[2]));
	else if (!strcmp(what, "filters")) filters();
	else if (!strcmp(what, "around")) ways_around();
	else if (!strcmp(what, "onway")) on_its_way();
	else if (!strcmp(what, "ranges")) ranges(strtoul(arguments[2], 0, 0));
	else if (!strcmp(what, "works")) works();
	else if (!strcmp(what, "fuzz")) fuzzes(strtoul(arguments[2], 0, 0), atol(arguments[3]));
	else return 2;
	return failures ? 1 : 0;
}
