//! Services across `fork(2)`: a child starts anew, and does not keep what its parent had when that is killed.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "fork and _exit")]

mod service_common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryDealer, MemoryHeapBase};
use rustix::process::{Pid, Signal, WaitOptions};

use self::service_common::{LONG, Place, Worker, eventually, subject, who};

/// Set for a worker that forks a child, which goes on when it is killed.
const FORKS: &str = "ASHMEM_TEST_FORKS";

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(address) = std::env::var(FORKS) else { return service_common::work() };
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let services = ashmem_binder::ServiceManager::at(&address).expect("an address");
    services.add_service("a", &subject()).expect("added");
    let _child = Child::fork(|| {
        // Ends when the test closes our standard input.
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
    });
    println!("@ready");
    loop {
        std::thread::park();
    }
}

/// A forked process, killed on drop.
struct Child(Option<Pid>);

impl Child {
    /// Forks; the child does something and exits, with 0 unless that panics.
    fn fork(action: impl FnOnce()) -> Child {
        // SAFETY: the child calls only code that this test is about (the crate promises to work after fork),
        // the allocator, which glibc keeps usable, and `_exit`.
        let id = unsafe { libc::fork() };
        assert!(id >= 0, "fork failed");
        if id == 0 {
            let code = i32::from(catch_unwind(AssertUnwindSafe(action)).is_err());
            // SAFETY: ends the process, without what its parent has registered for its own end.
            unsafe { libc::_exit(code) };
        }
        Child(Pid::from_raw(id))
    }

    /// Waits until it ends by itself, all being well.
    fn finish(mut self) {
        let id = self.0.expect("a child");
        let mut ended = None;
        eventually("a child ends", || {
            ended = rustix::process::waitpid(Some(id), WaitOptions::NOHANG).expect("a child");
            ended.is_some()
        });
        self.0 = None;
        assert_eq!(ended.expect("ended").1.exit_status(), Some(0));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // Also when the test fails. Fails only for a child that is gone.
            let _ = rustix::process::kill_process(id, Signal::KILL);
            let _ = rustix::process::waitpid(Some(id), WaitOptions::empty());
        }
    }
}

/// While threads of the parent are in the middle of everything.
#[test]
fn a_child_starts_anew() {
    let place = Place::new();
    let services = place.manager();
    let worker = Worker::serve(&place.address, "other");
    services.add_service("parent", &subject()).expect("added");
    let theirs = services.get_service("other").expect("found");
    let ends = AtomicBool::new(false);
    // Also when the test fails.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let parent = std::process::id();
    std::thread::scope(|scope| {
        let _end = End(&ends);
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                services.add_service("busy", &subject()).expect("added");
                services.list_services().expect("listed");
                assert!(services.check_service("missing").expect("looked").is_none());
                services.remove_service("busy").expect("removed");
            }
        });
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                assert_eq!(who(&services.get_service("other").expect("found")), Ok(worker.id()));
            }
        });
        for round in 0..20 {
            let child = Child::fork(|| {
                let own = format!("child{round}");
                services.add_service(&own, &subject()).expect("added");
                assert!(services.add_service("parent", &subject()).is_err(), "the parent lives");
                assert!(services.remove_service("parent").is_err(), "the parent's");
                assert_eq!(who(&services.get_service("parent").expect("found")), Ok(parent));
                assert_eq!(who(&services.get_service("other").expect("found")), Ok(worker.id()));
                assert!(services.list_services().expect("listed").contains(&own));
                // What it added is called by the worker's kind of process, too.
                let grandchild = Child::fork(|| {
                    let found = services.wait_for_service(&own, Some(LONG)).expect("found");
                    assert_ne!(who(&found), Ok(std::process::id()));
                });
                grandchild.finish();
            });
            child.finish();
        }
    });
    assert_eq!(who(&theirs), Ok(worker.id()), "the parent's session is as it was");
    assert_eq!(services.list_services().expect("listed"), ["other", "parent"]);
}

#[test]
fn a_child_does_not_keep_its_parents_services() {
    let place = Place::new();
    let services = place.manager();
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FORKS, &place.address)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut parent = Worker::spawn(&mut command);
    assert_eq!(parent.says(), "ready");
    // Known to this process, with a session, or not.
    assert_eq!(who(&services.get_service("a").expect("found")), Ok(parent.id()));
    parent.signal(Signal::KILL);
    eventually("it is dead", || services.list_services().expect("listed").is_empty());
    assert!(services.check_service("a").expect("looked").is_none());
    assert!(services.wait_for_service("a", Some(Duration::from_millis(20))).is_err());
    let successor = Worker::serve(&place.address, "a");
    assert_eq!(who(&services.get_service("a").expect("found")), Ok(successor.id()));
}

/// Threads of the parent are in the middle of what has a lock.
#[test]
fn a_child_finds_heaps_and_allocates() {
    let heap = MemoryHeapBase::create("heap", 4096, HeapFlags::empty()).expect("a heap");
    let dealer = MemoryDealer::new("dealer", 1 << 20, HeapFlags::empty()).expect("a dealer");
    let work = || {
        assert!(BpMemoryHeap::from_binder(&heap.binder()).expect("a heap").heap().is_ok());
        dealer.allocate(64).expect("room");
    };
    let ends = AtomicBool::new(false);
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _end = End(&ends);
        for _ in 0..3 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        for _ in 0..50 {
            Child::fork(work).finish();
        }
    });
}
