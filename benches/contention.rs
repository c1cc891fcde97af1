//! Two threads: pins of different regions must not get in each other's way, and pins of one region must cost what any
//! atomic word costs that two cores want.
//!
//! Each thread stays on a core of its own and takes its own time, from a moment when both are there.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ashmem::{Region, page_size};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// How long one side waits for the other before it believes it dead.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(suite: &mut Suite) {
    let Some(cpus) = two_cpus() else {
        eprintln!("threads: skipped, there is one core");
        return;
    };
    suite.run(
        Case {
            id: ("threads", "own_regions"),
            what: "2 threads, own regions: unpin + pin",
            reference: "1 thread",
            required: Required::Cost(1.10),
            slow: false,
        },
        || {
            let regions = [small_region(), small_region()];
            let single = small_region();
            Pair::new(
                move |count| both(cpus, |place| pin_whole(&regions[place], count)),
                move |count| on(cpus[0], || pin_whole(&single, count)),
            )
        },
    );
    suite.run(
        Case {
            id: ("threads", "same_region"),
            what: "2 threads, same region: unpin + pin",
            reference: "two exchanges of one contended word",
            required: Required::Cost(1.0),
            slow: false,
        },
        || {
            let region = small_region();
            Pair::new(move |count| both(cpus, |_| pin_whole(&region, count)), contended_word(cpus))
        },
    );
    suite.run(
        Case {
            id: ("threads", "same_page"),
            what: "2 threads, same page: unpin + pin",
            reference: "two exchanges of one contended word",
            required: Required::Cost(1.0),
            slow: false,
        },
        || {
            let region = small_region();
            Pair::new(move |count| both(cpus, |_| pin_page(&region, count)), contended_word(cpus))
        },
    );
}

/// A region that can be unpinned, of sixteen pages.
pub fn small_region() -> Region {
    ok(Region::options().purgeable().create("contended", 16 * page_size()))
}

/// Unpins and pins a whole region that many times.
pub fn pin_whole(region: &Region, count: u64) -> Duration {
    time(count, || {
        ok(black_box(region).unpin(..));
        ok(black_box(region).pin(..))
    })
}

fn pin_page(region: &Region, count: u64) -> Duration {
    let page = 7 * page_size()..8 * page_size();
    time(count, || {
        ok(black_box(region).unpin(page.clone()));
        ok(black_box(region).pin(page.clone()))
    })
}

/// Sets a bit of a word and clears it again, by compare-and-swap: the least that unpinning and pinning can be.
pub fn set_and_clear(word: &AtomicU64, count: u64) -> Duration {
    time(count, || {
        for bit in [1, 0] {
            let mut old = word.load(Ordering::SeqCst);
            while let Err(now) =
                word.compare_exchange(old, old & !1 | bit, Ordering::SeqCst, Ordering::Relaxed)
            {
                old = now;
            }
        }
    })
}

fn contended_word(cpus: [usize; 2]) -> impl FnMut(u64) -> Duration {
    let word = Arc::new(AtomicU64::new(0));
    move |count| both(cpus, |_| set_and_clear(&word, count))
}

/// Runs `work` on two cores at once and returns the longer time. `work` is told which of the two it is.
fn both(cpus: [usize; 2], work: impl Fn(usize) -> Duration + Sync) -> Duration {
    let here = AtomicU32::new(0);
    let part = |place: usize| {
        on(cpus[place], || {
            meet(&here, 2);
            work(place)
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| part(1));
        let first = part(0);
        match other.join() {
            Ok(second) => first.max(second),
            Err(_) => fail("a thread panicked"),
        }
    })
}

/// Runs `work` in a thread that stays on one core.
pub fn on<T: Send>(cpu: usize, work: impl FnOnce() -> T + Send) -> T {
    let there = || {
        stay_on(cpu);
        work()
    };
    match thread::scope(|scope| scope.spawn(there).join()) {
        Ok(result) => result,
        Err(_) => fail("a thread panicked"),
    }
}

/// Keeps the calling thread on a core.
pub fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    ok(sched_setaffinity(None, &only));
}

/// Returns when `parties` have come, at about the same time for all.
pub fn meet(here: &AtomicU32, parties: u32) {
    here.fetch_add(1, Ordering::SeqCst);
    let since = Instant::now();
    while here.load(Ordering::SeqCst) < parties {
        if since.elapsed() > PATIENCE {
            fail("the other side did not come");
        }
        std::hint::spin_loop();
    }
}

/// The first two cores that this process may use.
pub fn two_cpus() -> Option<[usize; 2]> {
    let allowed = ok(sched_getaffinity(None));
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    Some([cpus.next()?, cpus.next()?])
}
