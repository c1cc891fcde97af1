//! The compositor: takes frames out of the queues of all windows, and composes what has changed.
//!
//! ```text
//! server     makes windows for clients, on Binder's threads
//! layer      a window: its queue, its place
//! compose    planes, rectangle by rectangle, into rows
//! screen     the buffers that are composed into
//! pictures   the same composing in one process
//! report     what it took
//! ```

mod compose;
mod layer;
mod pictures;
mod report;
mod screen;
mod server;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::Interface as _;

pub(crate) use self::compose::{Source, Target, Traffic};
use self::layer::Layer;
pub use self::pictures::PictureComposer;
pub use self::report::{Bytes, Report, ShownWindow};
pub(crate) use self::screen::Screen;
use self::server::Server;
use crate::display::{Display, Events};
use crate::rect::{Damage, Rect, Size};
use crate::service::{BnSurfaceComposer, NAME};
use crate::{Error, Result};

/// How long windows that come in lockstep are waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long nothing at all is waited for before [`Compositor::compose_next`] says so.
const IDLE: Duration = Duration::from_millis(50);

/// When a frame is composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many times a second, if something has changed. A Wayland compositor sets its own pace instead.
    Clock(u32),
    /// As soon as each window has a new frame; a window that has none for a quarter of a second is left behind.
    Lockstep,
}

/// How a compositor is to be.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of the screen.
    pub size: Size,
    /// When it composes.
    pub pace: Pace,
    /// Nothing is composed before there are so many windows with a frame.
    pub wait_for: usize,
    /// Windows at most; who asks for another one is refused.
    pub most_windows: usize,
}

impl Default for Settings {
    /// 1280x720 at 60 Hz, from the first window on, up to 32 windows.
    fn default() -> Settings {
        let size = Size { width: 1280, height: 720 };
        Settings { size, pace: Pace::Clock(60), wait_for: 1, most_windows: 32 }
    }
}

/// A window that the compositor has closed, and why.
#[derive(Debug)]
pub struct Closed {
    /// Its number.
    pub window: u32,
    /// What it did.
    pub error: Error,
}

/// The compositor. Dropping it closes all windows.
pub struct Compositor {
    settings: Settings,
    display: Display,
    screen: Screen,
    /// The buffer that was composed last.
    buffer: usize,
    /// From the hindmost to the foremost.
    layers: Vec<Layer>,
    /// On the screen, and not composed yet.
    damage: Damage,
    incoming: Receiver<Layer>,
    to_incoming: Sender<Layer>,
    service: Option<(ServiceManager, ashmem_binder::rsbinder::SIBinder)>,
    closed: Vec<Closed>,
    has_started: bool,
    next_tick: Instant,
    report: Report,
}

impl Compositor {
    /// Makes the screen.
    ///
    /// # Errors
    /// [`Error::Memory`]; [`Error::Wayland`].
    pub fn new(settings: Settings, mut display: Display) -> Result<Compositor> {
        let screen = Screen::new(settings.size, display.buffers())?;
        display.start(&screen)?;
        let (to_incoming, incoming) = mpsc::channel();
        Ok(Compositor {
            settings,
            display,
            screen,
            buffer: 0,
            layers: Vec::new(),
            // The first frame is all new.
            damage: Damage::from_iter([Rect::of_size(settings.size)]),
            incoming,
            to_incoming,
            service: None,
            closed: Vec::new(),
            has_started: false,
            next_tick: Instant::now(),
            report: Report::default(),
        })
    }

    /// Adds the service to those of the user, so that clients find it.
    ///
    /// # Errors
    /// [`Error::Binder`]: there is a compositor already.
    pub fn serve(&mut self, services: &ServiceManager) -> Result<()> {
        let server = Server::new(self.to_incoming.clone(), self.settings.most_windows);
        let binder = BnSurfaceComposer::new_binder(server).as_binder();
        services
            .add_service(NAME, &binder)
            .map_err(|source| Error::Binder { operation: "serve windows", source })?;
        self.service = Some((services.clone(), binder));
        Ok(())
    }

