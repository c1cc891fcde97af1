/*
 * What a program sees of its surroundings, for the tests of `ashmem run`.
 *
 *   program WHAT [ARGUMENTS]   does what `main` lists under that name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void opens(void)
{
	int fd = open("/dev/ashmem", O_RDWR);
	if (fd < 0 || ioctl(fd, 0x7704) != 0) {
		perror("/dev/ashmem");
		exit(99);
	}
	close(fd);
}

/* What a program has from its parent. */
static void surroundings(void)
{
	sigset_t blocked;
	struct sigaction action;
	struct rlimit limit;
	char path[4096];
	sigprocmask(SIG_BLOCK, 0, &blocked);
	for (int i = 1; i < NSIG; i++) {
		int known = sigaction(i, 0, &action) == 0;
		if (sigismember(&blocked, i) == 1)
			printf("blocked %d\n", i);
		if (known && action.sa_handler == SIG_IGN)
			printf("ignored %d\n", i);
	}
	for (int i = 0; i < 4096; i++)
		if (fcntl(i, F_GETFD) >= 0)
			printf("descriptor %d\n", i);
	errno = 0;
	int children = waitpid(-1, 0, WNOHANG);
	printf("children %d %d\n", children, errno == ECHILD);
	mode_t mask = umask(0);
	printf("umask %o\n", mask);
	getrlimit(RLIMIT_NOFILE, &limit);
	printf("files %llu %llu\n", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	getrlimit(RLIMIT_CORE, &limit);
	printf("core %llu\n", (unsigned long long)limit.rlim_cur);
	printf("directory %s\n", getcwd(path, sizeof path));
	printf("group %d session %d\n", getpgrp() == getpid(), getsid(0) == getpid());
	int parent_death = 0;
	prctl(PR_GET_PDEATHSIG, &parent_death);
	printf("death %d dumpable %d name ", parent_death, prctl(PR_GET_DUMPABLE));
	prctl(PR_GET_NAME, path);
	printf("%s\n", path);
	extern char **environ;
	for (char **variable = environ; *variable; variable++)
		printf("environment %s\n", *variable);
}

static volatile sig_atomic_t caught;
static void on_signal(int signal) { caught = signal; }

/* Starts what is named with these signals blocked and ignored, as a shell's parent might. */
static void with_signals(char **arguments)
{
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &blocked, 0);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	execvp(arguments[0], arguments);
	_exit(98);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";
	alarm(100); /* not to outlive a test that was killed */
	setvbuf(stdout, 0, _IOLBF, 0);
	if (!strcmp(what, "exit")) {
		opens();
		return atoi(arguments[2]);
	}
	if (!strcmp(what, "surroundings")) {
		alarm(0);
		surroundings();
		return 0;
	}
	if (!strcmp(what, "with-signals")) {
		alarm(0);
		with_signals(arguments + 2);
	}
	if (!strcmp(what, "wait")) {
		opens();
		puts("ready");
		for (;;)
			pause();
	}
	if (!strcmp(what, "catch")) {
		signal(SIGINT, on_signal);
		signal(SIGTERM, on_signal);
		signal(SIGCONT, on_signal);
		opens();
		puts("ready");
		for (int i = 0; i < 3; i++) {
			while (!caught)
				usleep(1000);
			int signal = caught;
			/* The next comes when this is read. */
			caught = 0;
			printf("caught %d\n", signal);
			opens();
		}
		return 17;
	}
	if (!strcmp(what, "interrupted")) {
		/* Signals all the time, and calls that wait for the server all the time. */
		struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
		sigaction(SIGALRM, &action, 0);
		alarm(0);
		pid_t parent = getpid(), child = fork();
		if (child == 0) {
			for (int i = 0; i < 20000 && getppid() == parent; i++) {
				kill(parent, SIGALRM);
				usleep(50);
			}
			_exit(0);
		}
		for (int i = 0; i < 2000; i++)
			opens();
		kill(child, SIGKILL);
		waitpid(child, 0, 0);
		return 0;
	}
	if (!strcmp(what, "pipe")) {
		/* Ends by SIGPIPE. */
		int ends[2];
		if (pipe(ends))
			return 1;
		close(ends[0]);
		if (write(ends[1], "x", 1)) {}
		return 1;
	}
	if (!strcmp(what, "abort")) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		opens();
		abort();
	}
	if (!strcmp(what, "echo")) {
		opens();
		int c;
		while ((c = getchar()) != EOF)
			putchar(c);
		fprintf(stderr, "terminal %d\n", isatty(0));
		return 0;
	}
	if (!strcmp(what, "orphan")) {
		/* Its child goes on with the device after it has ended. */
		if (fork() == 0) {
			while (getppid() != 1 && access(arguments[2], F_OK))
				usleep(1000);
			while (access(arguments[2], F_OK))
				usleep(1000);
			opens();
			FILE *file = fopen(arguments[3], "w");
			if (file)
				fclose(file);
			_exit(0);
		}
		opens();
		return 5;
	}
	return 2;
}
