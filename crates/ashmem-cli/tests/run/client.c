/*
 * A program that talks raw ioctl to /dev/ashmem, for the tests of `ashmem run`.
 *
 *   client WHAT [ARGUMENTS]   does what `main` lists under that name. Says what is not as it should be, and fails then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define SET_NAME _IOW(0x77, 1, char[256])
#define GET_NAME _IOR(0x77, 2, char[256])
#define SET_SIZE _IOW(0x77, 3, size_t)
#define GET_SIZE _IO(0x77, 4)
#define SET_PROT _IOW(0x77, 5, unsigned long)
#define GET_PROT _IO(0x77, 6)
#define PIN _IOW(0x77, 7, struct pin)
#define UNPIN _IOW(0x77, 8, struct pin)
#define PIN_STATUS _IO(0x77, 9)
#define PURGE_ALL _IO(0x77, 10)
#define FILE_ID _IOR(0x77, 11, unsigned long)
#define SET_SIZE_32 _IOW(0x77, 3, uint32_t)
#define SET_PROT_32 _IOW(0x77, 5, uint32_t)

struct pin { uint32_t offset, len; };

#define PAGE 4096ul
#define DEVICE "/dev/ashmem"

static atomic_int failures;

#define CHECK(what) \
	do { \
		errno = 0; \
		if (!(what)) { \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #what, strerror(errno)); \
			failures++; \
		} \
	} while (0)

/* It fails, and with that error. */
#define FAILS(call, error) CHECK((call) == -1 && errno == (error))

static int pinning(int fd, unsigned long request, uint32_t offset, uint32_t len)
{
	struct pin pin = { offset, len };
	return ioctl(fd, request, &pin);
}

static int area(const char *name, size_t size)
{
	int fd = open(DEVICE, O_RDWR);
	CHECK(fd >= 0);
	CHECK(ioctl(fd, SET_NAME, name) == 0);
	CHECK(ioctl(fd, SET_SIZE, size) == 0);
	return fd;
}