    /// Composes the next frame, if anything changes on the screen within a moment. False when nothing did.
    ///
    /// # Errors
    /// Those of the display: [`Error::File`], [`Error::Wayland`]. What a client does wrong closes its window:
    /// [`Compositor::take_closed`].
    pub fn compose_next(&mut self) -> Result<bool> {
        self.wait_for_tick()?;
        self.take_windows();
        // Producers of what is not asked for wait.
        if self.display.free_buffer().is_some() {
            self.latch();
        }
        let mut damage = std::mem::take(&mut self.damage);
        self.forget_windows(&mut damage);
        if !self.has_started {
            if self.layers.iter().filter(|layer| layer.is_new()).count() < self.settings.wait_for.max(1) {
                thread::sleep(Duration::from_millis(1));
                self.damage = damage;
                return Ok(false);
            }
            self.has_started = true;
            self.report.start();
        }
        for layer in &mut self.layers {
            layer.follow(&mut damage);
            layer.take_damage(&mut damage);
        }
        let seen = Rect::of_size(self.settings.size);
        let damage: Damage = damage.rects().iter().map(|rect| rect.intersection(seen)).collect();
        match self.display.free_buffer() {
            Some(buffer) if !damage.is_empty() => {
                self.compose(buffer, &damage)?;
                Ok(true)
            }
            _ => {
                self.damage = damage;
                Ok(false)
            }
        }
    }

    fn compose(&mut self, buffer: usize, damage: &Damage) -> Result<()> {
        let start = report::processor_time();
        self.layers.sort_by_key(|layer| (layer.placement().z, layer.id));
        self.screen.damage(damage);
        let planes: Vec<_> = self.layers.iter().filter_map(Layer::plane).collect();
        let traffic = self.screen.compose(buffer, &planes)?;
        self.buffer = buffer;
        self.report.count(traffic, report::processor_time().saturating_sub(start));
        let shown = self.layers.iter().filter_map(ShownWindow::of);
        self.display.show(&self.screen, buffer, damage, self.report.frames, shown)
    }

    /// Windows that were closed since this was asked last.
    pub fn take_closed(&mut self) -> Vec<Closed> {
        std::mem::take(&mut self.closed)
    }

    /// What it did so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.clone().finished()
    }

    /// What the Wayland compositor has said so far, if there is one.
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        self.display.events()
    }

    /// Whether the user has closed the display.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.display.is_ended()
    }

    /// Copies what is on the screen, row by row; as many whole rows as `into` has place for.
    ///
    /// # Errors
    /// [`Error::Memory`]: more rows than there are.
    pub fn read_screen(&self, into: &mut [u32]) -> Result<()> {
        let width = self.settings.size.width as usize;
        for (y, row) in into.chunks_exact_mut(width).enumerate() {
            self.screen.read(self.buffer, y as u32, row)?;
        }
        Ok(())
    }

    fn wait_for_tick(&mut self) -> Result<()> {
        if self.display.sets_the_pace() {
            return self.display.wait(IDLE);
        }
        match self.settings.pace {
            Pace::Clock(rate) => {
                let now = Instant::now();
                thread::sleep(self.next_tick.saturating_duration_since(now));
                let period = Duration::from_secs(1) / rate.max(1);
                // After a long frame the clock starts anew.
                self.next_tick = (self.next_tick + period).max(now);
            }
            Pace::Lockstep if self.layers.is_empty() => match self.incoming.recv_timeout(IDLE) {
                Ok(layer) => self.layers.push(layer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            },
            Pace::Lockstep => {}
        }
        Ok(())
    }

    fn take_windows(&mut self) {
        self.layers.extend(self.incoming.try_iter());
    }

    /// Takes the next frame of each window.
    fn latch(&mut self) {
        let until = Instant::now() + PATIENCE;
        let waits = self.settings.pace == Pace::Lockstep && !self.display.sets_the_pace();
        for i in (0..self.layers.len()).rev() {
            let layer = &mut self.layers[i];
            let latched = if waits { layer.await_frame(until) } else { layer.latch() };
            if let Err(error) = latched {
                // Closed, so that its client learns of it; still there, so that its place is composed.
                self.closed.push(Closed { window: layer.id, error });
                layer.close();
            }
        }
    }

    /// Windows whose clients are gone, or that were closed, leave what is behind them.
    fn forget_windows(&mut self, damage: &mut Damage) {
        self.layers.retain(|layer| {
            if layer.is_removed() {
                damage.add(layer.rect());
            }
            !layer.is_removed()
        });
        // All are late at once: nobody draws.
        if self.settings.pace == Pace::Lockstep && !self.layers.iter().any(Layer::is_new) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        if let Some((services, _)) = self.service.take() {
            // It may be gone with its directory.
            let _ = services.remove_service(NAME);
        }
    }
}
