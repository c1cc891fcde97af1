//! A window as the compositor has it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::compose::{Plane, Source};
use crate::queue::{Consumer, Shown};
use crate::rect::{Damage, Rect};
use crate::service::Placement;
use crate::{Error, Result};

/// How often a wait for one window looks whether that was removed.
const NAP: Duration = Duration::from_millis(20);

/// What a client says of its window; the compositor looks at it when it composes.
pub(crate) struct Wishes {
    placement: Mutex<Placement>,
    is_removed: AtomicBool,
}

impl Wishes {
    pub(crate) fn new(placement: Placement) -> Wishes {
        Wishes { placement: Mutex::new(placement), is_removed: AtomicBool::new(false) }
    }

    pub(crate) fn place(&self, placement: Placement) {
        *self.placement.lock().unwrap_or_else(PoisonError::into_inner) = placement;
    }

    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    fn placement(&self) -> Placement {
        *self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of so many windows that there may be; the place is free again when this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(crate) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Place> {
        let more = |count| (count < most).then_some(count + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A window: its queue, and where it is.
pub(crate) struct Layer {
    pub(crate) id: u32,
    consumer: Consumer,
    wishes: Arc<Wishes>,
    is_opaque: bool,
    /// As it is on the screen.
    placement: Placement,
    /// Of the frame that is shown, as far as it is not composed yet.
    damage: Damage,
    is_new: bool,
    is_late: bool,
    _place: Place,
}

impl Layer {
    pub(crate) fn new(
        id: u32,
        consumer: Consumer,
        wishes: Arc<Wishes>,
        is_opaque: bool,
        place: Place,
    ) -> Layer {
        let placement = wishes.placement();
        let damage = Damage::none();
        Layer {
            id,
            consumer,
            wishes,
            is_opaque,
            placement,
            damage,
            is_new: false,
            is_late: false,
            _place: place,
        }
    }

    pub(crate) fn placement(&self) -> Placement {
        self.placement
    }

    pub(crate) fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.wishes.is_removed.load(Ordering::Acquire)
    }

    /// No frame of it is taken any more.
    pub(crate) fn close(&self) {
        self.wishes.remove();
    }

    /// The number of the frame that is shown.
    pub(crate) fn frame(&self) -> Option<u64> {
        self.consumer.shown().map(|shown| shown.frame)
    }

    /// Whether it has a frame that was not composed yet.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// On the screen; empty while there is nothing to be seen.
    pub(crate) fn rect(&self) -> Rect {
        if self.frame().is_none() {
            return Rect::default();
        }
        Rect::of_size(self.consumer.size()).moved(self.placement.x, self.placement.y)
    }

    /// Moves it to where its client wants it.
    pub(crate) fn follow(&mut self, damage: &mut Damage) {
        let placement = self.wishes.placement();
        if placement != self.placement {
            damage.add(self.rect());
            self.placement = placement;
            damage.add(self.rect());
        }
    }

    /// Takes the next frame if it is there, unless one waits to be composed already.
    pub(crate) fn latch(&mut self) -> Result<()> {
        if self.is_new {
            return Ok(());
        }
        let is_first = self.frame().is_none();
        if let Some(damage) = self.consumer.latch()? {
            self.is_new = true;
            self.is_late = false;
            self.damage = damage;
            if is_first {
                self.damage.add(Rect::of_size(self.consumer.size()));
            }
        }
        Ok(())
    }

    /// Takes the next frame, and waits for it until then; but not for a window that was late last time as well.
    pub(crate) fn await_frame(&mut self, until: Instant) -> Result<()> {
        loop {
            // Before the look at the queue, so that nothing in between is slept through.
            let bell = self.consumer.bell()?;
            self.latch()?;
            let left = until.saturating_duration_since(Instant::now());
            if self.is_new || self.is_late || self.is_removed() {
                return Ok(());
            }
            if left.is_zero() {
                self.is_late = true;
                return Ok(());
            }
            self.consumer.wait(bell, left.min(NAP))?;
        }
    }

    /// Adds what the new frame changes on the screen. It counts as composed then.
    pub(crate) fn take_damage(&mut self, damage: &mut Damage) {
        for rect in self.damage.rects() {
            damage.add(rect.moved(self.placement.x, self.placement.y));
        }
        self.damage.clear();
        self.is_new = false;
    }

    pub(crate) fn plane(&self) -> Option<Plane<'_, Layer>> {
        self.consumer.shown()?;
        let Placement { alpha, .. } = self.placement;
        Some(Plane { rect: self.rect(), alpha, is_opaque: self.is_opaque, source: self })
    }
}

impl Source for Layer {
    fn read_row(&self, x: u32, y: u32, into: &mut [u32]) -> Result<()> {
        let shown: Shown = self.consumer.shown().ok_or(Error::WindowClosed)?;
        self.consumer.read_row(shown, x, y, into)
    }
}
