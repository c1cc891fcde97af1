//! Unpin and pin, against what any driver in the kernel would cost at least: two calls of `ioctl(2)`.
//!
//! The calls ask a memfd for something that it does not know, so they enter the kernel, find the file and return:
//! a driver would do its work on top. The other half of the claim is that the whole region costs the same whatever its size.
#![allow(unsafe_code, reason = "ioctl")]

use std::hint::black_box;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ashmem::{Region, page_size};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, ioctl};

use crate::ok;
use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};

const GIB: u64 = 1 << 30;

/// No file knows this request.
const UNKNOWN: Opcode = 0x7fff;

pub fn run(suite: &mut Suite) {
    let whole = |size| move || Pair::new(whole_region(size), two_ioctls());
    suite.run(
        Case {
            id: ("pins", "whole_4KiB"),
            what: "4 KiB, whole: unpin + pin",
            reference: "two empty ioctl(2)",
            required: Required::Speed(20.0),
            slow: false,
        },
        whole(4096),
    );
    suite.run(
        Case {
            id: ("pins", "whole_64GiB"),
            what: "64 GiB, whole: unpin + pin",
            reference: "two empty ioctl(2)",
            required: Required::Speed(20.0),
            slow: false,
        },
        whole(64 * GIB),
    );
    suite.run(
        Case {
            id: ("pins", "any_size"),
            what: "64 GiB, whole: unpin + pin",
            reference: "4 KiB, whole",
            required: Required::Same(0.10),
            slow: false,
        },
        || Pair::new(whole_region(64 * GIB), whole_region(4096)),
    );
    suite.run(
        Case {
            id: ("pins", "one_page"),
            what: "one page of 1 GiB: unpin + pin",
            reference: "two empty ioctl(2)",
            required: Required::Speed(12.0),
            slow: false,
        },
        || Pair::new(one_page(GIB), two_ioctls()),
    );
    for (name, what, timed) in [
        ("range_unpin", "1 GiB less a page: unpin", Half::Unpin),
        ("range_pin", "1 GiB less a page: pin", Half::Pin),
    ] {
        suite.run(
            Case {
                id: ("pins", name),
                what,
                reference: "",
                required: Required::Time(Duration::from_micros(80)),
                slow: false,
            },
            || Pair::alone(range(timed)),
        );
    }
}

fn whole_region(size: u64) -> impl FnMut(u64) -> Duration {
    let region = ok(Region::create("whole", size));
    move |count| {
        time(count, || {
            ok(black_box(&region).unpin(..));
            ok(black_box(&region).pin(..))
        })
    }
}

fn one_page(size: u64) -> impl FnMut(u64) -> Duration {
    let region = ok(Region::create("one page", size));
    let page = page_size();
    move |count| {
        time(count, || {
            let range = black_box(7 * page..8 * page);
            ok(black_box(&region).unpin(range.clone()));
            ok(black_box(&region).pin(range))
        })
    }
}

#[derive(Clone, Copy)]
enum Half {
    Unpin,
    Pin,
}

/// All pages of 1 GiB but the first: the most page words that one call can have to write.
fn range(half: Half) -> impl FnMut(u64) -> Duration {
    let region = ok(Region::create("range", GIB));
    let range: Range<u64> = page_size()..GIB;
    move |count| {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            let start = Instant::now();
            ok(black_box(&region).unpin(range.clone()));
            let middle = Instant::now();
            let _ = black_box(ok(black_box(&region).pin(range.clone())));
            total += match half {
                Half::Unpin => middle - start,
                Half::Pin => middle.elapsed(),
            };
        }
        total
    }
}

fn two_ioctls() -> impl FnMut(u64) -> Duration {
    let file = ok(memfd_create(c"ioctl", MemfdFlags::CLOEXEC));
    assert_eq!(empty_ioctl(&file), Err(Errno::NOTTY));
    move |count| time(count, || (empty_ioctl(black_box(&file)), empty_ioctl(black_box(&file))))
}

#[inline]
fn empty_ioctl(file: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: the request takes no argument, as no file knows it.
    let request = unsafe { NoArg::<UNKNOWN>::new() };
    // SAFETY: no file knows the request, so nothing happens.
    unsafe { ioctl(file, request) }
}
