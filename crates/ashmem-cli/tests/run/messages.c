/*
 * Areas in messages, for the tests of `ashmem run`.
 *
 *   messages WHAT [ARGUMENTS]   says what is not as it should be, and fails then.
 *
 * A received area has a number of at least 768, and read, lseek and write on it are the driver's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SET_SIZE _IOW(0x77, 3, size_t)
#define GET_SIZE _IO(0x77, 4)
#define HIGH 768
#define MANY 8

#define check(is_so)                                                                                    \
	do {                                                                                            \
		if (!(is_so)) {                                                                         \
			fprintf(stderr, "line %d: not so: %s (errno %d)\n", __LINE__, #is_so, errno); \
			_exit(1);                                                                       \
		}                                                                                       \
	} while (0)

static int area(void)
{
	int fd = open("/dev/ashmem", O_RDWR | O_CLOEXEC);
	check(fd >= HIGH);
	check(ioctl(fd, SET_SIZE, 4096) == 0);
	return fd;
}

static int is_area(int fd)
{
	/* A memfd would be written. */
	return fd >= HIGH && ioctl(fd, GET_SIZE) == 4096 && write(fd, "x", 1) == -1 && errno == EINVAL;
}

static void pair(int type, int sockets[2])
{
	check(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sockets) == 0);
}

static ssize_t give(int socket, const char *data, size_t length, const int *fds, int count)
{
	union { char bytes[CMSG_SPACE(MANY * sizeof(int))]; struct cmsghdr header; } control;
	struct iovec vector = { (void *)data, length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	if (count) {
		memset(&control, 0, sizeof control);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	}
	return sendmsg(socket, &message, 0);
}

/* What was received, with the descriptors of all SCM_RIGHTS. */
struct got { ssize_t length; int error, flags, count, fds[MANY], has_credentials; struct ucred credentials; size_t control; };

static struct got take(int socket, char *data, size_t length, size_t room, int flags)
{
	union { char bytes[512]; struct cmsghdr header; } control;
	struct iovec vectors[2] = { { data, length / 2 }, { data + length / 2, length - length / 2 } };
	struct msghdr message = { .msg_iov = vectors, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = room };
	struct got got = { 0 };
	got.length = recvmsg(socket, &message, flags);
	got.error = errno;
	if (got.length < 0)
		return got;
	got.flags = message.msg_flags;
	got.control = message.msg_controllen;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_type == SCM_RIGHTS) {
			int count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(got.fds + got.count, CMSG_DATA(header), count * sizeof(int));
			got.count += count;
		} else if (header->cmsg_type == SCM_CREDENTIALS) {
			got.has_credentials = 1;
			memcpy(&got.credentials, CMSG_DATA(header), sizeof got.credentials);
		}
	}
	return got;
}

