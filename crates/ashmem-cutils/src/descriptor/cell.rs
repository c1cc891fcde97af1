//! Objects that may be taken away while other threads look at them: hazard pointers, one for each thread.
//!
//! A reader writes down what it is about to look at, and then looks whether that is still in its cell. Who has emptied a cell looks
//! afterwards whether anybody has written the object down, and drops it if not. Between the two steps of each is a barrier
//! of a pair ([`light_barrier`], [`heavy_barrier`]), so one of them sees the other. Reading costs two plain stores.
//!
//! Threads that find no slot to write into, and signal handlers that interrupt a reader of the same thread, read as *guests*,
//! who are only counted: while there is one, nothing is dropped.
#![allow(unsafe_code, reason = "pointers that are shared between threads")]

use std::ffi::c_int;
use std::ops::Deref;
use std::ptr;

use crate::errno::Errno;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, heavy_barrier, light_barrier};

/// How many slots are tried for a thread.
const PROBES: usize = 4;

/// A number that no other living thread of the process has: an address, so neither 0 nor [`TAKING`].
pub(crate) type Thread = usize;

/// In the place of a slot's owner: somebody is taking it.
const TAKING: Thread = 1;

/// An object on the heap.
struct Node<T> {
    object: T,
    /// The next one that waits to be dropped.
    next: AtomicPtr<Node<T>>,
}

/// A place for an object, or none.
pub(crate) struct Cell<T>(AtomicPtr<Node<T>>);

/// What was taken out of its cell, for [`Domain::retire`].
#[must_use = "it is dropped by being retired"]
pub(crate) struct Taken<T>(*mut Node<T>);

/// What a thread looks at, in a cache line of its own.
#[repr(align(64))]
struct Slot<T> {
    /// The thread that it belongs to, or 0.
    owner: AtomicUsize,
    node: AtomicPtr<Node<T>>,
    /// Where that thread has its `errno`, which takes a call to find out.
    errno: AtomicPtr<c_int>,
}

/// Who looks at the objects of some cells, and which of them wait to be dropped.
pub(crate) struct Domain<T, const SLOTS: usize> {
    slots: [Slot<T>; SLOTS],
    guests: AtomicUsize,
    /// How often this process was forked: guests of a parent are none of the child.
    generation: AtomicUsize,
    retired: AtomicPtr<Node<T>>,
}

/// An object that is not dropped as long as this lives.
pub(crate) struct Reading<'a, T> {
    node: &'a Node<T>,
    end: End<'a, T>,
}

enum End<'a, T> {
    Slot(&'a Slot<T>),
    Guest { guests: &'a AtomicUsize, generation: &'a AtomicUsize, born: usize },
}

impl<T> Cell<T> {
    #[cfg(not(loom))]
    pub(crate) const fn empty() -> Cell<T> {
        Cell(AtomicPtr::new(ptr::null_mut()))
    }

