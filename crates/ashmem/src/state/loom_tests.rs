//! The pin state under every interleaving that matters, by loom: `ci/loom`.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Area, Corrupt, Table};
use crate::sync::{AtomicU64, Ordering};

/// A region in ordinary memory: pin state, purge lock, and one word of contents a page (0 is a hole).
struct Region {
    area: [AtomicU64; 2],
    slots: Vec<AtomicU64>,
    purge_lock: Mutex<()>,
    contents: Vec<AtomicU64>,
}

impl Region {
    fn new(pages: u64) -> Region {
        Region {
            area: [AtomicU64::new(0), AtomicU64::new(0)],
            slots: (0..super::slots(pages)).map(|_| AtomicU64::new(0)).collect(),
            purge_lock: Mutex::new(()),
            contents: (0..pages).map(|_| AtomicU64::new(1)).collect(),
        }
    }

    fn table(&self) -> Table<'_> {
        Table {
            area: Area { word: &self.area[0], stamp: &self.area[1] },
            slots: &self.slots,
            // None on purpose: a missing stamp is skipped, and loom has fewer atomics to track.
            page_stamps: &[],
            pages: self.contents.len() as u64,
        }
    }

    fn pin_all(&self) -> bool {
        self.table().pin_all(&mut |_, _| self.wait()).expect("not corrupt").purged
    }

    fn pin(&self, first: u64, end: u64) -> bool {
        self.table().pin(first..end, &mut |_, _| self.wait()).expect("not corrupt")
    }

    fn unpin_all(&self) {
        self.table().unpin_all(1).expect("not corrupt");
    }

    fn unpin(&self, first: u64, end: u64) {
        self.table().unpin(first..end, 1).expect("not corrupt");
    }

    /// What a pin does that meets a page being purged: finish for a dead purger, or let the live one go on.
    fn wait(&self) -> Result<(), Corrupt> {
        if let Ok(_lock) = self.purge_lock.try_lock() {
            self.table().recover(&|_| None, |pages| self.punch(pages.start, pages.end));
        }
        thread::yield_now();
        Ok(())
    }

    fn punch(&self, first: u64, end: u64) {
        for page in first..end {
            self.contents[page as usize].store(0, Ordering::Relaxed);
        }
    }

    fn purge(&self) -> u64 {
        let _lock = self.purge_lock.lock().expect("no panic");
        let table = self.table();
        if table.needs_recovery() {
            table.recover(&|_| None, |pages| self.punch(pages.start, pages.end));
        }
        let all = 0..self.contents.len() as u64;
        let punch = |pages: std::ops::Range<u64>| {
            self.punch(pages.start, pages.end);
            Ok::<(), ()>(())
        };
        table.purge_chunk(all, u64::MAX, &|_| true, |_, _| {}, punch).expect("not corrupt")
    }

    /// Begins to purge and dies.
    fn purge_and_die(&self) {
        let _lock = self.purge_lock.lock().expect("no panic");
        let table = self.table();
        table.mark(super::AreaWord::purge_begun);
        table.claim(0, super::Select::pages(0, 1), u64::MAX, &|_| true).expect("not corrupt");
    }

    fn read(&self, page: usize) -> u64 {
        self.contents[page].load(Ordering::Relaxed)
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // What goes wrong goes wrong with fewer; more takes minutes.
    builder.preemption_bound = Some(4);
    builder.check(test);
}

/// A whole-region pin returns: what it says of the contents is true, and stays true.
#[test]
fn whole_pin_against_a_purger() {
    check(|| {
        let region = Arc::new(Region::new(1));
        region.unpin_all();
        let purger = thread::spawn({
            let region = region.clone();
            move || region.purge()
        });
        let purged = region.pin_all();
        assert_eq!(region.read(0), if purged { 0 } else { 1 });
        region.contents[0].store(2, Ordering::Relaxed);
        purger.join().expect("no panic");
        assert_eq!(region.read(0), 2, "a page was purged after it was pinned");
        assert!(!region.pin_all(), "a purge is told once");
    });
}

/// The same for one of several pages, which uses page words.
#[test]
fn partial_pin_against_a_purger() {
    check(|| {
        let region = Arc::new(Region::new(2));
        region.unpin(0, 2);
        let purger = thread::spawn({
            let region = region.clone();
            move || region.purge()
        });
        let purged = region.pin(0, 1);
        assert_eq!(region.read(0), if purged { 0 } else { 1 });
        region.contents[0].store(2, Ordering::Relaxed);
        purger.join().expect("no panic");
        assert_eq!(region.read(0), 2);
        assert_eq!(region.read(1), 0);
        assert!(region.pin_all(), "the other page was purged");
    });
}

/// A partial pin that is overtaken by a whole-region unpin and a purge never hides the purge.
#[test]
fn a_purge_is_told_to_somebody() {
    check(|| {
        let region = Arc::new(Region::new(1));
        region.unpin(0, 1);
        let other = thread::spawn({
            let region = region.clone();
            move || {
                region.unpin_all();
                region.purge();
            }
        });
        let told = region.pin(0, 1);
        other.join().expect("no panic");
        let told_later = region.pin_all();
        assert_eq!(region.read(0) == 0, told || told_later);
    });
}