static int descriptors(void)
{
	int count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

static void ended_well(pid_t child)
{
	int status;
	check(waitpid(child, &status, 0) == child);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void asleep(pid_t thread)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/syscall", thread);
	for (int attempt = 0; attempt < 5000; attempt++) {
		FILE *file = fopen(path, "r");
		if (file && fgets(text, sizeof text, file) && strncmp(text, "running", 7)) {
			fclose(file);
			usleep(20000);
			return;
		}
		if (file)
			fclose(file);
		usleep(1000);
	}
	check(!"asleep");
}

static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

static void same_process(void)
{
	for (int i = 0; i < 3; i++) {
		int s[2], fd = area();
		char data[8];
		pair(types[i], s);
		check(give(s[0], "hello", 5, &fd, 1) == 5);
		struct got got = take(s[1], data, sizeof data, CMSG_SPACE(sizeof(int)), 0);
		check(got.length == 5 && !memcmp(data, "hello", 5) && got.count == 1 && got.flags == 0);
		check(got.control == CMSG_SPACE(sizeof(int)) && is_area(got.fds[0]));
		check(fcntl(got.fds[0], F_GETFD) == 0);
		check(lseek(got.fds[0], 1, SEEK_SET) == -1 && errno == EBADF);
		close(fd), close(got.fds[0]), close(s[0]), close(s[1]);
	}
}

/* The receiver waits in the kernel when the area is sent. */
static void blocked(void)
{
	for (int i = 0; i < 3; i++) {
		int s[2], back[2], fd = area();
		pair(types[i], s);
		pair(SOCK_SEQPACKET, back);
		pid_t child = fork();
		if (!child) {
			char data[8];
			for (int round = 0; round < 20; round++) {
				struct got got = take(s[1], data, sizeof data, 256, 0);
				check(got.length == 5 && !memcmp(data, "hello", 5));
				if (round % 2)
					check(got.count == 0 && got.control == 0);
				else
					check(got.count == 1 && is_area(got.fds[0]) && close(got.fds[0]) == 0);
				check(give(back[1], "!", 1, NULL, 0) == 1);
			}
			_exit(0);
		}
		for (int round = 0; round < 20; round++) {
			char data[1];
			if (round < 4)
				asleep(child);
			check(give(s[0], "hello", 5, &fd, round % 2 ? 0 : 1) == 5);
			check(take(back[0], data, 1, 256, 0).length == 1);
		}
		ended_well(child);
		close(fd), close(s[0]), close(s[1]), close(back[0]), close(back[1]);
	}
}

static void polled(void)
{
	int s[2], fd = area();
	pair(SOCK_STREAM, s);
	check(fcntl(s[1], F_SETFL, O_NONBLOCK) == 0);
	pid_t child = fork();
	if (!child) {
		char data[8];
		struct got got = take(s[1], data, sizeof data, 256, 0);
		check(got.length == -1 && got.error == EAGAIN);
		check(give(s[1], "?", 1, NULL, 0) == 1);
		struct pollfd events = { s[1], POLLIN, 0 };
		check(poll(&events, 1, -1) == 1);
		got = take(s[1], data, sizeof data, 256, 0);
		check(got.length == 1 && got.count == 1 && is_area(got.fds[0]));
		_exit(0);
	}
	char data[1];
	check(read(s[0], data, 1) == 1);
	asleep(child);
	check(give(s[0], "x", 1, &fd, 1) == 1);
	ended_well(child);
}

static void mixed(void)
{
	int s[2], ends[2];
	char data[8];
	pair(SOCK_SEQPACKET, s);
	check(pipe2(ends, O_CLOEXEC) == 0);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), memfd = memfd_create("other", MFD_CLOEXEC);
	int first = area(), second = area();
	int lowest[] = { dup(0), dup(0), dup(0) };
	close(lowest[0]), close(lowest[1]), close(lowest[2]);
	int fds[] = { ends[0], first, file, second, memfd };
	for (int cloexec = 0; cloexec < 2; cloexec++) {
		check(give(s[0], "abc", 3, fds, 5) == 3);
		struct got got = take(s[1], data, sizeof data, 256, cloexec ? MSG_CMSG_CLOEXEC : 0);
		check(got.length == 3 && got.count == 5 && got.flags == (cloexec ? MSG_CMSG_CLOEXEC : 0));
		check(is_area(got.fds[1]) && is_area(got.fds[3]) && got.fds[1] != got.fds[3]);
		check(got.fds[0] == lowest[0] && got.fds[2] == lowest[1] && got.fds[4] == lowest[2]);
		struct stat sent, received;
		for (int i = 0; i < 5; i++) {
			check(fcntl(got.fds[i], F_GETFD) == (cloexec ? FD_CLOEXEC : 0));
			check(fstat(fds[i], &sent) == 0 && fstat(got.fds[i], &received) == 0);
			check(sent.st_ino == received.st_ino);
		}
		check(write(ends[1], "p", 1) == 1 && read(got.fds[0], data, 1) == 1 && data[0] == 'p');
		for (int i = 0; i < 5; i++)
			close(got.fds[i]);
	}
	/* Looked at, and then taken. */
	check(give(s[0], "abc", 3, fds, 2) == 3);
	for (int peek = 1; peek >= 0; peek--) {
		struct got got = take(s[1], data, sizeof data, 256, peek ? MSG_PEEK : 0);
		check(got.length == 3 && got.count == 2 && is_area(got.fds[1]));
		close(got.fds[0]), close(got.fds[1]);
	}
}

/* What finds no room is left out, and is nobody's. */
static void cut(void)
{
	int s[2], first = area(), second = area(), fds[] = { first, second };
	char data[8];
	pair(SOCK_SEQPACKET, s);
	int before = descriptors();
	for (int room = 0; room <= 40; room++) {
		check(give(s[0], "12345", 5, fds, 2) == 5);
		struct got got = take(s[1], data, 4, room, room % 2 ? MSG_TRUNC : 0);
		int fits = room < 20 ? 0 : room < 24 ? 1 : 2;
		check(got.length == (room % 2 ? 5 : 4) && !memcmp(data, "1234", 4));
		check(got.count == fits && got.flags == (MSG_TRUNC | (fits < 2 ? MSG_CTRUNC : 0)));
		size_t space = CMSG_SPACE(fits * sizeof(int));
		check(got.control == (!fits ? 0 : space < (size_t)room ? space : (size_t)room));
		for (int i = 0; i < fits; i++)
			check(is_area(got.fds[i]) && close(got.fds[i]) == 0);
		check(descriptors() == before);
	}
}

