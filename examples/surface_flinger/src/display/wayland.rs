//! The screen as a window of a Wayland compositor: `wl_shm`, with the screen's region as the pool.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use wayland_client::backend::WaylandError;
use wayland_client::protocol::wl_buffer::{self, WlBuffer};
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};

use crate::compositor::Screen;
use crate::rect::Damage;
use crate::{Error, Result};

/// One is shown, one waits, one is composed.
pub(super) const BUFFERS: usize = 3;
/// How long a Wayland compositor may take for its first answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a Wayland compositor has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// `xdg_surface.configure`.
    pub configures: u64,
    /// `wl_callback.done`: the next frame is wanted.
    pub frame_callbacks: u64,
    /// `wl_buffer.release`: it no longer reads a buffer.
    pub buffer_releases: u64,
}

/// A window of a Wayland compositor.
pub(super) struct Wayland {
    connection: Connection,
    queue: EventQueue<State>,
    state: State,
    window: Option<Window>,
}

/// Kept as long as the window is there.
struct Window {
    surface: WlSurface,
    buffers: Vec<WlBuffer>,
    _toplevel: (XdgSurface, XdgToplevel),
}

/// What events change.
#[derive(Default)]
struct State {
    compositor: Option<WlCompositor>,
    shm: Option<WlShm>,
    base: Option<XdgWmBase>,
    events: Events,
    /// A frame was shown, and the next one is not wanted yet.
    is_waiting: bool,
    /// Which buffers the compositor may read.
    is_busy: [bool; BUFFERS],
    is_closed: bool,
}

fn failed<E: std::fmt::Display>(operation: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Wayland { operation, reason: error.to_string() }
}

const TALK: &str = "talk to the Wayland compositor";

impl Wayland {
    pub(super) fn connect() -> Result<Wayland> {
        let connection = Connection::connect_to_env().map_err(failed("connect to the Wayland compositor"))?;
        let queue = connection.new_event_queue();
        connection.display().get_registry(&queue.handle(), ());
        let mut wayland = Wayland { connection, queue, state: State::default(), window: None };
        let has_all =
            |state: &State| state.compositor.is_some() && state.shm.is_some() && state.base.is_some();
        wayland.dispatch_until(has_all, "find wl_compositor, wl_shm and xdg_wm_base")?;
        Ok(wayland)
    }

    pub(super) fn start(&mut self, screen: &Screen) -> Result<()> {
        let handle = self.queue.handle();
        let State { compositor: Some(compositor), shm: Some(shm), base: Some(base), .. } = &self.state else {
            return Err(failed("make a Wayland window")("globals are missing"));
        };
        let size = screen.size();
        let (width, height) = (size.width as i32, size.height as i32);
        let bytes = i32::try_from(screen.bytes()).map_err(failed("make a wl_shm pool"))?;
        let pool = shm.create_pool(screen.descriptor(), bytes, &handle, ());
        let buffers = (0..BUFFERS).map(|i| {
            let (offset, stride) = (i as i32 * size.bytes() as i32, size.stride() as i32);
            pool.create_buffer(offset, width, height, stride, wl_shm::Format::Xrgb8888, &handle, i)
        });
        let buffers = buffers.collect();
        // The buffers keep the memory.
        pool.destroy();
        let surface = compositor.create_surface(&handle, ());
        let xdg_surface = base.get_xdg_surface(&surface, &handle, ());
        let toplevel = xdg_surface.get_toplevel(&handle, ());
        toplevel.set_title("surface_flinger".to_owned());
        toplevel.set_app_id("surface_flinger".to_owned());
        toplevel.set_min_size(width, height);
        toplevel.set_max_size(width, height);
        surface.commit();
        self.window = Some(Window { surface, buffers, _toplevel: (xdg_surface, toplevel) });
        self.dispatch_until(|state| state.events.configures > 0, "wait for the Wayland window")
    }

    pub(super) fn events(&self) -> Events {
        self.state.events
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.is_closed
    }

    /// Waits until the next frame is wanted and there is a buffer for it, at most that long.
    pub(super) fn wait(&mut self, most: Duration) -> Result<()> {
        let is_wanted = |state: &State| state.is_closed || state.free_buffer().is_some();
        self.dispatch(is_wanted, Instant::now() + most).map(drop)
    }

    pub(super) fn free_buffer(&self) -> Option<usize> {
        self.state.free_buffer()
    }

