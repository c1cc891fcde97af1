//! Holds under every interleaving that matters, by loom: `ci/loom`.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Area, AreaWord, Corrupt, Holds, PageWord, SLOTS, Select, States, Table};
use crate::sync::{AtomicU64, Ordering};

/// What a hold or a purge is about.
#[derive(Clone, Copy, Debug)]
enum Part {
    All,
    Page(u64),
}

/// A region in ordinary memory: pin state, purge lock, the counts of one holder's slot, and one word of contents a page (0 is a
/// hole).
struct Region {
    area: [AtomicU64; 2],
    slots: Vec<AtomicU64>,
    opened: AtomicU64,
    head: [AtomicU64; 2],
    rows: Vec<AtomicU64>,
    purge_lock: Mutex<()>,
    contents: Vec<AtomicU64>,
}

impl Region {
    /// Everything is unpinned.
    fn new(pages: u64) -> Arc<Region> {
        let region = Region {
            area: [AtomicU64::new(0), AtomicU64::new(0)],
            slots: (0..super::slots(pages)).map(|_| AtomicU64::new(0)).collect(),
            opened: AtomicU64::new(1),
            head: [AtomicU64::new(0), AtomicU64::new(0)],
            // As few as one slot needs: loom has fewer atomics to track.
            rows: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            purge_lock: Mutex::new(()),
            contents: (0..pages).map(|_| AtomicU64::new(1)).collect(),
        };
        region.table().unpin_all(1).expect("not corrupt");
        Arc::new(region)
    }

    fn table(&self) -> Table<'_> {
        Table {
            area: Area { word: &self.area[0], stamp: &self.area[1] },
            slots: &self.slots,
            page_stamps: &[],
            pages: self.contents.len() as u64,
        }
    }

    fn holds(&self) -> Holds<'_> {
        Holds { opened: &self.opened, heads: &self.head, rows: &self.rows }
    }

    fn pages(&self, part: Part) -> std::ops::Range<u64> {
        match part {
            Part::All => 0..self.contents.len() as u64,
            Part::Page(page) => page..page + 1,
        }
    }

    fn hold(&self, part: Part) {
        match part {
            Part::All => self.holds().hold_all(0),
            Part::Page(_) => assert!(self.holds().hold(0, self.pages(part))),
        }
    }

    fn release(&self, part: Part) {
        match part {
            Part::All => drop(self.holds().release_all(0)),
            Part::Page(_) => drop(self.holds().release(0, self.pages(part))),
        }
    }

    /// As a lease: whether the contents are gone.
    fn lease(&self, part: Part) -> bool {
        self.hold(part);
        self.table().is_any_purged(self.pages(part), &mut |_, _| self.wait()).expect("not corrupt")
    }

    /// As a guard: whether the contents are gone, which is told once.
    fn guard(&self, part: Part) -> bool {
        self.hold(part);
        let told = self.accept(part);
        match part {
            Part::All => drop(self.table().unpin_all(3).expect("not corrupt")),
            Part::Page(_) => self.table().unpin(self.pages(part), 3).expect("not corrupt"),
        }
        told
    }

    fn accept(&self, part: Part) -> bool {
        self.table().accept(self.pages(part), 2, &mut |_, _| self.wait()).expect("not corrupt")
    }

    /// As the end of a guard.
    fn let_go(&self, part: Part) {
        self.release(part);
        self.table().touch(self.pages(part), 3);
    }

    fn pin_all(&self) -> bool {
        self.table().pin_all(&mut |_, _| self.wait()).expect("not corrupt").purged
    }

    /// What is done on meeting a page that is being purged: finish for a dead purger, or let the live one go on.
    fn wait(&self) -> Result<(), Corrupt> {
        if let Ok(_lock) = self.purge_lock.try_lock() {
            self.recover();
        }
        thread::yield_now();
        Ok(())
    }

    fn recover(&self) {
        let table = self.table();
        if table.needs_recovery() {
            table.recover(&|_| None, |pages| self.punch(pages));
        }
    }

    fn punch(&self, pages: std::ops::Range<u64>) {
        for page in pages {
            self.contents[page as usize].store(0, Ordering::Relaxed);
        }
    }

    fn held(&self, index: usize) -> Select {
        let holds = self.holds();
        holds.opened().fold(Select::NONE, |held, slot| held.or(holds.held(slot, index)))
    }

    fn purge(&self) -> u64 {
        let _lock = self.purge_lock.lock().expect("no panic");
        self.recover();
        let spare = |first: usize, claimed: &mut [Select]| {
            for (index, select) in (first..).zip(claimed.iter_mut()).filter(|(_, select)| !select.is_empty())
            {
                *select = select.minus(self.held(index));
            }
        };
        let punch = |pages: std::ops::Range<u64>| {
            self.punch(pages);
            Ok::<(), ()>(())
        };
        self.table()
            .purge_chunk(self.pages(Part::All), u64::MAX, &|_| true, spare, punch)
            .expect("not corrupt")
    }

    /// Begins to purge the first page and dies: before it looks for holds, or in the middle of taking what is not held.
    fn purge_and_die(&self, looks: bool) {
        let _lock = self.purge_lock.lock().expect("no panic");
        let table = self.table();
        table.mark(AreaWord::purge_begun);
        let claimed = table.claim(0, Select::pages(0, 1), u64::MAX, &|_| true).expect("not corrupt");
        if looks && !claimed.minus(self.held(0)).is_empty() {
            table.mark(AreaWord::purge_taking);
            self.punch(0..1);
        }
    }

    fn read(&self, page: u64) -> u64 {
        self.contents[page as usize].load(Ordering::Relaxed)
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(test);
}