/* A stream is read in pieces; a piece ends with the descriptors. */
static void stream(void)
{
	int s[2], fd = area();
	char data[64];
	pair(SOCK_STREAM, s);
	check(give(s[0], "aaaa", 4, NULL, 0) == 4 && give(s[0], "bbbbbbbb", 8, &fd, 1) == 8);
	check(give(s[0], "cccc", 4, NULL, 0) == 4);
	struct got got = take(s[1], data, 2, 256, 0);
	check(got.length == 2 && got.count == 0 && !memcmp(data, "aa", 2));
	got = take(s[1], data, 6, 256, 0);
	check(got.length == 6 && got.count == 1 && !memcmp(data, "aabbbb", 6) && is_area(got.fds[0]));
	got = take(s[1], data, 2, 256, 0);
	check(got.length == 2 && got.count == 0 && !memcmp(data, "bb", 2));
	got = take(s[1], data, 64, 256, 0);
	check(got.length == 6 && got.count == 0 && !memcmp(data, "bbcccc", 6));
	/* For all that was asked, there is a wait; it ends at the descriptors, too. */
	check(give(s[0], "dd", 2, NULL, 0) == 2 && give(s[0], "ee", 2, &fd, 1) == 2);
	got = take(s[1], data, 64, 256, MSG_WAITALL);
	check(got.length == 4 && got.count == 1 && is_area(got.fds[0]));
	close(s[0]);
	check(take(s[1], data, 64, 256, 0).length == 0);
}

static void credentials(void)
{
	int s[2], fd = area(), on = 1;
	char data[8];
	pair(SOCK_DGRAM, s);
	check(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
	check(give(s[0], "abc", 3, &fd, 1) == 3);
	struct got got = take(s[1], data, sizeof data, 256, 0);
	check(got.length == 3 && got.count == 1 && is_area(got.fds[0]) && got.has_credentials);
	check(got.credentials.pid == getpid() && got.credentials.uid == getuid() && got.credentials.gid == getgid());
}

static void named(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0ashmem-messages" }, from;
	socklen_t length = snprintf(address.sun_path + 1, 64, "ashmem-messages-%d", getpid()) + 1 + sizeof(sa_family_t);
	int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0), fd = area();
	check(bind(b, (void *)&address, length) == 0 && connect(a, (void *)&address, length) == 0);
	struct sockaddr_un sender = { .sun_family = AF_UNIX };
	socklen_t sender_length = snprintf(sender.sun_path + 1, 64, "ashmem-sender-%d", getpid()) + 1 + sizeof(sa_family_t);
	check(bind(a, (void *)&sender, sender_length) == 0);
	check(give(a, "abc", 3, &fd, 1) == 3);
	char data[8], control[64];
	struct iovec vector = { data, sizeof data };
	struct msghdr message = { &from, 10, &vector, 1, control, sizeof control, 0 };
	memset(&from, 'z', sizeof from);
	check(recvmsg(b, &message, 0) == 3 && message.msg_namelen == sender_length);
	check(!memcmp(&from, &sender, 10) && ((char *)&from)[10] == 'z');
	int received;
	memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
	check(is_area(received));
}

static volatile int signals;
static void count_signal(int number) { (void)number; signals++; }

/* A signal ends the wait, or does not, as without the device. */
static void interrupted(void)
{
	for (int restart = 0; restart < 2; restart++) {
		int s[2], fd = area();
		pair(SOCK_SEQPACKET, s);
		pid_t child = fork();
		if (!child) {
			char data[8];
			struct sigaction action = { .sa_handler = count_signal, .sa_flags = restart ? SA_RESTART : 0 };
			check(sigaction(SIGUSR1, &action, NULL) == 0);
			struct got got = take(s[1], data, sizeof data, 256, 0);
			check(signals == 1);
			if (!restart) {
				check(got.length == -1 && got.error == EINTR);
				check(give(s[1], "!", 1, NULL, 0) == 1);
				got = take(s[1], data, sizeof data, 256, 0);
			}
			check(got.length == 1 && got.count == 1 && is_area(got.fds[0]) && signals == 1);
			_exit(0);
		}
		char data[1];
		asleep(child);
		check(kill(child, SIGUSR1) == 0);
		if (!restart)
			check(take(s[0], data, 1, 256, 0).length == 1);
		asleep(child);
		check(give(s[0], "x", 1, &fd, 1) == 1);
		ended_well(child);
	}
}