static char *map(int fd, size_t size, int prot)
{
	char *memory = mmap(0, size, prot, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	return memory;
}

/* An area with this name and size, that holds this byte. */
static void is_area(int fd, const char *name, size_t size, char byte)
{
	char found[256] = "";
	CHECK(ioctl(fd, GET_NAME, found) == 0);
	CHECK(strcmp(found, name) == 0);
	CHECK(ioctl(fd, GET_SIZE) == (int)size);
	char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	if (memory != MAP_FAILED) {
		CHECK(memory[0] == byte && memory[size - 1] == byte);
		munmap(memory, size);
	}
}

static int send_fd(int socket, int fd)
{
	char byte = 'f', control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec io = { &byte, 1 };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return sendmsg(socket, &message, 0) == 1 ? 0 : -1;
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec io = { &byte, 1 };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int fd = -1;
	if (recvmsg(socket, &message, 0) != 1)
		return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

static void wait_for(pid_t child)
{
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What libcutils looks at before it trusts a descriptor. */
static void is_device(int fd)
{
	struct stat device, found;
	struct statx extended;
	char path[64], link[64] = "";
	CHECK(stat(DEVICE, &device) == 0);
	CHECK(S_ISCHR(device.st_mode) && (device.st_mode & 0777) == 0666 && device.st_rdev != 0);
	CHECK(fstat(fd, &found) == 0);
	CHECK(S_ISCHR(found.st_mode) && found.st_rdev == device.st_rdev);
	CHECK(found.st_dev == device.st_dev && found.st_ino == device.st_ino);
	memset(&found, 0, sizeof found);
	CHECK(syscall(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH) == 0);
	CHECK(S_ISCHR(found.st_mode) && found.st_rdev == device.st_rdev);
	memset(&extended, 0, sizeof extended);
	CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended) == 0);
	CHECK(S_ISCHR(extended.stx_mode));
	CHECK(makedev(extended.stx_rdev_major, extended.stx_rdev_minor) == device.st_rdev);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK(readlink(path, link, sizeof link - 1) == (ssize_t)strlen(DEVICE));
	CHECK(strcmp(link, DEVICE) == 0);
	memset(&found, 0, sizeof found);
	CHECK(stat(path, &found) == 0);
	CHECK(S_ISCHR(found.st_mode) && found.st_rdev == device.st_rdev);
	CHECK(lstat(path, &found) == 0);
	CHECK(S_ISLNK(found.st_mode));
	CHECK(access(path, R_OK | W_OK) == 0);
}

static void libcutils(void)
{
	char with_id[64] = DEVICE, id[64] = "";
	struct stat device, found;
	struct statx extended;
	CHECK(access(DEVICE, F_OK) == 0);
	CHECK(access(DEVICE, R_OK | W_OK) == 0);
	FAILS(access(DEVICE, X_OK), EACCES);
	CHECK(stat(DEVICE, &device) == 0);
	CHECK(lstat(DEVICE, &found) == 0);
	CHECK(found.st_rdev == device.st_rdev);
	CHECK(statx(AT_FDCWD, DEVICE, 0, STATX_BASIC_STATS, &extended) == 0);
	CHECK(makedev(extended.stx_rdev_major, extended.stx_rdev_minor) == device.st_rdev);
	FAILS(readlink(DEVICE, id, sizeof id), EINVAL);
	int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
	CHECK(read(file, id, 36) == 36);
	close(file);
	strcat(with_id, id);
	CHECK(stat(with_id, &found) == 0);
	CHECK(found.st_rdev == device.st_rdev);
	int directory = open("/dev", O_RDONLY | O_DIRECTORY);
	int how[] = {
		open(DEVICE, O_RDWR | O_CLOEXEC), open(with_id, O_RDWR), openat(AT_FDCWD, DEVICE, O_RDWR),
		openat(directory, "ashmem", O_RDWR), open("/dev/../dev//./ashmem", O_RDWR),
	};
	for (unsigned i = 0; i < sizeof how / sizeof *how; i++) {
		CHECK(how[i] >= 0);
		is_device(how[i]);
		CHECK(ioctl(how[i], GET_SIZE) == 0);
		for (unsigned j = 0; j < i; j++)
			CHECK(how[i] != how[j]);
	}
	CHECK(chdir("/dev") == 0);
	int relative = open("ashmem", O_RDWR);
	CHECK(relative >= 0);
	is_device(relative);
	FAILS(open("/dev/ashmem0", O_RDWR), ENOENT);
	/* What belongs to other files is theirs. */
	int null = open("/dev/null", O_RDWR);
	CHECK(fstat(null, &found) == 0);
	CHECK(found.st_rdev == makedev(1, 3));
	FAILS(ioctl(null, GET_SIZE), ENOTTY);
	/* mapped, private, named, read-only: it is the device all the time */
	int fd = area("device", 2 * PAGE);
	is_device(fd);
	char *memory = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE);
	is_device(fd);
	char *private = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(private != MAP_FAILED);
	memory[0] = 1;
	CHECK(private[0] == 0);
	is_device(fd);
	CHECK(ioctl(fd, SET_PROT, PROT_READ) == 0);
	is_device(fd);
	CHECK(close(fd) == 0);
	memory[1] = 2;
}

