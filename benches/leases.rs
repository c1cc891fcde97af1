//! Guards, against the change of state that they are about, and leases, against the locks that they are made of.
#![allow(unsafe_code, reason = "record locks")]

use std::hint::black_box;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ashmem::{Contents, Region, page_size};

use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

const SIZE: u64 = 64 << 20;

/// What a guard may cost more than unpinning and pinning by hand.
const GUARD: Required = Required::Extra(Duration::from_nanos(10));

pub fn run(suite: &mut Suite) {
    for (name, what, range, nested, required) in [
        ("guard_nested", "64 MiB, whole, held already: guard + drop", 0..SIZE, true, GUARD),
        ("guard_page_nested", "one page, held already: guard + drop", page(), true, GUARD),
        ("guard", "64 MiB, whole: guard + drop", 0..SIZE, false, Required::Nothing),
        ("guard_page", "one page: guard + drop", page(), false, Required::Nothing),
    ] {
        suite.run(
            Case { id: ("leases", name), what, reference: "unpin + pin", required, slow: false },
            || Pair::new(guard(range.clone(), nested), by_hand(range.clone())),
        );
    }
    suite.run(
        Case {
            id: ("leases", "lock"),
            what: "one page, read-only: lease + drop",
            reference: "two fcntl(F_OFD_SETLK)",
            required: Required::Cost(1.2),
            slow: false,
        },
        || Pair::new(lease(true, page()), two_locks(page())),
    );
    for (name, what, range) in
        [("slot", "64 MiB, whole: lease + drop", 0..SIZE), ("slot_page", "one page: lease + drop", page())]
    {
        suite.run(
            Case {
                id: ("leases", name),
                what,
                reference: "two fcntl(F_OFD_SETLK)",
                required: Required::Nothing,
                slow: false,
            },
            || Pair::new(lease(false, range.clone()), two_locks(range.clone())),
        );
    }
}

fn page() -> Range<u64> {
    7 * page_size()..8 * page_size()
}

fn region() -> Region {
    ok(Region::options().purgeable().create("leased", SIZE))
}

fn guard(range: Range<u64>, nested: bool) -> impl FnMut(u64) -> Duration {
    let region = region();
    let whole = range == (0..SIZE);
    drop(ok(region.pin_guard(..)));
    move |count| {
        let outer = nested.then(|| ok(region.pin_guard(range.clone())));
        let time = match whole {
            true => time(count, || ok(black_box(&region).pin_guard(..)).contents()),
            false => time(count, || ok(black_box(&region).pin_guard(black_box(range.clone()))).contents()),
        };
        drop(outer);
        time
    }
}

fn by_hand(range: Range<u64>) -> impl FnMut(u64) -> Duration {
    let region = region();
    let whole = range == (0..SIZE);
    move |count| match whole {
        true => time(count, || {
            ok(black_box(&region).unpin(..));
            ok(black_box(&region).pin(..))
        }),
        false => time(count, || {
            let range = black_box(range.clone());
            ok(black_box(&region).unpin(range.clone()));
            ok(black_box(&region).pin(range))
        }),
    }
}

fn lease(read_only: bool, range: Range<u64>) -> impl FnMut(u64) -> Duration {
    let region = region();
    ok(region.unpin(..));
    let fd = ok(if read_only { region.share_read_only() } else { region.share_read_write() });
    let leaser = ok(Region::from_fd(fd));
    let once = move || {
        if ok(black_box(&leaser).lease(black_box(range.clone()))).contents() != Contents::Intact {
            fail("somebody purges");
        }
    };
    // Descriptions and slots are for the life of the region.
    once();
    move |count| time(count, &once)
}

/// Locks and unlocks the range through a description of its own.
fn two_locks(range: Range<u64>) -> impl FnMut(u64) -> Duration {
    let region = region();
    let description: OwnedFd = ok(region.share_read_only());
    move |count| {
        time(count, || {
            set_lock(&description, libc::F_RDLCK, black_box(&range));
            set_lock(&description, libc::F_UNLCK, black_box(&range));
        })
    }
}

#[inline]
fn set_lock(fd: &OwnedFd, kind: libc::c_int, range: &Range<u64>) {
    // SAFETY: `flock` is a C structure of integers, for which all zeros is a value.
    let mut record: libc::flock = unsafe { std::mem::zeroed() };
    record.l_type = kind as libc::c_short;
    record.l_start = range.start as i64;
    record.l_len = (range.end - range.start) as i64;
    // SAFETY: `record` is a valid `struct flock`.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const record) };
    if answer != 0 {
        fail("somebody has locked the range");
    }
}