/// Whole-region pin and unpin change the generation while a partial operation is under way.
#[test]
fn overtaken_by_generations() {
    check(|| {
        let region = Arc::new(Region::new(1));
        region.unpin(0, 1);
        let other = thread::spawn({
            let region = region.clone();
            move || {
                let first = region.pin_all();
                region.unpin_all();
                first
            }
        });
        assert!(!region.pin(0, 1));
        region.unpin(0, 1);
        assert!(!other.join().expect("no panic"));
        // Whoever was last unpinned: both did in the end.
        assert_eq!(region.purge(), 1);
        assert!(region.pin_all());
    });
}

/// A whole-region pin that walks, against partial operations that go on meanwhile.
#[test]
fn a_walking_pin_against_partial_operations() {
    check(|| {
        let region = Arc::new(Region::new(17));
        region.unpin_all();
        region.purge();
        let other = thread::spawn({
            let region = region.clone();
            move || region.pin(16, 17)
        });
        let whole = region.pin_all();
        let part = other.join().expect("no panic");
        assert!(whole, "the first word was purged and nobody else was told");
        assert!(!region.pin_all() && !region.pin(0, 17), "told once");
        // The other was told of its page or came after the whole pin; both are right.
        let _ = part;
        assert_eq!(region.purge(), 0);
    });
}

/// Two pins of the same purged page: exactly one is told.
#[test]
fn told_exactly_once() {
    check(|| {
        let region = Arc::new(Region::new(2));
        region.unpin(0, 1);
        region.purge();
        let other = thread::spawn({
            let region = region.clone();
            move || region.pin(0, 1)
        });
        let mine = region.pin(0, 2);
        assert!(mine ^ other.join().expect("no panic"));
    });
}

/// A purger dies with a page half-purged; the next pin finishes for it, whichever way.
#[test]
fn a_dead_purger_is_finished_by_a_pin() {
    check(|| {
        let region = Arc::new(Region::new(2));
        region.unpin(0, 1);
        let purger = thread::spawn({
            let region = region.clone();
            move || region.purge_and_die()
        });
        let purged = region.pin(0, 1);
        assert_eq!(region.read(0), if purged { 0 } else { 1 });
        region.contents[0].store(2, Ordering::Relaxed);
        purger.join().expect("no panic");
        // A later purger finds the mark, finishes, and leaves pinned pages alone.
        region.unpin(1, 2);
        assert_eq!(region.purge(), 1);
        assert_eq!(region.read(0), 2);
    });
}

/// Two purgers and a pin.
#[test]
fn purgers_exclude_each_other() {
    check(|| {
        let region = Arc::new(Region::new(1));
        region.unpin_all();
        let purgers = [(); 2].map(|()| {
            let region = region.clone();
            thread::spawn(move || region.purge())
        });
        let told = region.pin_all();
        let taken: u64 = purgers.map(|purger| purger.join().expect("no panic")).iter().sum();
        assert_eq!(taken, u64::from(told));
        assert_eq!(region.read(0) == 0, told);
    });
}

/// An unpin and a purger: nothing is taken that is pinned, and every purge is told.
#[test]
fn unpin_against_a_purger() {
    check(|| {
        let region = Arc::new(Region::new(2));
        region.unpin(1, 2);
        let purger = thread::spawn({
            let region = region.clone();
            move || region.purge()
        });
        region.unpin_all();
        let taken = purger.join().expect("no panic");
        assert!((1..=2).contains(&taken));
        assert_eq!(region.read(1), 0);
        assert!(region.pin_all());
        assert!(!region.pin_all());
    });
}

/// The same where the base state is unpinned: an overtaken pin must not write its old view over the purge.
#[test]
fn an_overtaken_pin_does_not_undo_a_purge() {
    check(|| {
        let region = Arc::new(Region::new(2));
        region.unpin_all();
        region.pin(1, 2);
        let other = thread::spawn({
            let region = region.clone();
            move || {
                region.unpin_all();
                region.purge();
            }
        });
        let told = region.pin(0, 1);
        other.join().expect("no panic");
        assert!(region.pin_all() || told, "the purge of a page was told to nobody");
    });
}

/// After a whole-region pin nothing is left unpinned, whatever page words were written before or meanwhile.
#[test]
fn whole_pin_covers_page_words() {
    check(|| {
        let region = Arc::new(Region::new(1));
        let other = thread::spawn({
            let region = region.clone();
            move || region.unpin(0, 1)
        });
        region.pin_all();
        other.join().expect("no panic");
        region.pin_all();
        assert_eq!(region.purge(), 0);
    });
}

/// A page is unpinned and purged behind the back of a walking pin, which then must not forget it.
#[test]
fn a_purge_behind_a_walking_pin_is_told() {
    check(|| {
        let region = Arc::new(Region::new(17));
        region.unpin_all();
        region.purge();
        // Everything is pinned, but the area still says that something was purged: a whole-region pin walks.
        assert!(region.pin(0, 17));
        let other = thread::spawn({
            let region = region.clone();
            move || {
                region.unpin(0, 1);
                region.purge()
            }
        });
        let told = region.pin_all();
        let taken = other.join().expect("no panic");
        assert_eq!(taken > 0, told || region.pin_all());
    });
}
