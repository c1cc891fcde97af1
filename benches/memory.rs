//! A region that nobody unpins, against the memfd that it is; and copies through it, against `memcpy`.
#![allow(unsafe_code, reason = "maps memory and copies into it")]

use std::cell::RefCell;
use std::hint::black_box;
use std::ptr;
use std::rc::Rc;

use ashmem::{Mapping, Region};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::ok;
use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};

const MIB: usize = 1 << 20;

pub fn run(suite: &mut Suite) {
    suite.run(
        Case {
            id: ("memory", "create_map_drop"),
            what: "create + map + drop, never unpinned",
            reference: "the same system calls",
            required: Required::Cost(1.10),
            slow: false,
        },
        || Pair::new(|count| time(count, create_map_drop), |count| time(count, || ok(raw_create_map_drop()))),
    );
    suite.run(
        Case {
            id: ("memory", "write_at_1MiB"),
            what: "write_at of 1 MiB",
            reference: "memcpy into the mapping",
            required: Required::Speed(0.95),
            slow: false,
        },
        writes,
    );
    suite.run(
        Case {
            id: ("memory", "read_at_1MiB"),
            what: "read_at of 1 MiB",
            reference: "memcpy from the mapping",
            required: Required::Speed(0.95),
            slow: false,
        },
        reads,
    );
}

fn create_map_drop() {
    let region = ok(Region::create(black_box("bench"), black_box(MIB as u64)));
    black_box(ok(region.map()));
}

/// What a program would do that needs the same guarantees and knows its system calls.
fn raw_create_map_drop() -> Result<(), Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let fd = memfd_create(black_box(c"bench"), flags)?;
    ftruncate(&fd, black_box(MIB as u64))?;
    fcntl_add_seals(&fd, SealFlags::SHRINK)?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint without MAP_FIXED replaces no mapping.
    let start = unsafe { mmap(ptr::null_mut(), MIB, protection, MapFlags::SHARED, &fd, 0) }?;
    // SAFETY: that mapping, which nothing uses.
    unsafe { munmap(black_box(start), MIB) }
}

/// A mapping whose memory is there, and a buffer of the same length.
fn mapping_and_buffer() -> (Rc<Mapping>, Rc<RefCell<Vec<u8>>>) {
    let mapping = ok(ok(Region::create("copies", MIB as u64)).map());
    ok(mapping.fill(0, MIB as u64, 1));
    (Rc::new(mapping), Rc::new(RefCell::new(vec![2; MIB])))
}

fn writes() -> Pair {
    let (mapping, buffer) = mapping_and_buffer();
    let (raw_mapping, raw_buffer) = (mapping.clone(), buffer.clone());
    Pair::new(
        move |count| {
            let bytes = buffer.borrow();
            time(count, || ok(mapping.write_at(0, black_box(&bytes))))
        },
        move |count| {
            let bytes = raw_buffer.borrow();
            time(count, || {
                let (to, from) = (raw_mapping.as_mut_ptr(), black_box(&bytes[..]).as_ptr());
                // SAFETY: the mapping and the buffer have `MIB` bytes each, and only this thread uses them.
                unsafe { ptr::copy_nonoverlapping(from, to, black_box(MIB)) }
            })
        },
    )
}

fn reads() -> Pair {
    let (mapping, buffer) = mapping_and_buffer();
    let (raw_mapping, raw_buffer) = (mapping.clone(), buffer.clone());
    Pair::new(
        move |count| {
            let mut bytes = buffer.borrow_mut();
            time(count, || ok(mapping.read_at(0, black_box(&mut bytes))))
        },
        move |count| {
            let mut bytes = raw_buffer.borrow_mut();
            time(count, || {
                let (to, from) = (black_box(&mut bytes[..]).as_mut_ptr(), raw_mapping.as_ptr());
                // SAFETY: the mapping and the buffer have `MIB` bytes each, and only this thread uses them.
                unsafe { ptr::copy_nonoverlapping(from, to, black_box(MIB)) }
            })
        },
    )
}
