// Two announcements for each close(2), whoever closes: the main thread and a signal handler that interrupts it at any
// instruction (balance signals), or several threads (balance threads).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS 5000
#define SIGNALS 500

typedef void (*listener_t)(unsigned int, unsigned int);
int ashmem_close_watch(listener_t listener);

static atomic_long heard, closed, handled, failed;

static void listener(unsigned int first, unsigned int last) {
    if (first != last) atomic_fetch_add(&failed, 1);
    atomic_fetch_add(&heard, 1);
    errno = ENOTTY;
}

static void open_and_close(void) {
    int fd = dup(0);
    if (fd == -1) {
        atomic_fetch_add(&failed, 1);
        return;
    }
    errno = EXDEV;
    if (close(fd) != 0 || errno != EXDEV) atomic_fetch_add(&failed, 1);
    if (close(-1) != -1 || errno != EBADF) atomic_fetch_add(&failed, 1);
    atomic_fetch_add(&closed, 1);
}

static void handler(int signal) {
    (void)signal;
    int error = errno;
    open_and_close();
    atomic_fetch_add(&handled, 1);
    errno = error;
}

static void signals(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    if (ashmem_close_watch(listener) != 1) atomic_fetch_add(&failed, 1);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (long round = 0; round < ROUNDS || handled < SIGNALS; round++) open_and_close();
    setitimer(ITIMER_REAL, &never, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGALRM, &action, NULL);
}

static pthread_barrier_t barrier;

static void *thread(void *unused) {
    (void)unused;
    // All ask for the first time at once.
    pthread_barrier_wait(&barrier);
    if (ashmem_close_watch(listener) != 1) atomic_fetch_add(&failed, 1);
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < ROUNDS; round++) open_and_close();
    return NULL;
}

static void threads(void) {
    pthread_t all[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) pthread_create(&all[i], NULL, thread, NULL);
    for (int i = 0; i < THREADS; i++) pthread_join(all[i], NULL);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    if (strcmp(argv[1], "signals") == 0)
        signals();
    else
        threads();
    printf("heard %ld closed %ld failed %ld\n", heard, closed, failed);
    return failed != 0 || heard != 2 * closed || closed < ROUNDS;
}
