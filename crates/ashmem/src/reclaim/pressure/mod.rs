//! How short memory is, and being told when it gets shorter.
//!
//! A [`PressureSource`] answers two questions: how far is each limit on memory away ([`Headroom`]), and have tasks
//! been waiting for memory ([`Reading::stalled`])? [`SystemPressure`] asks Linux; [`ManualPressure`] is told by the
//! program.
//!
//! Headroom is the truth and events only say when to look: an event may come late, come for nothing or not exist on
//! this system. So whoever reclaims reads, acts on what is below its reserve, and sleeps in
//! [`PressureSource::wait`] for no longer than the nearest limit is away at full speed.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod cgroup_v1;
mod cgroup_v2;
mod file;
mod gauge;
mod manual;
mod mounts;
mod pace;
mod parse;
mod psi;
mod system;
mod wait;

/// Bytes that the system could give to this process now, swap included; `None` without `/proc`.
pub(crate) fn obtainable() -> Option<u64> {
    let mut buffer = vec![0; file::BUFFER_SIZE];
    let meminfo = file::KeptFile::open_path("/proc/meminfo".as_ref())?;
    let text = meminfo.read(&mut buffer)?;
    let swap = parse::parse_keyed(text, b"SwapFree:")?.checked_mul(1024)?;
    parse::parse_meminfo(text)?.available.checked_add(swap)
}

pub use manual::ManualPressure;
pub use system::SystemPressure;

/// What a reclaimer for several processes in different cgroups is made of.
#[doc(hidden)]
pub use {
    file::BUFFER_SIZE,
    gauge::{Gauge, wait},
    mounts::{Directory, Membership, Proc},
    pace::Pace,
    psi::Stall,
};

/// One limit on memory and how near it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Bytes that can still be allocated without taking pages away that somebody uses.
    pub available: u64,
    /// The limit in bytes: the memory of the system, or what a cgroup may use.
    pub limit: u64,
}

/// What a [`PressureSource`] knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every limit that applies to this process; empty when none is known.
    pub headrooms: Vec<Headroom>,
    /// Whether tasks were held up by a lack of memory since the last reading.
    ///
    /// It may come from a part of the system that shares no limit with this process, so it is a reason to look
    /// closely, not by itself a proof that purging helps.
    pub stalled: bool,
}

/// Why [`PressureSource::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The source has news: read it.
    Event,
    /// The wake descriptor is readable. There may be news as well.
    Called,
    /// Nothing happened for as long as was asked.
    TimedOut,
}

/// Something that knows how short memory is.
///
/// A source belongs to one thread at a time and to the process that made it: a child of `fork(2)` makes its own.
pub trait PressureSource: Send {
    /// Replaces `reading` with what is known now and forgets that there was a stall.
    ///
    /// This never fails: what cannot be read is left out. It runs while memory is short, so it should reuse the
    /// memory of `reading` and allocate nothing.
    fn read_into(&mut self, reading: &mut Reading);

    /// As [`read_into`](PressureSource::read_into), into a new reading.
    fn read(&mut self) -> Reading {
        let mut reading = Reading::default();
        self.read_into(&mut reading);
        reading
    }

    /// Tells which reserve is wanted: `reserve` maps a limit in bytes to the bytes of it that should stay available.
    /// Sources with events set them to announce when less is left.
    ///
    /// Call it before the first wait, when the policy changes, and when a reading shows other limits than before.
    /// Repeating it with the same answers costs little and loses no event.
    fn arm(&mut self, reserve: &dyn Fn(u64) -> u64) {
        let _ = reserve;
    }

    /// Sleeps until an event, until `wake` is readable (which is left as it is, so not drained), or for `timeout`;
    /// without a timeout for as long as it takes. Signals do not end it.
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken;

