//! Cells under loom: what is being read is not dropped, and what is not is dropped once.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::cell::{Cell, Domain, Reading};
use crate::errno::Errno;

/// Counts how often it is dropped, outside of itself.
struct Object(Arc<AtomicUsize>);

impl Drop for Object {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

struct World {
    domain: Domain<Object, 2>,
    cell: Cell<Object>,
    drops: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Arc<World> {
        let world =
            World { domain: Domain::new(), cell: Cell::empty(), drops: Arc::new(AtomicUsize::new(0)) };
        world.fill();
        Arc::new(world)
    }

    fn fill(&self) -> bool {
        self.cell.fill(Object(self.drops.clone())).is_ok()
    }

    fn close(&self) {
        if let Some(taken) = self.cell.take() {
            self.domain.retire(taken);
        }
    }

    /// While it is being read, it has not been dropped.
    fn check(&self, reading: Option<Reading<'_, Object>>) {
        if let Some(reading) = reading {
            assert_eq!(reading.0.fetch_add(0, Ordering::AcqRel), 0, "dropped while it was read");
        }
    }

    /// At the end, when nobody reads any more.
    fn all_dropped(&self, made: usize) {
        self.close();
        self.domain.sweep();
        assert_eq!(self.drops.load(Ordering::Acquire), made);
    }
}

fn spawn(world: &Arc<World>, action: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || action(&world))
}

#[test]
fn a_reader_with_a_slot_and_a_close() {
    loom::model(|| {
        let world = World::new();
        let reader = spawn(&world, |world| {
            assert!(world.domain.enter(1, Errno::save()));
            world.check(world.domain.read_at_once(&world.cell, 1));
            world.check(world.domain.read_at_once(&world.cell, 1));
            world.domain.leave(1);
        });
        world.close();
        reader.join().expect("no panic");
        world.all_dropped(1);
    });
}

#[test]
fn a_guest_and_a_close() {
    loom::model(|| {
        let world = World::new();
        let guest = spawn(&world, |world| world.check(world.domain.read_as_guest(&world.cell)));
        world.close();
        guest.join().expect("no panic");
        world.all_dropped(1);
    });
}

#[test]
fn two_readers_and_a_close() {
    loom::model(|| {
        let world = World::new();
        assert!(world.domain.enter(1, Errno::save()));
        let readers = [
            spawn(&world, |world| world.check(world.domain.read_at_once(&world.cell, 1))),
            spawn(&world, |world| world.check(world.domain.read_as_guest(&world.cell))),
        ];
        world.close();
        for reader in readers {
            reader.join().expect("no panic");
        }
        world.all_dropped(1);
    });
}

#[test]
fn two_that_close_and_one_that_opens_again() {
    loom::model(|| {
        let world = World::new();
        let closer = spawn(&world, World::close);
        world.close();
        let made = 1 + usize::from(world.fill());
        closer.join().expect("no panic");
        world.all_dropped(made);
    });
}

#[test]
fn a_reader_that_finds_it_stale_and_a_close() {
    loom::model(|| {
        let world = World::new();
        let reader = spawn(&world, |world| {
            if let Some(reading) = world.domain.read_as_guest(&world.cell) {
                let taken = world.cell.take_if(&reading);
                drop(reading);
                if let Some(taken) = taken {
                    world.domain.retire(taken);
                }
            }
        });
        world.close();
        reader.join().expect("no panic");
        world.all_dropped(1);
    });
}

#[test]
fn who_reads_last_drops_what_was_kept() {
    for as_guest in [false, true] {
        loom::model(move || {
            let world = World::new();
            let reader = spawn(&world, move |world| {
                if as_guest {
                    world.check(world.domain.read_as_guest(&world.cell));
                } else {
                    assert!(world.domain.enter(1, Errno::save()));
                    world.check(world.domain.read_at_once(&world.cell, 1));
                }
                world.domain.sweep();
            });
            world.close();
            reader.join().expect("no panic");
            assert_eq!(world.drops.load(Ordering::Acquire), 1);
        });
    }
}