static void duplicates(void)
{
	int fd = area("dup", PAGE);
	memset(map(fd, PAGE, PROT_READ | PROT_WRITE), 'd', PAGE);
	int low = dup2(fd, 7), lower = dup3(fd, 8, O_CLOEXEC);
	int copies[] = { dup(fd), low, lower, fcntl(fd, F_DUPFD, 20), fcntl(fd, F_DUPFD_CLOEXEC, 900), dup(low),
		fcntl(lower, F_DUPFD, 30) };
	CHECK(low == 7 && lower == 8);
	CHECK(copies[3] >= 20 && copies[4] >= 900 && copies[6] >= 30);
	CHECK(fcntl(copies[4], F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(copies[0], F_GETFD) == 0);
	for (unsigned i = 0; i < sizeof copies / sizeof *copies; i++) {
		is_device(copies[i]);
		is_area(copies[i], "dup", PAGE, 'd');
		CHECK(pinning(copies[i], UNPIN, 0, 0) == 0);
		CHECK(pinning(fd, PIN_STATUS, 0, 0) == 0);
		CHECK(pinning(fd, PIN, 0, 0) == 0);
	}
	/* One file position. */
	CHECK(lseek(fd, 100, SEEK_SET) == 100);
	CHECK(lseek(copies[0], 0, SEEK_CUR) == 100);
	close(fd);
	is_area(copies[0], "dup", PAGE, 'd');
	/* Another file in its place is another file. */
	int null = open("/dev/null", O_RDWR);
	CHECK(dup2(null, copies[0]) == copies[0]);
	FAILS(ioctl(copies[0], GET_SIZE), ENOTTY);
	struct stat found;
	CHECK(fstat(copies[0], &found) == 0);
	CHECK(found.st_rdev == makedev(1, 3));
}

static void execute(char *self)
{
	int fd = area("exec", PAGE), closing = open(DEVICE, O_RDWR | O_CLOEXEC), marked = area("marked", PAGE), low = dup2(fd, 5);
	char numbers[4][16];
	memset(map(fd, PAGE, PROT_READ | PROT_WRITE), 'e', PAGE);
	CHECK(fcntl(closing, F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(fd, F_GETFD) == 0);
	CHECK(fcntl(marked, F_SETFD, FD_CLOEXEC) == 0);
	/* The descriptor keeps that when its file is exchanged. */
	map(marked, PAGE, PROT_READ);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, marked, 0) != MAP_FAILED);
	CHECK(ioctl(closing, SET_NAME, "closing") == 0);
	CHECK(fcntl(marked, F_GETFD) == FD_CLOEXEC && fcntl(closing, F_GETFD) == FD_CLOEXEC);
	if (failures)
		return;
	int all[] = { fd, low, closing, marked };
	for (int i = 0; i < 4; i++)
		snprintf(numbers[i], sizeof numbers[i], "%d", all[i]);
	execl(self, self, "executed", numbers[0], numbers[1], numbers[2], numbers[3], (char *)0);
	CHECK(!"executed");
}

static void executed(char **numbers)
{
	is_device(atoi(numbers[0]));
	is_area(atoi(numbers[0]), "exec", PAGE, 'e');
	is_area(atoi(numbers[1]), "exec", PAGE, 'e');
	FAILS(fcntl(atoi(numbers[2]), F_GETFD), EBADF);
	FAILS(fcntl(atoi(numbers[3]), F_GETFD), EBADF);
	libcutils();
}

