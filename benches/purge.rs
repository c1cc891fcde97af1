//! Taking pages away, against punching the same hole by hand; and finding the oldest among very many regions.

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ashmem::{Mapping, Reclaimer, Region, RegionOptions, page_size};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::pair::Pair;
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

const GIB: u64 = 1 << 30;

/// Regions to choose from.
const MANY: usize = 10_000;

/// Pages in each of them.
const PAGES: u64 = 8;

pub fn run(suite: &mut Suite) {
    suite.run(
        Case {
            id: ("purge", "1GiB"),
            what: "purge 1 GiB",
            reference: "fallocate(PUNCH_HOLE)",
            required: Required::Speed(0.9),
            slow: true,
        },
        one_gib,
    );
    if !descriptors_for_many() {
        eprintln!("purge/oldest_of_10000: skipped, the limit of open files is below {MANY}");
        return;
    }
    for (name, what, part) in [
        ("oldest_of_10000", "purge the oldest of 10,000 regions", 0..PAGES),
        ("oldest_part_of_10000", "the same, half of each unpinned", PAGES / 2..PAGES),
    ] {
        suite.run(
            Case {
                id: ("purge", name),
                what,
                reference: "",
                required: Required::Time(Duration::from_millis(5)),
                slow: false,
            },
            || {
                let mut many = Many::new(part.start * page_size()..part.end * page_size());
                Pair::alone(move |count| (0..count).map(|_| many.purge_oldest()).sum())
            },
        );
    }
}

/// A reclaimer that does nothing by itself, so that only what is measured purges.
fn by_hand() -> (Reclaimer, RegionOptions) {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    (reclaimer, options)
}

/// Both sides take the pages of one region away, which are touched again in between.
fn one_gib() -> Pair {
    let region = ok(by_hand().1.create("1 GiB", GIB));
    let mapping = Rc::new(ok(region.map()));
    let (raw_region, raw_mapping) = (region.clone(), mapping.clone());
    let ours = move |count| {
        let once = |_| {
            touch(&mapping);
            ok(region.unpin(..));
            let start = Instant::now();
            let purged = ok(region.purge());
            let time = start.elapsed();
            if purged != GIB || !ok(region.pin(..)).is_purged() {
                fail("a purge left something");
            }
            time
        };
        (0..count).map(once).sum()
    };
    let reference = move |count| {
        let once = |_| {
            touch(&raw_mapping);
            let start = Instant::now();
            ok(fallocate(&raw_region, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, GIB));
            start.elapsed()
        };
        (0..count).map(once).sum()
    };
    Pair::new(ours, reference)
}

fn touch(mapping: &Mapping) {
    for offset in (0..mapping.len()).step_by(page_size() as usize) {
        ok(mapping.write_at(offset, &[1]));
    }
}

/// Very many unpinned regions, and which of them is the oldest.
struct Many {
    reclaimer: Reclaimer,
    regions: Vec<Region>,
    part: std::ops::Range<u64>,
    oldest: usize,
}

impl Many {
    fn new(part: std::ops::Range<u64>) -> Many {
        let (reclaimer, options) = by_hand();
        let region = |_| ok(options.create("one of many", PAGES * page_size()));
        let many = Many { reclaimer, regions: (0..MANY).map(region).collect(), part, oldest: 0 };
        many.regions.iter().for_each(|region| many.unpin(region));
        many
    }

    fn unpin(&self, region: &Region) {
        ok(ok(region.map()).fill(0, region.size(), 1));
        ok(region.unpin(self.part.clone()));
    }

    /// One byte is wanted, so one region has to go: all are looked at, and the oldest is taken. Unpins it again, as the
    /// newest.
    fn purge_oldest(&mut self) -> Duration {
        let start = Instant::now();
        let freed = black_box(&self.reclaimer).reclaim(1);
        let time = start.elapsed();
        let region = &self.regions[self.oldest];
        if freed.bytes != self.part.end - self.part.start || !ok(region.pin(..)).is_purged() {
            fail("the reclaimer took something else than the oldest region");
        }
        self.unpin(region);
        self.oldest = (self.oldest + 1) % self.regions.len();
        time
    }
}

/// Every region is an open file.
fn descriptors_for_many() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let current = if raised.is_ok() { limit.maximum } else { limit.current };
    current.is_none_or(|files| files >= MANY as u64 + 100)
}
