/* What is closed goes also after membarrier(2) was taken away from the process. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "regions.h"

static bool refuse(int number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1, &program) == 0;
}

int main(void)
{
    never_short();
    int fd = make_region(page());
    CHECK(ashmem_unpin(fd, 0, 0) == 0);
    CHECK(close(fd) == 0);
    if (!refuse(SYS_membarrier))
        return 0;
    int highest = -1;
    for (int i = 0; i < 100; i++) {
        fd = make_region(page());
        CHECK(ashmem_unpin(fd, 0, 0) == 0);
        CHECK(close(fd) == 0);
        int lowest = fcntl(0, F_DUPFD_CLOEXEC, 256);
        CHECK(lowest >= 256 && close(lowest) == 0);
        /* One is kept: the first, until the next is closed. */
        highest = i == 1 ? lowest : highest;
        CHECK(i < 1 || lowest <= highest);
    }
    return 0;
}