/* A server that makes areas for its children, which come to it over a socket, and their children. */
static void fork_server(void)
{
	enum { CHILDREN = 6 };
	pid_t children[CHILDREN];
	int sockets[CHILDREN];
	for (int i = 0; i < CHILDREN; i++) {
		int pair[2];
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		sockets[i] = pair[0];
		children[i] = fork();
		if (children[i] == 0) {
			close(pair[0]);
			for (int round = 0; round < 8; round++) {
				char name[16];
				int fd = receive_fd(pair[1]);
				CHECK(fd >= 0);
				snprintf(name, sizeof name, "child%d-%d", i, round);
				is_device(fd);
				is_area(fd, name, 3 * PAGE, 'a' + round);
				char *memory = map(fd, 3 * PAGE, PROT_READ | PROT_WRITE);
				pid_t grandchild = fork();
				if (grandchild == 0) {
					is_area(fd, name, 3 * PAGE, 'a' + round);
					memory[PAGE] = '!';
					CHECK(pinning(fd, UNPIN, 2 * PAGE, 0) == 0);
					_exit(failures ? 1 : 0);
				}
				wait_for(grandchild);
				CHECK(memory[PAGE] == '!');
				CHECK(pinning(fd, PIN_STATUS, 0, 0) == 0);
				CHECK(write(pair[1], "k", 1) == 1);
				munmap(memory, 3 * PAGE);
				close(fd);
			}
			_exit(failures ? 1 : 0);
		}
		close(pair[1]);
	}
	for (int round = 0; round < 8; round++) {
		int areas[CHILDREN];
		for (int i = 0; i < CHILDREN; i++) {
			char name[16];
			snprintf(name, sizeof name, "child%d-%d", i, round);
			areas[i] = area(name, 3 * PAGE);
			char *memory = map(areas[i], 3 * PAGE, PROT_READ | PROT_WRITE);
			memset(memory, 'a' + round, 3 * PAGE);
			munmap(memory, 3 * PAGE);
			CHECK(send_fd(sockets[i], areas[i]) == 0);
		}
		for (int i = 0; i < CHILDREN; i++) {
			char done;
			CHECK(read(sockets[i], &done, 1) == 1);
			char *memory = map(areas[i], 3 * PAGE, PROT_READ);
			CHECK(memory[PAGE] == '!');
			CHECK(pinning(areas[i], PIN_STATUS, 0, PAGE) == 1);
			CHECK(pinning(areas[i], PIN_STATUS, 2 * PAGE, 0) == 0);
			CHECK(pinning(areas[i], PIN, 0, 0) == 0);
			close(areas[i]);
		}
	}
	for (int i = 0; i < CHILDREN; i++)
		wait_for(children[i]);
}

static void *thread(void *argument)
{
	long number = (long)argument;
	for (int round = 0; round < 40; round++) {
		char name[32];
		snprintf(name, sizeof name, "thread%ld-%d", number, round);
		int fd = area(name, 2 * PAGE);
		char *memory = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE);
		memset(memory, 'a' + number, 2 * PAGE);
		CHECK(pinning(fd, UNPIN, PAGE, PAGE) == 0);
		CHECK(pinning(fd, PIN_STATUS, 0, 0) == 0);
		CHECK(pinning(fd, PIN, PAGE, PAGE) == 0);
		is_area(fd, name, 2 * PAGE, 'a' + number);
		munmap(memory, 2 * PAGE);
		close(fd);
	}
	return 0;
}

static void threads(void)
{
	pthread_t all[8];
	for (long i = 0; i < 8; i++)
		CHECK(pthread_create(&all[i], 0, thread, (void *)i) == 0);
	for (int i = 0; i < 8; i++)
		pthread_join(all[i], 0);
}

/* Hands an area over to who is at the other end of the standard input, and ends. */
static void give(void)
{
	int fd = area("given", 2 * PAGE);
	memset(map(fd, 2 * PAGE, PROT_READ | PROT_WRITE), 'g', 2 * PAGE);
	CHECK(pinning(fd, UNPIN, PAGE, 0) == 0);
	CHECK(send_fd(0, fd) == 0);
}

static void is_given(int fd)
{
	is_device(fd);
	is_area(fd, "given", 2 * PAGE, 'g');
	CHECK(pinning(fd, PIN_STATUS, 0, PAGE) == 1);
	CHECK(pinning(fd, PIN_STATUS, PAGE, PAGE) == 0);
	FAILS(ioctl(fd, SET_SIZE, PAGE), EINVAL);
}

static void take(void)
{
	is_given(receive_fd(0));
}

/* The standard input is an area. */
static void inherit(void)
{
	is_given(0);
	int fd = open("/dev/stdin", O_RDWR);
	CHECK(fd >= 0);
	CHECK(ioctl(fd, GET_SIZE) == 0);
}