/* Signals come while areas do: none of either is lost. */
static void stormy(void)
{
	int s[2], fd = area(), rounds = 300;
	pair(SOCK_SEQPACKET, s);
	pid_t child = fork();
	if (!child) {
		char data[8];
		struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
		check(sigaction(SIGUSR1, &action, NULL) == 0);
		check(give(s[1], "!", 1, NULL, 0) == 1);
		for (int round = 0; round < rounds; round++) {
			struct got got = take(s[1], data, sizeof data, 256, 0);
			check(got.length == 4 && got.count == 1 && !memcmp(data, &round, 4));
			/* Whom signals keep busy may be found too late, and then gets a low number. */
			check(ioctl(got.fds[0], GET_SIZE) == 4096);
			check(close(got.fds[0]) == 0);
		}
		_exit(0);
	}
	char data[1];
	check(take(s[0], data, 1, 256, 0).length == 1);
	for (int round = 0; round < rounds; round++) {
		check(kill(child, SIGUSR1) == 0);
		check(give(s[0], (char *)&round, 4, &fd, 1) == 4);
		if (round % 3 == 0)
			usleep(300);
	}
	ended_well(child);
}

static void killed(void)
{
	for (int round = 0; round < 20; round++) {
		int s[2], fd = area(), status;
		pair(SOCK_SEQPACKET, s);
		pid_t child = fork();
		if (!child) {
			char data[8];
			for (;;)
				take(s[1], data, sizeof data, 256, 0);
		}
		if (round % 2)
			asleep(child);
		check(give(s[0], "x", 1, &fd, 1) == 1);
		check(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		close(fd), close(s[0]), close(s[1]);
	}
	same_process();
}

/* Stopped and continued in between: the parent sees just that. */
static void stopped(void)
{
	int s[2], fd = area(), status;
	pair(SOCK_SEQPACKET, s);
	pid_t child = fork();
	if (!child) {
		char data[8];
		struct got got = take(s[1], data, sizeof data, 256, 0);
		check(got.length == 1 && got.count == 1 && fcntl(got.fds[0], F_GETFD) == 0);
		/* Its end would hide that it went on. */
		check(take(s[1], data, sizeof data, 0, 0).length == 1);
		_exit(0);
	}
	asleep(child);
	check(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
	check(give(s[0], "x", 1, &fd, 1) == 1);
	usleep(50000);
	check(waitpid(child, &status, WNOHANG | WUNTRACED | WCONTINUED) == 0);
	check(kill(child, SIGCONT) == 0);
	check(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
	check(give(s[0], "x", 1, NULL, 0) == 1);
	ended_well(child);
}

static void *threads_take(void *socket)
{
	char data[8];
	struct got got = take((int)(intptr_t)socket, data, sizeof data, 256, 0);
	check(got.length == 1 && got.count == 1 && is_area(got.fds[0]));
	return NULL;
}

/* Many threads wait, each at a socket of its own. */
static void threads(void)
{
	enum { COUNT = 20 };
	int s[COUNT][2], fd = area();
	pthread_t thread[COUNT];
	for (int i = 0; i < COUNT; i++) {
		pair(SOCK_STREAM, s[i]);
		check(pthread_create(thread + i, NULL, threads_take, (void *)(intptr_t)s[i][1]) == 0);
	}
	usleep(100000);
	for (int i = 0; i < COUNT; i++)
		check(give(s[i][0], "x", 1, &fd, 1) == 1);
	for (int i = 0; i < COUNT; i++)
		check(pthread_join(thread[i], NULL) == 0);
}

/* Nothing changes for messages without areas. */
static void ordinary(const char *count)
{
	int s[2], messages = atoi(count), ends[2];
	pair(SOCK_STREAM, s);
	check(pipe2(ends, O_CLOEXEC) == 0);
	int files[2] = { ends[0], open("/proc/self/exe", O_RDONLY | O_CLOEXEC) };
	static char sent[3000], got_back[3000];
	pid_t child = fork();
	if (!child) {
		for (;;) {
			struct got got = take(s[1], sent, sizeof sent, 256, 0);
			if (got.length == 0)
				_exit(0);
			check(got.length > 0);
			for (ssize_t done = 0; done < got.length;) {
				ssize_t now = give(s[1], sent + done, got.length - done, got.fds, done ? 0 : got.count);
				check(now > 0);
				done += now;
			}
			for (int i = 0; i < got.count; i++)
				check(got.fds[i] < HIGH && close(got.fds[i]) == 0);
		}
	}
	int before = descriptors();
	unsigned random = 1;
	for (int i = 0; i < messages; i++) {
		size_t length = 1 + (random = random * 1103515245 + 12345) / 65536 % sizeof sent;
		for (size_t place = 0; place < length; place++)
			sent[place] = (random = random * 1103515245 + 12345) >> 16;
		int with = i % 3;
		check(give(s[0], sent, length, files, with) == (ssize_t)length);
		int received = 0;
		for (size_t done = 0; done < length;) {
			struct got got = take(s[0], got_back + done, length - done, 256, 0);
			check(got.length > 0);
			done += got.length, received += got.count;
			for (int j = 0; j < got.count; j++)
				check(got.fds[j] < 64 && close(got.fds[j]) == 0);
		}
		check(received == with && !memcmp(sent, got_back, length));
	}
	check(descriptors() == before);
	shutdown(s[0], SHUT_WR);
	ended_well(child);
}

/* One run listens, and another connects. */
static void listens(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), fd = area();
	check(bind(listener, (void *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
	puts("listens"), fflush(stdout);
	int s = accept(listener, NULL, NULL);
	check(s >= 0);
	for (int round = 0; round < 50; round++) {
		char data[8];
		struct got got = take(s, data, sizeof data, 256, 0);
		check(got.length == 1 && got.count == 1 && is_area(got.fds[0]) && close(got.fds[0]) == 0);
		if (round % 5 == 0)
			usleep(2000);
		check(give(s, "x", 1, &fd, 1) == 1);
	}
}

static void connects(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	int s = socket(AF_UNIX, SOCK_SEQPACKET, 0), fd = area();
	check(connect(s, (void *)&address, sizeof address) == 0);
	usleep(20000);
	for (int round = 0; round < 50; round++) {
		char data[8];
		if (round % 7 == 0)
			usleep(2000);
		check(give(s, "x", 1, &fd, 1) == 1);
		struct got got = take(s, data, sizeof data, 256, 0);
		check(got.length == 1 && got.count == 1 && is_area(got.fds[0]) && close(got.fds[0]) == 0);
	}
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

/* Microseconds for a message without descriptors (and room for none, or for some), with a pipe's end, and with an area. */
static void measure(const char *with_area)
{
	int s[2], ends[2], rounds = 20000, has_area = atoi(with_area);
	char data[8];
	pair(SOCK_SEQPACKET, s);
	check(pipe2(ends, O_CLOEXEC) == 0);
	for (int kind = 0; kind < (has_area ? 4 : 3); kind++) {
		int fd = kind == 3 ? area() : ends[0];
		double began = now(), sending = 0;
		for (int i = 0; i < rounds; i++) {
			double start = now();
			check(give(s[0], "x", 1, &fd, kind > 1) == 1);
			sending += now() - start;
			struct got got = take(s[1], data, sizeof data, kind ? 256 : 0, 0);
			check(got.length == 1);
			if (got.count)
				close(got.fds[0]);
		}
		double all = (now() - began) / rounds;
		printf("%s: send %.2f, receive %.2f us\n", (const char *[]){ "no room", "room", "pipe", "area" }[kind], sending / rounds,
		       all - sending / rounds);
	}
}

int main(int count, char **arguments)
{
	static const struct { const char *name; void (*run)(void); } all[] = {
		{ "same_process", same_process }, { "blocked", blocked }, { "polled", polled }, { "mixed", mixed }, { "cut", cut },
		{ "stream", stream }, { "credentials", credentials }, { "named", named }, { "interrupted", interrupted },
		{ "stormy", stormy }, { "killed", killed }, { "stopped", stopped }, { "threads", threads },
	};
	static const struct { const char *name; void (*run)(const char *); } more[] = {
		{ "ordinary", ordinary }, { "listens", listens }, { "connects", connects }, { "measure", measure },
	};
	check(count >= 2);
	alarm(100);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!strcmp(arguments[1], all[i].name))
			return all[i].run(), 0;
	check(count == 3);
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		if (!strcmp(arguments[1], more[i].name))
			return more[i].run(arguments[2]), 0;
	check(!"a name");
}