    #[cfg(loom)]
    pub(crate) fn empty() -> Cell<T> {
        Cell(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts an object into an empty cell; gives it back when there is one already.
    pub(crate) fn fill(&self, object: T) -> Result<(), T> {
        let node = Box::into_raw(Box::new(Node { object, next: AtomicPtr::new(ptr::null_mut()) }));
        match self.0.compare_exchange(ptr::null_mut(), node, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => {
                // SAFETY: it came from `Box::into_raw`, and nobody else has seen it.
                let node = unsafe { Box::from_raw(node) };
                Err(node.object)
            }
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    /// Empties the cell.
    pub(crate) fn take(&self) -> Option<Taken<T>> {
        let node = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        (!node.is_null()).then_some(Taken(node))
    }

    /// Empties the cell if what is being read is still there.
    pub(crate) fn take_if(&self, reading: &Reading<'_, T>) -> Option<Taken<T>> {
        let node = ptr::from_ref(reading.node).cast_mut();
        // It cannot be another one at the same address: what is read is not dropped.
        let swapped = self.0.compare_exchange(node, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        swapped.is_ok().then_some(Taken(node))
    }
}

impl<T> Slot<T> {
    #[cfg(not(loom))]
    const fn free() -> Slot<T> {
        let (node, errno) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Slot { owner: AtomicUsize::new(0), node, errno }
    }

    #[cfg(loom)]
    fn free() -> Slot<T> {
        let (node, errno) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Slot { owner: AtomicUsize::new(0), node, errno }
    }
}

impl<T, const SLOTS: usize> Domain<T, SLOTS> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Domain {
            slots: [const { Slot::free() }; SLOTS],
            guests: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            retired: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Domain {
            slots: std::array::from_fn(|_| Slot::free()),
            guests: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            retired: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The slots that a thread may have.
    #[inline]
    fn places(&self, thread: Thread) -> impl Iterator<Item = &Slot<T>> {
        // What tells threads apart is anywhere in the number.
        let first = ((thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        (0..PROBES.min(SLOTS)).map(move |probe| &self.slots[(first + probe) % SLOTS])
    }

    #[inline]
    fn slot(&self, thread: Thread) -> Option<&Slot<T>> {
        self.places(thread).find(|slot| slot.owner.load(Ordering::Relaxed) == thread)
    }

    /// What is in a cell, for a thread that has [entered](Self::enter) and reads nothing else.
    #[inline]
    pub(crate) fn read_at_once(&self, cell: &Cell<T>, thread: Thread) -> Option<Reading<'_, T>> {
        let slot = self.slot(thread)?;
        let node = cell.0.load(Ordering::Acquire);
        if node.is_null() || !slot.node.load(Ordering::Relaxed).is_null() {
            return None;
        }
        slot.node.store(node, Ordering::Release);
        light_barrier();
        if cell.0.load(Ordering::Acquire) != node {
            slot.node.store(ptr::null_mut(), Ordering::Release);
            return None;
        }
        // SAFETY: it was in the cell after it had been written down, so who takes it out sees that and does not drop it.
        let node = unsafe { &*node };
        Some(Reading { node, end: End::Slot(slot) })
    }

    /// What is in a cell, for anybody.
    pub(crate) fn read_as_guest(&self, cell: &Cell<T>) -> Option<Reading<'_, T>> {
        let born = self.generation.load(Ordering::Relaxed);
        self.guests.fetch_add(1, Ordering::SeqCst);
        let end = End::Guest { guests: &self.guests, generation: &self.generation, born };
        light_barrier();
        let node = cell.0.load(Ordering::SeqCst);
        if node.is_null() {
            end.come();
            return None;
        }
        // SAFETY: it was in the cell after the guest had been counted, so who takes it out sees that and drops nothing.
        let node = unsafe { &*node };
        Some(Reading { node, end })
    }

    /// Gives the calling thread a slot, if one of its places is free; `errno` is where it has that. False when it gets none.
    pub(crate) fn enter(&self, thread: Thread, errno: Errno) -> bool {
        if self.slot(thread).is_some() {
            return true;
        }
        self.places(thread).any(|slot| {
            if slot.owner.load(Ordering::Relaxed) != 0 {
                return false;
            }
            // A signal handler of this thread may read in between: it has a slot when all of that is there.
            let own = slot.owner.compare_exchange(0, TAKING, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if own {
                slot.errno.store(errno.place(), Ordering::Relaxed);
                slot.owner.store(thread, Ordering::Release);
            }
            own
        })
    }

    /// Takes a thread's slot back, at its end.
    pub(crate) fn leave(&self, thread: Thread) {
        for slot in self.places(thread) {
            let _ = slot.owner.compare_exchange(thread, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// In a forked child: there is no other thread than this one.
    pub(crate) fn start_anew(&self, thread: Thread) {
        for slot in &self.slots {
            if slot.owner.load(Ordering::Relaxed) != thread {
                slot.node.store(ptr::null_mut(), Ordering::Relaxed);
                slot.owner.store(0, Ordering::Relaxed);
            }
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.guests.store(0, Ordering::Relaxed);
    }

    /// Drops what was taken as soon as nobody looks at it any more: now, or in a later call.
    pub(crate) fn retire(&self, taken: Taken<T>) {
        self.push(taken.0);
        self.sweep();
    }

    /// Drops what was retired and nobody looks at any more. Who has read something calls it afterwards, for what had to be kept meanwhile.
    pub(crate) fn sweep(&self) {
        if !self.is_anything_left() {
            return;
        }
        // Who ended reading before the barrier may not have seen that something is kept; who ends after it will.
        while self.sweep_once() && heavy_barrier() && !self.is_anything_read() {}
    }

    /// Whether something waits to be dropped, for who has just read.
    #[inline]
    pub(crate) fn is_anything_left(&self) -> bool {
        // Goes with the barrier of who keeps something.
        light_barrier();
        !self.retired.load(Ordering::Relaxed).is_null()
    }

    fn is_anything_read(&self) -> bool {
        self.guests.load(Ordering::SeqCst) != 0
            || self.slots.iter().any(|slot| !slot.node.load(Ordering::Acquire).is_null())
    }

    /// Says whether something had to be kept that could be dropped later.
    fn sweep_once(&self) -> bool {
        let mut kept = false;
        let mut next = self.retired.swap(ptr::null_mut(), Ordering::AcqRel);
        // Whoever reads one of these began before they were taken, so is seen from here on.
        let known = heavy_barrier();
        let any_guest = self.guests.load(Ordering::SeqCst) != 0;
        while !next.is_null() {
            let node = next;
            // SAFETY: nobody drops what is in the list, and who has emptied the list has it alone.
            next = unsafe { &*node }.next.load(Ordering::Relaxed);
            let is_read = || self.slots.iter().any(|slot| ptr::eq(slot.node.load(Ordering::Acquire), node));
            if !known || any_guest || is_read() {
                self.push(node);
                kept = known;
            } else {
                // SAFETY: it came from `Box::into_raw`, is in no cell and in no list, and nobody looks at it.
                drop(unsafe { Box::from_raw(node) });
            }
        }
        kept
    }

    /// Puts a node that is in no cell and no list into the list of those that wait.
    fn push(&self, node: *mut Node<T>) {
        let mut first = self.retired.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody drops it before it is in the list.
            unsafe { &*node }.next.store(first, Ordering::Relaxed);
            match self.retired.compare_exchange(first, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }
}

impl<T> End<'_, T> {
    #[inline]
    fn come(&self) {
        match self {
            End::Slot(slot) => slot.node.store(ptr::null_mut(), Ordering::Release),
            End::Guest { guests, generation, born } => {
                if generation.load(Ordering::Relaxed) == *born {
                    guests.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }
}

impl<T> Reading<'_, T> {
    /// Where the reading thread has its `errno`, if it has a slot.
    #[inline]
    pub(crate) fn errno(&self) -> Option<Errno> {
        let End::Slot(slot) = self.end else { return None };
        // SAFETY: this thread owns the slot, and stored that when it entered.
        Some(unsafe { Errno::save_at(slot.errno.load(Ordering::Relaxed)) })
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.node.object
    }
}

impl<T> Drop for Reading<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.end.come();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::errno::thread;

    /// Says so while it is there, and no more afterwards.
    struct Object<'a>(&'a AtomicUsize, AtomicUsize);

    const ALIVE: usize = 0x5eed;

    impl Drop for Object<'_> {
        fn drop(&mut self) {
            self.1.store(0, Ordering::Relaxed);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn threads_read_what_others_drop() {
        const ROUNDS: usize = 20_000;
        crate::sync::register();
        let drops = AtomicUsize::new(0);
        let made = AtomicUsize::new(0);
        let cells: [Cell<Object<'_>>; 4] = [const { Cell::empty() }; 4];
        // Fewer slots than threads.
        let domain: Domain<Object<'_>, 2> = Domain::new();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (cells, domain, drops, made) = (&cells, &domain, &drops, &made);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let cell = &cells[(round + number) % cells.len()];
                        let reading = domain.read_at_once(cell, thread());
                        match reading.or_else(|| domain.read_as_guest(cell)) {
                            Some(reading) => {
                                assert_eq!(reading.1.load(Ordering::Relaxed), ALIVE);
                                domain.enter(thread(), Errno::save());
                                assert_eq!(reading.1.load(Ordering::Relaxed), ALIVE);
                            }
                            None => {
                                made.fetch_add(1, Ordering::Relaxed);
                                let _ = cell.fill(Object(drops, AtomicUsize::new(ALIVE)));
                            }
                        }
                        if round % 5 == number {
                            cell.take().into_iter().for_each(|taken| domain.retire(taken));
                        }
                    }
                    domain.leave(thread());
                });
            }
        });
        cells.iter().filter_map(Cell::take).for_each(|taken| domain.retire(taken));
        domain.sweep();
        assert_eq!(drops.into_inner(), made.into_inner());
    }

    #[test]
    fn a_reader_that_is_interrupted_is_a_guest() {
        let drops = AtomicUsize::new(0);
        let cell = Cell::empty();
        let domain: Domain<Object<'_>, 2> = Domain::new();
        assert!(cell.fill(Object(&drops, AtomicUsize::new(ALIVE))).is_ok());
        assert!(domain.read_at_once(&cell, thread()).is_none(), "no slot yet");
        assert!(domain.enter(thread(), Errno::save()));
        let outer = domain.read_at_once(&cell, thread()).expect("there");
        assert!(domain.read_at_once(&cell, thread()).is_none(), "the slot is in use");
        let inner = domain.read_as_guest(&cell).expect("there");
        assert!(outer.errno().is_some() && inner.errno().is_none());
        drop(inner);
        domain.retire(cell.take_if(&outer).expect("still there"));
        assert_eq!(drops.load(Ordering::Relaxed), 0, "the outer one looks at it");
        drop(outer);
        domain.sweep();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_forked_child_has_no_readers_but_its_own() {
        let drops = AtomicUsize::new(0);
        let cell = Cell::empty();
        let domain: Domain<Object<'_>, 2> = Domain::new();
        assert!(cell.fill(Object(&drops, AtomicUsize::new(ALIVE))).is_ok());
        let guest = domain.read_as_guest(&cell).expect("there");
        // As if another thread had it.
        assert!(domain.enter(thread() + 1, Errno::save()));
        let other = domain.read_at_once(&cell, thread() + 1).expect("there");
        domain.start_anew(thread());
        domain.retire(cell.take().expect("there"));
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        drop(guest);
        assert_eq!(domain.guests.load(Ordering::Relaxed), 0, "it was the parent's");
        drop(other);
    }
}