/* Its maker ends; its child goes on. */
static void orphan(void)
{
	int pair[2], gone[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(pipe(gone) == 0);
	pid_t maker = fork();
	if (maker == 0) {
		int fd = area("orphan", PAGE);
		memset(map(fd, PAGE, PROT_READ | PROT_WRITE), 'o', PAGE);
		CHECK(send_fd(pair[0], fd) == 0);
		_exit(failures ? 1 : 0);
	}
	wait_for(maker);
	int fd = receive_fd(pair[1]);
	is_device(fd);
	is_area(fd, "orphan", PAGE, 'o');
	CHECK(pinning(fd, UNPIN, 0, 0) == 0);
	CHECK(pinning(fd, PIN, 0, 0) == 0);
}

#ifdef __x86_64__
static long call32(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	result = (int)result;
	if (result < 0 && result > -4096) {
		errno = -result;
		return -1;
	}
	return result;
}

static void unknown(int signal)
{
	(void)signal;
	_exit(77);
}

/* 32-bit system calls: open 5, ioctl 54, read 3, fstat64 197, mmap2 192, access 33. */
static void compat(void)
{
	signal(SIGSEGV, unknown);
	char *low = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(low != MAP_FAILED);
	long at = (long)low;
	if (call32(20, 0, 0, 0) != getpid())
		_exit(77);
	signal(SIGSEGV, SIG_DFL);
	strcpy(low, DEVICE);
	CHECK(call32(33, at, R_OK | W_OK, 0) == 0);
	int fd = call32(5, at, O_RDWR, 0);
	CHECK(fd >= 0);
	strcpy(low, "compat");
	CHECK(call32(54, fd, SET_NAME, at) == 0);
	CHECK(call32(54, fd, SET_SIZE_32, 2 * PAGE) == 0);
	CHECK(call32(54, fd, SET_PROT_32, PROT_READ | PROT_WRITE) == 0);
	is_device(fd);
	memset(low, 0xaa, PAGE);
	CHECK(call32(197, fd, at, 0) == 0);
	/* st_mode of struct stat64 */
	CHECK(S_ISCHR(*(uint32_t *)(low + 16)));
	memset(low, 0, PAGE);
	CHECK(call32(54, fd, GET_NAME, at) == 0);
	CHECK(strcmp(low, "compat") == 0);
	CHECK(call32(54, fd, GET_SIZE, 0) == 2 * PAGE);
	CHECK(call32(54, fd, GET_PROT, 0) == 3);
	FAILS(call32(54, fd, 0x770b, 0), ENOTTY);
	memset(map(fd, 2 * PAGE, PROT_READ | PROT_WRITE), 'c', 2 * PAGE);
	*(struct pin *)low = (struct pin){ PAGE, 0 };
	CHECK(call32(54, fd, UNPIN, at) == 0);
	CHECK(call32(54, fd, PIN_STATUS, at) == 0);
	CHECK(call32(54, fd, PIN, at) == 0);
	CHECK(call32(3, fd, at, 16) == 16);
	CHECK(low[0] == 'c' && low[15] == 'c');
	FAILS(call32(54, fd, PIN, 8), EFAULT);
	FAILS(call32(3, fd, 8, 16), EFAULT);
	is_area(fd, "compat", 2 * PAGE, 'c');
}
#else
static void compat(void)
{
	_exit(77);
}
#endif

/* What kernels of newer Android versions answer for memfds. */
static void shim(void)
{
	char name[256] = "";
	int fd = syscall(SYS_memfd_create, "plain", 3u); /* MFD_CLOEXEC | MFD_ALLOW_SEALING */
	CHECK(fd >= 0);
	CHECK(ftruncate(fd, 5000) == 0);
	CHECK(ioctl(fd, GET_SIZE) == 5000);
	CHECK(ioctl(fd, GET_NAME, name) == 0);
	CHECK(strcmp(name, "plain") == 0);
	FAILS(ioctl(fd, GET_NAME, 0), EFAULT);
	FAILS(ioctl(fd, SET_NAME, "other"), EINVAL);
	FAILS(ioctl(fd, SET_SIZE, PAGE), EINVAL);
	CHECK(ioctl(fd, PIN, 0) == 0);
	CHECK(ioctl(fd, UNPIN, 0) == 0);
	CHECK(ioctl(fd, PIN_STATUS, 0) == 1);
	if (geteuid() == 0)
		CHECK(ioctl(fd, PURGE_ALL) == 0);
	unsigned long inode = 0;
	struct stat found;
	CHECK(ioctl(fd, FILE_ID, &inode) == 0);
	CHECK(fstat(fd, &found) == 0);
	CHECK(S_ISREG(found.st_mode) && inode == found.st_ino);
	FAILS(ioctl(fd, _IO(0x77, 50)), ENOTTY);
	/* It stays a file like any other. */
	CHECK(pwrite(fd, "x", 1, 0) == 1);
	CHECK(ftruncate(fd, 2 * PAGE) == 0);
	CHECK(fcntl(fd, F_GET_SEALS) == 0);
	char *memory = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE);
	CHECK(memory[0] == 'x');
	CHECK(ioctl(fd, GET_PROT) == (PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK(ioctl(fd, SET_PROT, PROT_WRITE) == 0);
	CHECK(ioctl(fd, GET_PROT) == (PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK(ioctl(fd, SET_PROT, PROT_READ) == 0);
	CHECK(ioctl(fd, GET_PROT) == (PROT_READ | PROT_EXEC));
	CHECK(fcntl(fd, F_GET_SEALS) & 0x10); /* F_SEAL_FUTURE_WRITE */
	FAILS(ioctl(fd, SET_PROT, PROT_READ | PROT_WRITE), EINVAL);
	memory[1] = 'y';
	CHECK(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	int file = open("/proc/self/exe", O_RDONLY), pipes[2];
	CHECK(pipe(pipes) == 0);
	FAILS(ioctl(file, GET_SIZE), ENOTTY);
	FAILS(ioctl(pipes[0], GET_SIZE), ENOTTY);
	FAILS(ioctl(12345, GET_SIZE), EBADF);
}

/* Without root, and with who has given it up. */
static void unprivileged(void)
{
	int before = area("before", PAGE);
	memset(map(before, PAGE, PROT_READ | PROT_WRITE), 'b', PAGE);
	if (geteuid() == 0) {
		CHECK(ioctl(before, PURGE_ALL) == 0);
		CHECK(syscall(SYS_setresgid, 65534, 65534, 65534) == 0);
		CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
	}
	is_device(before);
	is_area(before, "before", PAGE, 'b');
	FAILS(ioctl(before, PURGE_ALL), EPERM);
	libcutils();
	int fd = area("after", PAGE);
	memset(map(fd, PAGE, PROT_READ | PROT_WRITE), 'a', PAGE);
	CHECK(pinning(fd, UNPIN, 0, 0) == 0);
	CHECK(pinning(fd, PIN, 0, 0) == 0);
	FAILS(ioctl(fd, PURGE_ALL), EPERM);
	int memfd = syscall(SYS_memfd_create, "plain", 1u);
	FAILS(ioctl(memfd, PURGE_ALL), EPERM);
	pid_t child = fork();
	if (child == 0) {
		is_area(fd, "after", PAGE, 'a');
		_exit(failures ? 1 : 0);
	}
	wait_for(child);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";
	alarm(100); /* not to outlive a test that was killed */
	if (!strcmp(what, "libcutils")) libcutils();
	else if (!strcmp(what, "duplicates")) duplicates();
	else if (!strcmp(what, "execute")) execute(arguments[0]);
	else if (!strcmp(what, "executed") && count == 6) executed(arguments + 2);
	else if (!strcmp(what, "fork-server")) fork_server();
	else if (!strcmp(what, "threads")) threads();
	else if (!strcmp(what, "give")) give();
	else if (!strcmp(what, "take")) take();
	else if (!strcmp(what, "inherit")) inherit();
	else if (!strcmp(what, "orphan")) orphan();
	else if (!strcmp(what, "compat")) compat();
	else if (!strcmp(what, "shim")) shim();
	else if (!strcmp(what, "unprivileged")) unprivileged();
	else return 2;
	return failures ? 1 : 0;
}