fn spawn<T: 'static>(
    region: &Arc<Region>,
    work: impl FnOnce(&Region) -> T + 'static,
) -> thread::JoinHandle<T> {
    let region = region.clone();
    thread::spawn(move || work(&region))
}

/// What a lease says of the contents is true, and stays true while it is held.
fn lease_against(part: Part, purger: fn(&Region)) {
    check(move || {
        let region = Region::new(2);
        let purger = spawn(&region, purger);
        let purged = region.lease(part);
        let before = region.pages(part).any(|page| region.read(page) == 0);
        assert_eq!(before, purged);
        purger.join().expect("no panic");
        // Also when somebody finishes for a dead purger.
        region.purge();
        assert!(purged || region.pages(part).all(|page| region.read(page) == 1), "leased contents went");
        region.release(part);
        region.purge();
        assert_eq!((region.read(0), region.read(1)), (0, 0));
        assert!(region.pin_all(), "the purge is told");
    });
}

#[test]
fn a_lease_of_all_against_a_purger() {
    lease_against(Part::All, |region| {
        region.purge();
    });
}

#[test]
fn a_lease_of_a_page_against_a_purger() {
    lease_against(Part::Page(1), |region| {
        region.purge();
    });
}

#[test]
fn a_lease_of_all_against_a_purger_that_dies_before_it_looks() {
    lease_against(Part::All, |region| region.purge_and_die(false));
}

#[test]
fn a_lease_of_a_page_against_a_purger_that_dies_before_it_looks() {
    lease_against(Part::Page(0), |region| region.purge_and_die(false));
}

#[test]
fn a_lease_of_all_against_a_purger_that_dies_taking() {
    lease_against(Part::All, |region| region.purge_and_die(true));
}

#[test]
fn a_lease_of_a_page_against_a_purger_that_dies_taking() {
    lease_against(Part::Page(0), |region| region.purge_and_die(true));
}

/// What is written under a guard stays until its end, and a purge is told to exactly one of the guard and a later pin.
fn guard_against(part: Part, purger: fn(&Region)) {
    check(move || {
        let region = Region::new(2);
        let purger = spawn(&region, purger);
        let told = region.guard(part);
        for page in region.pages(part) {
            assert!(told || region.read(page) == 1);
            region.contents[page as usize].store(2, Ordering::Relaxed);
        }
        purger.join().expect("no panic");
        region.purge();
        assert!(region.pages(part).all(|page| region.read(page) == 2), "guarded contents went");
        assert!(!region.accept(part), "told once");
        region.let_go(part);
        assert_eq!(region.purge(), region.pages(part).count() as u64);
        assert!(region.guard(part) && !region.accept(part), "told once");
    });
}