    pub(super) fn show(&mut self, buffer: usize, damage: &Damage) -> Result<()> {
        let Some(window) = &self.window else { return Ok(()) };
        let surface = &window.surface;
        surface.attach(window.buffers.get(buffer), 0, 0);
        for rect in damage.rects() {
            // Buffer and surface have the same coordinates; all damage is on the screen.
            surface.damage(rect.left, rect.top, rect.width() as i32, rect.height() as i32);
        }
        surface.frame(&self.queue.handle(), ());
        surface.commit();
        self.state.is_waiting = true;
        self.state.is_busy[buffer] = true;
        self.flush()
    }

    fn dispatch_until(&mut self, is_done: impl Fn(&State) -> bool, operation: &'static str) -> Result<()> {
        if self.dispatch(is_done, Instant::now() + PATIENCE)? {
            return Ok(());
        }
        Err(failed(operation)("the Wayland compositor does not have it, or does not answer"))
    }

    /// Takes events until it is done, or until then. Says whether it is done.
    fn dispatch(&mut self, is_done: impl Fn(&State) -> bool, until: Instant) -> Result<bool> {
        loop {
            self.queue.dispatch_pending(&mut self.state).map_err(failed(TALK))?;
            let left = until.saturating_duration_since(Instant::now());
            if is_done(&self.state) {
                return Ok(true);
            }
            self.flush()?;
            // None when there are events already.
            let Some(reading) = self.connection.prepare_read() else { continue };
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let descriptor = reading.connection_fd();
            match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(Errno::INTR) => {}
                // Half a message: the rest comes.
                Ok(_) => match reading.read() {
                    Err(WaylandError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => drop(read.map_err(failed(TALK))?),
                },
                Err(errno) => return Err(failed(TALK)(errno)),
            }
        }
    }

    fn flush(&self) -> Result<()> {
        self.connection.flush().map_err(failed(TALK))
    }
}

impl State {
    fn free_buffer(&self) -> Option<usize> {
        if self.is_waiting {
            return None;
        }
        self.is_busy.iter().position(|is_busy| !is_busy)
    }
}

impl Dispatch<WlRegistry, ()> for State {
    fn event(
        state: &mut State,
        registry: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<State>,
    ) {
        let wl_registry::Event::Global { name, interface, .. } = event else { return };
        if interface == WlCompositor::interface().name {
            state.compositor = Some(registry.bind(name, 1, handle, ()));
        } else if interface == WlShm::interface().name {
            state.shm = Some(registry.bind(name, 1, handle, ()));
        } else if interface == XdgWmBase::interface().name {
            state.base = Some(registry.bind(name, 1, handle, ()));
        }
    }
}

impl Dispatch<XdgWmBase, ()> for State {
    fn event(
        _: &mut State,
        base: &XdgWmBase,
        event: xdg_wm_base::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<State>,
    ) {
        if let xdg_wm_base::Event::Ping { serial } = event {
            base.pong(serial);
        }
    }
}

impl Dispatch<XdgSurface, ()> for State {
    fn event(
        state: &mut State,
        surface: &XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<State>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
            state.events.configures += 1;
        }
    }
}

impl Dispatch<XdgToplevel, ()> for State {
    fn event(
        state: &mut State,
        _: &XdgToplevel,
        event: xdg_toplevel::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<State>,
    ) {
        // A size that is wished for is not taken: the screen has its own.
        if let xdg_toplevel::Event::Close = event {
            state.is_closed = true;
        }
    }
}

impl Dispatch<WlCallback, ()> for State {
    fn event(
        state: &mut State,
        _: &WlCallback,
        event: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<State>,
    ) {
        if let wl_callback::Event::Done { .. } = event {
            state.events.frame_callbacks += 1;
            state.is_waiting = false;
        }
    }
}

impl Dispatch<WlBuffer, usize> for State {
    fn event(
        state: &mut State,
        _: &WlBuffer,
        event: wl_buffer::Event,
        number: &usize,
        _: &Connection,
        _: &QueueHandle<State>,
    ) {
        if let (wl_buffer::Event::Release, Some(is_busy)) = (event, state.is_busy.get_mut(*number)) {
            state.events.buffer_releases += 1;
            *is_busy = false;
        }
    }
}

delegate_noop!(State: ignore WlCompositor);
delegate_noop!(State: ignore WlShm);
delegate_noop!(State: ignore WlShmPool);
delegate_noop!(State: ignore WlSurface);
