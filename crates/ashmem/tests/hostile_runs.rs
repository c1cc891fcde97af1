//! Peers that make reclaiming others' memory take long: runs of pages that are not there, and leases on the file.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "takes a lease on a file, as a peer that does not use this crate")]

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use ashmem::{Reclaimer, Region, page_size};

fn options(reclaimer: &Reclaimer) -> ashmem::RegionOptions {
    Region::options().purgeable().reclaimer(reclaimer)
}

fn filled(reclaimer: &Reclaimer) -> Region {
    let region = options(reclaimer).create("filled", page_size()).expect("a region");
    region.map().expect("mapped").fill(0, page_size(), 1).expect("filled");
    region.unpin(..).expect("unpinned");
    region
}

#[test]
fn runs_that_are_not_in_memory_are_passed_over() {
    const RUNS: u64 = 50_000;
    let reclaimer = Reclaimer::builder().without_thread().build();
    // The oldest, more than are kept of one scan, and each for itself.
    let sparse = options(&reclaimer).create("sparse", RUNS * page_size()).expect("a region");
    for page in 0..RUNS {
        sparse.unpin(page * page_size()..(page + 1) * page_size()).expect("unpinned");
    }
    let last = RUNS - 1;
    sparse.map().expect("mapped").fill(last * page_size(), page_size(), 1).expect("filled");
    let region = filled(&reclaimer);
    let regions = [sparse.clone(), region.clone()];
    let wanted = 2 * page_size();
    let freed = reclaimer.reclaim_while(&regions, &mut |progress| {
        assert!(progress.unpinned > RUNS * page_size());
        wanted.saturating_sub(progress.freed.bytes)
    });
    assert_eq!(freed.bytes, wanted);
    for region in &regions {
        assert_eq!(region.resident().expect("looked at"), 0);
    }
    assert!(freed.pages < 10, "{freed:?}");
    // Who wants everything gets that.
    assert_eq!(freed.pages + reclaimer.reclaim_among(&regions, u64::MAX).pages, RUNS + 1);
}

#[test]
fn leases_are_not_waited_for() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let (leased, region) = (filled(&reclaimer), filled(&reclaimer));
    // SAFETY: these take numbers alone. The signal that asks for the lease back is ignored.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    for kind in [libc::F_RDLCK, libc::F_WRLCK] {
        // SAFETY: as above.
        let taken = unsafe { libc::fcntl(leased.as_fd().as_raw_fd(), libc::F_SETLEASE, kind) };
        if taken != 0 {
            println!("SKIPPED: no leases on memfds here: {}", std::io::Error::last_os_error());
            return;
        }
        let started = Instant::now();
        region.map().expect("mapped").fill(0, page_size(), 1).expect("filled");
        region.unpin(..).expect("unpinned");
        reclaimer.purge_all();
        // The kernel has whoever opens the file wait for 45 s.
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(region.resident().expect("looked at"), 0);
        assert_eq!(leased.resident().expect("looked at"), page_size());
        // SAFETY: as above.
        unsafe { libc::fcntl(leased.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        let _ = region.pin(..).expect("pinned");
    }
    reclaimer.purge_all();
    assert_eq!(leased.resident().expect("looked at"), 0);
}