#[test]
fn a_guard_of_all_against_a_purger() {
    guard_against(Part::All, |region| {
        region.purge();
    });
}

#[test]
fn a_guard_of_a_page_against_a_purger() {
    guard_against(Part::Page(1), |region| {
        region.purge();
    });
}

#[test]
fn a_guard_against_a_purger_that_dies() {
    guard_against(Part::All, |region| region.purge_and_die(false));
    guard_against(Part::Page(0), |region| region.purge_and_die(true));
}

/// A guard ends while somebody purges: what went is told, once.
#[test]
fn the_end_of_a_guard_against_a_purger() {
    for part in [Part::All, Part::Page(0)] {
        check(move || {
            let region = Region::new(1);
            let purger = spawn(&region, Region::purge);
            let told = region.guard(part);
            region.contents[0].store(2, Ordering::Relaxed);
            region.let_go(part);
            let taken = purger.join().expect("no panic");
            let later = region.pin_all();
            assert_eq!(region.read(0) == 0, later, "what a pin finds");
            assert_eq!(taken, u64::from(told) + u64::from(later));
            assert_eq!(
                (region.table().read_word(0).expect("not corrupt").2, region.purge()),
                (States::PINNED, 0)
            );
        });
    }
}

/// Of two guards on a purged page one is told, also when the other is of the whole region and forgets that anything was purged.
#[test]
fn two_guards_of_a_purged_page() {
    for part in [Part::All, Part::Page(0)] {
        check(move || {
            let region = Region::new(1);
            assert_eq!(region.purge(), 1);
            let other = spawn(&region, move |region| region.guard(part));
            let told = region.guard(Part::All);
            assert!(told ^ other.join().expect("no panic"));
            assert!(!region.pin_all());
        });
    }
}

/// A guard of the whole region says that nothing is purged any more; it must not say so of a purge that comes in between.
#[test]
fn a_purge_behind_a_guard_is_told() {
    check(|| {
        let region = Region::new(2);
        assert_eq!(region.purge(), 2);
        let other = spawn(&region, |region| {
            let told = region.pin_all();
            region.table().unpin(1..2, 1).expect("not corrupt");
            (told, region.purge())
        });
        // Not held: as if it were lost.
        let told = region.accept(Part::All);
        let (told_other, taken) = other.join().expect("no panic");
        assert!(told || told_other);
        let later = region.pin_all();
        assert_eq!(region.table().read_word(0).expect("not corrupt").2, States::PINNED);
        assert!(taken == 0 || later || told, "a purge was told to nobody");
    });
}

/// A lease sees the pages of a generation that ends meanwhile.
#[test]
fn a_lease_against_generations() {
    check(|| {
        let region = Region::new(1);
        let other = spawn(&region, |region| {
            region.pin_all();
            region.table().unpin_all(2).expect("not corrupt");
            region.purge()
        });
        let purged = region.lease(Part::All);
        assert_eq!(region.read(0) == 0, purged);
        let taken = other.join().expect("no panic");
        assert_eq!(taken, u64::from(purged));
        assert_eq!(region.read(0) == 0, purged, "leased contents went");
    });
}

/// A region that is made as lost says so to one.
#[test]
fn a_lost_region_is_told_once() {
    check(|| {
        let region = Region::new(2);
        region.table().lose_all();
        assert_ne!(region.slots[0].load(Ordering::SeqCst), PageWord::new(0, States::PINNED).0);
        let other = spawn(&region, |region| region.guard(Part::All));
        let told = region.guard(Part::Page(1));
        let others = other.join().expect("no panic");
        assert!(others || !told, "the first page is told to the guard of all");
        assert!(others);
        assert!(!region.pin_all());
    });
}