    /// Whether an event will end [`wait`](PressureSource::wait) before the headroom at `index` of the last reading
    /// falls below the reserve given to [`arm`](PressureSource::arm). Limits without one need quicker polling.
    fn has_events_for(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// What this source watches, a line each, for people.
    fn describe(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How fast one core can use memory up. A first touch of a 4 KiB page costs about 2 µs, most of it the kernel's.
const BYTES_PER_CORE_SECOND: u64 = 2 << 30;

const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// Also at a limit that announces itself, as events can be lost sight of: a limit may be changed, or the process moved to another
/// cgroup.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// The least time between looks at a limit of which half is free, and at least [`FAR`].
const SHORTEST_LOOK_FAR: Duration = Duration::from_secs(1);

/// Machines on which half of the memory is so much have cores enough to be taken for near by the rule above, but clear memory no
/// faster than this in a second.
const FAR: u64 = 8 << 30;

/// How long the next look at the headrooms can wait: until all cores, allocating as fast as they can, would reach
/// the reserve of the nearest limit.
///
/// Far from every limit that is [`LONGEST_LOOK`] and costs nothing; near one it shrinks with the distance, down to
/// [`SHORTEST_LOOK`], which is also the answer below the reserve. So a caller that is below and has nothing left to
/// purge should not follow it, but sleep until there is something. `covered` tells by index which headrooms
/// announce themselves ([`PressureSource::has_events_for`]).
pub(crate) fn next_look(
    reading: &Reading,
    reserve: &dyn Fn(u64) -> u64,
    covered: impl Fn(usize) -> bool,
) -> Duration {
    let looks = reading.headrooms.iter().enumerate();
    looks
        .map(|(index, headroom)| next_look_at(*headroom, reserve(headroom.limit), covered(index)))
        .min()
        .unwrap_or(LONGEST_LOOK)
}

/// An event comes when only the reserve is left. While less than so many reserves are, it is not relied on: on a busy machine, whoever
/// waits for it comes late.
const NEAR: u64 = 2;

/// As `next_look`, for one limit, the `reserve` of which is to stay available.
#[doc(hidden)]
#[must_use]
pub fn next_look_at(headroom: Headroom, reserve: u64, is_covered: bool) -> Duration {
    // Asking is slow (it reads cgroup files) and allocates.
    static CORES: AtomicU64 = AtomicU64::new(0);
    let cores = match CORES.load(Ordering::Relaxed) {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            CORES.store(cores, Ordering::Relaxed);
            cores
        }
        cores => cores,
    };
    look_at_speed(cores.saturating_mul(BYTES_PER_CORE_SECOND), headroom, reserve, is_covered)
}

fn look_at_speed(bytes_per_second: u64, headroom: Headroom, reserve: u64, is_covered: bool) -> Duration {
    if is_covered && headroom.available >= reserve.saturating_mul(NEAR) {
        return LONGEST_LOOK;
    }
    let distance = headroom.available.saturating_sub(reserve);
    let nanos = u128::from(distance) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    let is_far = distance >= FAR && headroom.available >= headroom.limit / 2;
    time.clamp(if is_far { SHORTEST_LOOK_FAR } else { SHORTEST_LOOK }, LONGEST_LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn look(available: u64, limit: u64, is_covered: bool) -> Duration {
        look_at_speed(2 * GIB, Headroom { available, limit }, GIB, is_covered)
    }

    #[test]
    fn looks_rarely_far_from_every_limit() {
        assert_eq!(next_look(&Reading::default(), &|_| 0, |_| false), LONGEST_LOOK);
        assert_eq!(look(32 * GIB, 64 * GIB, false), LONGEST_LOOK);
        assert_eq!(look(u64::MAX, u64::MAX, false), LONGEST_LOOK);
    }

    #[test]
    fn many_cores_do_not_make_it_nearer() {
        let look = |available| look_at_speed(1000 * GIB, Headroom { available, limit: 24 * GIB }, GIB, false);
        assert_eq!(look(12 * GIB), SHORTEST_LOOK_FAR);
        assert_eq!(look(12 * GIB - 1), Duration::from_nanos(10_999_999), "less than half");
    }

    #[test]
    fn looks_as_often_as_the_distance_needs() {
        assert_eq!(look(GIB + GIB / 2, 64 * GIB, false), Duration::from_millis(250));
        assert_eq!(look(2 * GIB, 2 * GIB, false), Duration::from_millis(500));
    }

    #[test]
    fn the_nearest_limit_counts() {
        let headrooms = vec![
            Headroom { available: 64 * GIB, limit: 64 * GIB },
            Headroom { available: 2 * GIB, limit: 64 * GIB },
        ];
        let reading = Reading { headrooms, stalled: false };
        assert_eq!(next_look(&reading, &|_| 2 * GIB, |_| false), SHORTEST_LOOK);
        assert!(next_look(&reading, &|_| GIB, |_| false) < LONGEST_LOOK);
        assert_eq!(next_look(&reading, &|_| GIB, |index| index == 1), LONGEST_LOOK);
    }

    #[test]
    fn never_looks_more_often_than_the_shortest() {
        assert_eq!(look(GIB, 64 * GIB, false), SHORTEST_LOOK);
        assert_eq!(look(0, 0, false), SHORTEST_LOOK);
    }

    #[test]
    fn trusts_events_for_the_limits_that_have_them() {
        assert_eq!(look(2 * GIB, 64 * GIB, true), LONGEST_LOOK);
        assert_eq!(
            look(GIB + GIB / 2, 64 * GIB, true),
            Duration::from_millis(250),
            "near, they may come late"
        );
    }

    #[test]
    fn survives_extremes() {
        let headroom = Headroom { available: u64::MAX, limit: 0 };
        assert_eq!(look_at_speed(0, headroom, 0, false), LONGEST_LOOK);
        assert_eq!(look_at_speed(u64::MAX, headroom, u64::MAX, false), SHORTEST_LOOK);
    }
}
