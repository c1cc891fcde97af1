//! `ashmem seccomp-agent` with real container runtimes, where there are some.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod container;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use container::{Agent, Bundle, Runtime};
use rustix::process::Signal;

fn profile(arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    let output = command.args(["seccomp-agent", "--print-profile"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A profile as container engines have it: what is not named fails.
fn base() -> serde_json::Value {
    let calls = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clone",
        "clone3",
        "close",
        "close_range",
        "copy_file_range",
        "dup",
        "dup3",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "eventfd2",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "fchdir",
        "fchown",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getpid",
        "getppid",
        "getrandom",
        "gettid",
        "getuid",
        "ioctl",
        "keyctl",
        "kill",
        "lseek",
        "lstat",
        "madvise",
        "membarrier",
        "mmap",
        "mount",
        "mprotect",
        "munmap",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pause",
        "pipe2",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "recvfrom",
        "recvmsg",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_yield",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "setuid",
        "sigaltstack",
        "socket",
        "stat",
        "statfs",
        "statx",
        "tgkill",
        "umask",
        "uname",
        "unlink",
        "wait4",
        "write",
    ];
    serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{ "names": calls.to_vec(), "action": "SCMP_ACT_ALLOW" }],
    })
}

#[test]
fn containers_have_a_device() {
    for runtime in Runtime::all() {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path());
        let socket = agent.socket.to_str().unwrap();
        let shipped = profile(&["--listen", socket]);
        let Some(bundle) = Bundle::make(dir.path(), "one", &shipped, &[]) else { return };
        if let Some(reason) = runtime.refuses(dir.path()) {
            println!("skipped: {} cannot run containers here: {reason}", runtime.name);
            continue;
        }
        // Also after a restart, and with another container.
        for id in ["one", "one", "two"] {
            let (status, said) = runtime.run(&bundle, id);
            assert!(status.success(), "{}: {status}: {said}\n{}", runtime.name, agent.said());
            assert!(said.contains("ashmem works"), "{said}");
        }
        assert_eq!(agent.said().matches("attached container \"").count(), 3, "{}", agent.said());
        assert!(agent.said().contains("metadata \"ashmem\""), "{}", agent.said());
    }
}

#[test]
fn a_stricter_profile_stays_strict() {
    for runtime in Runtime::all() {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path());
        let file = dir.path().join("base.json");
        fs::write(&file, base().to_string()).unwrap();
        let merged = profile(&["--listen", agent.socket.to_str().unwrap(), "--base", file.to_str().unwrap()]);
        assert_eq!(merged["defaultAction"], "SCMP_ACT_ERRNO");
        let Some(bundle) = Bundle::make(dir.path(), "strict", &merged, &[]) else { return };
        if runtime.refuses(dir.path()).is_some() {
            continue;
        }
        let (status, said) = runtime.run(&bundle, "strict");
        assert!(status.success(), "{}: {status}: {said}\n{}", runtime.name, agent.said());
    }
}

#[test]
fn containers_come_and_go_at_once() {
    for runtime in Runtime::all() {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path());
        let shipped = profile(&["--listen", agent.socket.to_str().unwrap()]);
        let Some(waiting) = Bundle::make(dir.path(), "waiting", &shipped, &["wait"]) else { return };
        let Some(bundle) = Bundle::make(dir.path(), "short", &shipped, &[]) else { return };
        if runtime.refuses(dir.path()).is_some() {
            continue;
        }
        // One starts after the other: runtimes are not always up to starting two of one bundle at the same moment.
        let mut first = runtime.spawn(&waiting, "first");
        first.comes_to_work(&agent);
        let mut second = runtime.spawn(&waiting, "second");
        second.comes_to_work(&agent);
        // One is killed, and started again; the other one does not notice.
        runtime.kill("first");
        assert!(!first.wait().success());
        let mut again = runtime.spawn(&waiting, "first");
        again.comes_to_work(&agent);
        let (status, said) = runtime.run(&bundle, "third");
        assert!(status.success(), "{said}");
        assert!(second.lives());
        for (container, id) in [(&mut again, "first"), (&mut second, "second")] {
            runtime.kill(id);
            container.wait();
        }
        let (status, said) = agent.end(Signal::TERM);
        assert!(status.success() && said.contains("ended"), "{said}");
    }
}

#[test]
fn without_an_agent_a_container_does_not_start() {
    for runtime in Runtime::all() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = profile(&["--listen", dir.path().join("nobody.sock").to_str().unwrap()]);
        let Some(bundle) = Bundle::make(dir.path(), "alone", &shipped, &[]) else { return };
        if runtime.refuses(dir.path()).is_some() {
            continue;
        }
        let (status, said) = runtime.run(&bundle, "alone");
        assert!(!status.success() && !said.contains("ashmem works"), "{said}");
    }
}

#[test]
fn starts_says_so_and_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    let agent = Agent::start_with(dir.path(), |command| {
        command.env("NOTIFY_SOCKET", &notify);
    });
    let mut state = [0; 200];
    let length = systemd.recv(&mut state).unwrap();
    assert!(String::from_utf8_lossy(&state[..length]).starts_with("READY=1"));
    let socket = agent.socket.clone();
    let second = Command::new(env!("CARGO_BIN_EXE_ashmem"))
        .args(["seccomp-agent", "--listen"])
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("listens at"), "{second:?}");
    let (status, _) = agent.end(Signal::INT);
    assert!(status.success());
    assert!(!socket.exists());
}

#[test]
fn profiles_that_cannot_be_added_to_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("base.json");
    for (text, expected) in [
        ("{", "read "),
        ("[]", "no seccomp profile"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "another agent"),
    ] {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
        let output =
            command.args(["seccomp-agent", "--print-profile", "--base"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected) && output.stdout.is_empty(), "{said}");
    }
}
