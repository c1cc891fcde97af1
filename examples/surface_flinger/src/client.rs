//! What a program that shows something uses: [`Composer`], [`Window`], [`Buffer`].

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ashmem::Region;
use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::{DeathRecipient, Status, Strong, WIBinder};

use crate::queue::{Dequeued, Layout, Producer};
use crate::rect::{Damage, Size};
use crate::service::{ISurfaceComposer, IWindow, NAME, Placement, WindowOptions};
use crate::{Error, Result};

/// The compositor, from outside. Stands for Android's `SurfaceComposerClient`.
pub struct Composer {
    service: Strong<dyn ISurfaceComposer>,
    death: Arc<Death>,
}

/// Whether the compositor's process has ended.
#[derive(Default)]
struct Death(AtomicBool);

impl DeathRecipient for Death {
    fn binder_died(&self, _: &WIBinder) {
        self.0.store(true, Ordering::Release);
    }
}

impl Composer {
    /// Finds the compositor, and waits for it a few seconds.
    ///
    /// # Errors
    /// [`Error::Binder`]: it is not there, or does not answer.
    pub fn find(services: &ServiceManager) -> Result<Composer> {
        const OPERATION: &str = "find the compositor";
        let binder = |source| Error::Binder { operation: OPERATION, source };
        let found = services.get_service(NAME).map_err(binder)?;
        let death = Arc::new(Death::default());
        if found.is_remote() {
            let linked = found.link_to_death_arc(&death);
            linked.map_err(|status| binder(ashmem_binder::Error::Binder { operation: OPERATION, status }))?;
        }
        let service = Strong::try_from(found)
            .map_err(|status| binder(ashmem_binder::Error::Binder { operation: OPERATION, status }))?;
        Ok(Composer { service, death })
    }

    /// Makes a window. It is not to be seen before its first frame.
    ///
    /// # Errors
    /// [`Error::Refused`]: the compositor says no, as it has too many windows, or has ended. [`Error::Memory`]: what it sent cannot be
    /// mapped, or is not as large as three buffers.
    pub fn create_window(&self, options: WindowOptions) -> Result<Window> {
        const OPERATION: &str = "create a window";
        let refused = |status: Status| self.refused(OPERATION, &status);
        let made = self.service.create_window(options).map_err(refused)?;
        let region = Region::from_fd(OwnedFd::from(made.memory)).map_err(Error::memory(OPERATION))?;
        let layout = Layout::new(options.size);
        if region.size() != layout.bytes() {
            return Err(Error::Refused {
                operation: OPERATION,
                reason: "its memory is of another size".to_owned(),
            });
        }
        let mapping = region.map().map_err(Error::memory(OPERATION))?;
        let window = Strong::try_from(made.window).map_err(|status| refused(status.into()))?;
        Ok(Window { window, producer: Producer::new(mapping, layout), death: Arc::clone(&self.death) })
    }

    /// Whether the compositor's process has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.death.0.load(Ordering::Acquire)
    }

    fn refused(&self, operation: &'static str, status: &Status) -> Error {
        refused(&self.death, operation, status)
    }
}

fn refused(death: &Death, operation: &'static str, status: &Status) -> Error {
    if death.0.load(Ordering::Acquire) {
        return Error::CompositorGone;
    }
    Error::Refused { operation, reason: status.to_string() }
}

/// A window of this process. It disappears when this is dropped. Stands for Android's `Surface`.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use ashmem_binder::ServiceManager;
/// use surface_flinger::compositor::{Compositor, Pace, Settings};
/// use surface_flinger::display::Display;
/// use surface_flinger::{Composer, Damage, Placement, Rect, Size, WindowOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let services = ServiceManager::at(&format!("unix://{}/services", directory.path().display()))?;
/// // The compositor; usually a process of its own.
/// let size = Size::new(64, 48).ok_or("no such size")?;
/// let mut compositor = Compositor::new(Settings { size, pace: Pace::Lockstep, ..Settings::default() }, Display::none())?;
/// compositor.serve(&services)?;
///
/// // A program that shows a red frame.
/// let composer = Composer::find(&services)?;
/// let size = Size::new(32, 16).ok_or("no such size")?;
/// let placement = Placement { x: 8, y: 8, ..Placement::default() };
/// let mut window = composer.create_window(WindowOptions { size, placement, is_opaque: true })?;
/// let mut buffer = window.dequeue(Duration::from_secs(5))?;
/// for y in 0..size.height {
///     buffer.write_row(0, y, &[0xffff_0000; 32])?;
/// }
/// buffer.queue(&Damage::from_iter([Rect::of_size(size)]))?;
///
/// let mut screen = vec![0; 64 * 48];
/// compositor.compose_next()?;
/// compositor.read_screen(&mut screen)?;
/// assert_eq!(screen[8 * 64 + 8], 0xffff_0000);
/// assert_eq!(screen[0], 0xff00_0000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Window {
    window: Strong<dyn IWindow>,
    producer: Producer,
    death: Arc<Death>,
}

