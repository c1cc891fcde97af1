//! A heap that was asked for before costs no transaction and no system call.
//!
//! A binary of its own, as the thread must not meet others at a lock.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use ashmem_binder::{BpMemory, BpMemoryHeap, HeapFlags, MemoryBase, MemoryHeapBase};
use common::Place;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{SecureComputingMode, set_secure_computing_mode};

#[test]
#[ignore = "run by the other test, as a process of its own"]
fn server() {
    common::serve(|_| {
        let heap = MemoryHeapBase::create("heap", 4096, HeapFlags::empty()).unwrap();
        MemoryBase::new(&heap, 100, 100).unwrap().binder()
    });
}

#[test]
fn a_second_fetch_makes_no_system_call() {
    let place = Place::new();
    let server = place.start("window");
    let binder = server.binder().clone();
    let first = BpMemory::from_binder(&binder).unwrap();
    first.window().unwrap();
    let heap_of = |memory: &BpMemory| memory.heap().unwrap().unwrap().binder().clone();
    let heap = heap_of(&first);

    let (read, write) = rustix::pipe::pipe().unwrap();
    let (mapping_read, mapping_write) = rustix::pipe::pipe().unwrap();
    std::thread::spawn(move || {
        let fetch = || BpMemoryHeap::from_binder(&heap).unwrap().heap().unwrap().size();
        assert_eq!(fetch(), 4096);
        // From here on any system call but read, write and exit ends the thread at once.
        let is_strict = set_secure_computing_mode(SecureComputingMode::Strict).is_ok();
        for _ in 0..1000 {
            if fetch() != 4096 || first.window().unwrap().size() != 100 {
                return;
            }
        }
        let _ = rustix::io::write(&write, &[u8::from(is_strict)]);
        // To show that it was no empty promise: this ends the thread before it writes.
        let _ = rustix::process::getppid();
        let _ = rustix::io::write(&mapping_write, &[1]);
    });
    let mut answer = [0];
    let until = rustix::event::Timespec { tv_sec: 120, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&read, PollFlags::IN)], Some(&until)).unwrap(), 1, "it was ended");
    assert_eq!(rustix::io::read(&read, &mut answer).unwrap(), 1);
    if answer != [1] {
        // Past the test's own output, which is not shown when it passes.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"skipped: there is no seccomp here, so system calls are not seen\n",
        );
        return;
    }
    let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let forbidden = poll(&mut [PollFd::new(&mapping_read, PollFlags::IN)], Some(&moment)).unwrap();
    assert_eq!(forbidden, 0, "the thread went on after a forbidden system call");
}
