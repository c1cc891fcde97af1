//! Taking pages away, oldest unpin first, and telling of it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::engine::{Listener, Shared, lock};
use super::metrics::add;
use super::victims::Scan;
use super::{Freed, ListenerId, PurgeEvent, thread};
use crate::page::page_size;
use crate::presence::Presence;
use crate::region::Inner;
use crate::sys::fork;
use crate::sys::thread::at_leisure;
use crate::{Error, Region, purger};

/// How long to wait for somebody else who purges the same region, which takes a millisecond at a time. Then it is the next
/// region's turn.
const LOCK_PATIENCE: Duration = Duration::from_millis(2);

/// How long to wait for others in all, in one go through the victims: somebody could keep the locks of many regions.
const ROUND_PATIENCE: Duration = Duration::from_millis(10);

/// Who is told of purges.
struct Audience {
    listeners: Vec<(ListenerId, Listener)>,
    counters: Vec<Weak<OwnedFd>>,
}

/// How far [`Shared::reclaim_while`] has come.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were unpinned at the start, whether they were in memory or not.
    pub unpinned: u64,
    /// What was taken away since.
    pub freed: Freed,
}

/// One go through the victims of a scan.
struct Round {
    /// The first victim whose turn has not been.
    next: usize,
    /// How long others may still be waited for.
    patience: Duration,
    /// By region: it would fail again.
    given_up: Vec<bool>,
    /// By region: which parts of its control block there are.
    presence: Vec<Option<Presence>>,
}

impl Round {
    fn new(regions: usize) -> Round {
        Round {
            next: 0,
            patience: ROUND_PATIENCE,
            given_up: vec![false; regions],
            presence: std::iter::repeat_with(|| None).take(regions).collect(),
        }
    }
}

impl Shared {
    /// Purges the oldest of some regions until `bytes` are free or nothing is left. `scan` is what was found there a moment ago.
    pub(super) fn reclaim(&self, regions: &[Arc<Inner>], scan: Scan, bytes: u64) -> Freed {
        self.reclaim_while(regions, scan, &mut |progress| bytes.saturating_sub(progress.freed.bytes))
    }

    /// As [`reclaim`](Self::reclaim) in steps: `wanted` says before each how many bytes are to be freed next, none to end.
    pub(super) fn reclaim_while(
        &self,
        regions: &[Arc<Inner>],
        scan: Scan,
        wanted: &mut dyn FnMut(Progress) -> u64,
    ) -> Freed {
        let mut freed = Freed::default();
        let (mut left, mut scan) = (regions.to_vec(), scan);
        let unpinned = scan.pages.saturating_mul(page_size());
        let mut bytes = wanted(Progress { unpinned, freed });
        while bytes > 0 {
            let before = freed;
            let mut round = Round::new(left.len());
            while bytes > 0 && round.next < scan.oldest.len() {
                let step = self.take(&left, &scan, &mut round, bytes);
                freed.pages += step.pages;
                freed.bytes = freed.bytes.saturating_add(step.bytes);
                bytes = match bytes.saturating_sub(step.bytes) {
                    0 => wanted(Progress { unpinned, freed }),
                    rest => rest,
                };
            }
            if bytes == 0 || !scan.truncated {
                break;
            }
            if freed.bytes == before.bytes && (scan.is_of_present || freed.pages == before.pages) {
                // The oldest are held, cannot be purged, or are not in memory any more: it is the turn of the others.
                let vain: HashSet<usize> = scan.oldest.iter().map(|victim| victim.region).collect();
                let mut place = 0..;
                left.retain(|_| place.next().is_none_or(|place| !vain.contains(&place)));
            }
            scan = scan.again(&left);
            bytes = wanted(Progress { unpinned, freed });
        }
        for inner in regions {
            if bytes == 0 {
                break;
            }
            let swept = inner.known_control().map_or(0, |control| purger::sweep(inner, control));
            freed.bytes = freed.bytes.saturating_add(swept);
            bytes = bytes.saturating_sub(swept);
            add(&self.counters.freed_bytes, swept);
        }
        freed
    }

    /// Purges the scan's victims in order, from where the round is, until `bytes` are free.
    fn take(&self, regions: &[Arc<Inner>], scan: &Scan, round: &mut Round, bytes: u64) -> Freed {
        let audience = self.audience();
        let mut freed = Freed::default();
        let Round { next, patience, given_up, presence } = round;
        while let Some(victim) = scan.oldest.get(*next).filter(|_| freed.bytes < bytes) {
            *next += 1;
            let inner = &regions[victim.region];
            let Some(control) = inner.known_control().filter(|_| !given_up[victim.region]) else { continue };
            let present = presence[victim.region].get_or_insert_with(|| Presence::of(inner, control));
            let has_page_stamps = |word| present.has_page_stamps(word);
            let (pages, mut taken) = (victim.first..victim.end, Freed::default());
            let started = Instant::now();
            let purged = purger::purge(
                inner,
                control,
                pages,
                victim.stamp,
                &has_page_stamps,
                LOCK_PATIENCE.min(*patience),
                &mut taken,
            );
            if let Err(error) = purged {
                // It would fail again: the next region may not.
                given_up[victim.region] = true;
                if matches!(error, Error::PurgeLocked { .. }) {
                    *patience = patience.saturating_sub(started.elapsed());
                }
                add(&self.counters.failures, 1);
                inner.note_purge_failure(&error);
            }
            if taken.pages == 0 {
                continue;
            }
            let event = PurgeEvent {
                region: Region::handle(inner.clone()),
                range: victim.first * page_size()..victim.end * page_size(),
                freed: taken.bytes,
            };
            freed.pages += taken.pages;
            freed.bytes += taken.bytes;
            add(&self.counters.purges, 1);
            add(&self.counters.purged_pages, taken.pages);
            add(&self.counters.freed_bytes, taken.bytes);
            self.call(&audience, &event);
        }
        freed
    }

    fn audience(&self) -> Audience {
        let _section = fork::section();
        let state = lock(&self.state);
        Audience { listeners: state.listeners.clone(), counters: state.counters.clone() }
    }

    fn call(&self, audience: &Audience, event: &PurgeEvent) {
        for counter in audience.counters.iter().filter_map(Weak::upgrade) {
            thread::wake(&counter);
        }
        for (_, listener) in &audience.listeners {
            // Other regions wait to be purged, whatever happens to this one's owner.
            let called = at_leisure(|| catch_unwind(AssertUnwindSafe(|| listener(event))));
            if called.is_err() {
                add(&self.counters.listener_panics, 1);
            }
        }
    }

    /// Tells of a purge by somebody else.
    pub(super) fn tell(&self, event: &PurgeEvent) {
        self.call(&self.audience(), event);
    }
}