impl Window {
    /// Its size in pixels.
    #[must_use]
    pub fn size(&self) -> Size {
        self.producer.layout().size
    }

    /// The number that the next frame will have; the first one is 1.
    #[must_use]
    pub fn next_frame(&self) -> u64 {
        self.producer.next()
    }

    /// Moves it, from the next composed frame on.
    ///
    /// # Errors
    /// [`Error::CompositorGone`]; [`Error::Refused`].
    pub fn place(&self, placement: Placement) -> Result<()> {
        self.window.place(placement).map_err(|status| refused(&self.death, "place a window", &status))
    }

    /// Takes a buffer to draw in, and waits for one at most `timeout`. Stands for `dequeueBuffer` of `IGraphicBufferProducer`.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::WindowClosed`] or [`Error::CompositorGone`] when there will be no other;
    /// [`Error::QueueCorrupt`].
    pub fn dequeue(&mut self, timeout: Duration) -> Result<Buffer<'_>> {
        let death = &self.death.0;
        let dequeued = self.producer.dequeue(timeout, || death.load(Ordering::Acquire))?;
        Ok(Buffer { producer: &mut self.producer, dequeued: Some(dequeued), slot: dequeued.slot })
    }
}

/// A buffer that this process draws in. Dropping it gives it back unused (`cancelBuffer`).
pub struct Buffer<'a> {
    producer: &'a mut Producer,
    /// None once it was queued.
    dequeued: Option<Dequeued>,
    slot: usize,
}

impl<'a> Buffer<'a> {
    /// The number of the frame whose pixels are still in it; 0 for none that count. Who draws only what has changed since that, draws
    /// less.
    #[must_use]
    pub fn contents(&self) -> u64 {
        self.producer.contents(self.slot)
    }

    /// Writes pixels into row `y` from column `x` on, where the compositor will read them.
    ///
    /// # Errors
    /// [`Error::OutsideWindow`].
    pub fn write_row(&mut self, x: u32, y: u32, pixels: &[u32]) -> Result<()> {
        self.producer.write_row(self.slot, x, y, pixels)
    }

    /// Hands it to the compositor as the next frame, which differs from the one before by `damage`. Gives the frame's number. Stands for
    /// `queueBuffer`.
    ///
    /// # Errors
    /// [`Error::QueueCorrupt`].
    pub fn queue(self, damage: &Damage) -> Result<u64> {
        self.queue_early(damage)?.signal()
    }

    /// Hands it to the compositor before it is drawn. It is shown after [`PendingFrame::signal`]: the frame has an acquire fence.
    ///
    /// # Errors
    /// As [`Buffer::queue`].
    pub fn queue_early(mut self, damage: &Damage) -> Result<PendingFrame<'a>>
    where
        Self: 'a,
    {
        let frame = match self.dequeued.take() {
            Some(dequeued) => self.producer.queue(dequeued, damage)?,
            None => self.producer.next(),
        };
        let slot = self.slot;
        Ok(PendingFrame { buffer: self, slot, frame })
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if let Some(dequeued) = self.dequeued.take() {
            // A corrupt queue is found by the next dequeue as well.
            let _ = self.producer.cancel(dequeued);
        }
    }
}

/// A frame that was queued, and is still drawn. Dropped without [`PendingFrame::signal`], it is never shown, and nothing behind it.
#[must_use = "a frame whose fence is not signalled is never shown"]
pub struct PendingFrame<'a> {
    buffer: Buffer<'a>,
    slot: usize,
    frame: u64,
}

impl PendingFrame<'_> {
    /// As [`Buffer::write_row`].
    ///
    /// # Errors
    /// [`Error::OutsideWindow`].
    pub fn write_row(&mut self, x: u32, y: u32, pixels: &[u32]) -> Result<()> {
        self.buffer.write_row(x, y, pixels)
    }

    /// All pixels are there. Gives the frame's number.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn signal(self) -> Result<u64> {
        self.buffer.producer.signal(self.slot, self.frame)?;
        Ok(self.frame)
    }
}
