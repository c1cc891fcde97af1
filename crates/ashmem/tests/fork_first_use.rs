//! A fork while another thread uses this crate for the first time in the process, when what lives as long as the process is
//! being made.
//!
//! That happens once a process, so there are many: this test binary again, running the ignored test `worker`, which does
//! nothing with this crate itself and forks.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "fork, waitpid, alarm and _exit")]

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use ashmem::{Region, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const PROCESSES: u32 = 300;
/// What should take microseconds; a process that takes so many seconds is killed (SIGALRM).
const PATIENCE: u32 = 10;

const HANGS: i32 = 3;

/// What a forked process exits with; `HANGS` when it had to be killed.
fn fork(action: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls only what this test is about, the allocator, which glibc keeps usable, and `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = action();
        // SAFETY: ends the process without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let answer = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(answer, pid, "waitpid failed");
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { HANGS }
}

/// A process that has not used this crate yet: one of its threads does, and another forks.
fn first_use(round: u32) -> i32 {
    let go = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !go.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let region = Region::create("first", page_size()).expect("a region");
            region.unpin(..).expect("unpinned");
        });
        std::thread::yield_now();
        go.store(true, Ordering::Relaxed);
        for _ in 0..round * 173 % 20_000 {
            std::hint::spin_loop();
        }
        fork(|| {
            // SAFETY: only asks for a signal.
            unsafe { libc::alarm(PATIENCE) };
            let Ok(region) = Region::create("child's", page_size()) else { return 1 };
            let used = region.unpin(..).and_then(|()| region.pin(..)).and_then(|_| region.purge());
            i32::from(used.is_err())
        })
    })
}

#[test]
#[ignore = "run by the other test, as a process of its own"]
fn worker() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    for round in 0..PROCESSES {
        let code = fork(|| first_use(round));
        assert_eq!(code, 0, "round {round}: {}", if code == HANGS { "the child hangs" } else { "an error" });
    }
}

#[test]
fn a_child_of_the_first_use_never_hangs() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, "worker")
        .stdin(Stdio::null())
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
