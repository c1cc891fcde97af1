//! The interfaces between compositor and clients, as Binder sees them.
//!
//! [`ISurfaceComposer`] makes windows, as Android's `ISurfaceComposerClient` makes surfaces. A window is a binder, too: it is moved by calls
//! to it, and disappears when the last reference to it does, in whatever way its client ends.

use std::sync::atomic::{AtomicU64, Ordering};

use ashmem_binder::rsbinder::{
    Binder, BinderResult, ExceptionCode, FIRST_CALL_TRANSACTION, Interface, Parcel, Result, SIBinder, Status,
    StatusCode, TransactionCode, declare_binder_interface,
};
use ashmem_binder::{ParcelFileDescriptor, call};

use crate::rect::Size;

/// What the compositor is found as.
pub const NAME: &str = "SurfaceFlinger";

const CREATE_WINDOW: TransactionCode = FIRST_CALL_TRANSACTION;
const PLACE: TransactionCode = FIRST_CALL_TRANSACTION;

/// Where a window is, and how much of what is behind it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Column of its left edge on the screen; may be outside of that.
    pub x: i32,
    /// Row of its top edge.
    pub y: i32,
    /// Windows with a larger one are in front; of the same, the one that was made later.
    pub z: i32,
    /// 255 is all there, 0 not at all; on top of the alpha of its pixels.
    pub alpha: u8,
}

impl Default for Placement {
    fn default() -> Placement {
        Placement { x: 0, y: 0, z: 0, alpha: 255 }
    }
}

/// A window that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// Of each buffer.
    pub size: Size,
    /// Where it is.
    pub placement: Placement,
    /// The alpha of its pixels counts as 255, so nothing behind it has to be composed.
    pub is_opaque: bool,
}

/// A window that was made.
pub struct NewWindow {
    /// Moves it, and keeps it.
    pub window: SIBinder,
    /// Its control block and buffers.
    pub memory: ParcelFileDescriptor,
}

/// The compositor.
pub trait ISurfaceComposer: Interface {
    /// Makes a window.
    fn create_window(&self, options: WindowOptions) -> BinderResult<NewWindow>;
}

/// A window.
pub trait IWindow: Interface {
    /// Moves it.
    fn place(&self, placement: Placement) -> BinderResult<()>;
}

declare_binder_interface! {
    ISurfaceComposer["ashmem.example.ISurfaceComposer"] {
        native: {
            BnSurfaceComposer(composer_on_transact),
        },
        proxy: BpSurfaceComposer,
    }
}

declare_binder_interface! {
    IWindow["ashmem.example.IWindow"] {
        native: {
            BnWindow(window_on_transact),
        },
        proxy: BpWindow,
    }
}

/// Bytes of requests and replies that this process's services have seen.
static TRAFFIC: AtomicU64 = AtomicU64::new(0);

/// Bytes that have gone through Binder to and from the services of this process.
#[must_use]
pub fn traffic() -> u64 {
    TRAFFIC.load(Ordering::Relaxed)
}

fn count(request: &Parcel, reply: &Parcel) {
    TRAFFIC.fetch_add((request.data_size() + reply.data_size()) as u64, Ordering::Relaxed);
}

fn write_placement(parcel: &mut Parcel, placement: Placement) -> Result<()> {
    parcel.write_i32(placement.x)?;
    parcel.write_i32(placement.y)?;
    parcel.write_i32(placement.z)?;
    parcel.write_i32(i32::from(placement.alpha))
}

fn read_placement(parcel: &mut Parcel) -> Result<Placement> {
    let (x, y, z) = (parcel.read_i32()?, parcel.read_i32()?, parcel.read_i32()?);
    let alpha = u8::try_from(parcel.read_i32()?).map_err(|_| StatusCode::BadValue)?;
    Ok(Placement { x, y, z, alpha })
}

fn composer_on_transact(
    service: &dyn ISurfaceComposer,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        CREATE_WINDOW => {
            let (width, height) = (request.read_u32()?, request.read_u32()?);
            let size = Size::new(width, height).ok_or(StatusCode::BadValue)?;
            let placement = read_placement(request)?;
            let is_opaque = request.read_i32()? != 0;
            match service.create_window(WindowOptions { size, placement, is_opaque }) {
                Ok(NewWindow { window, memory }) => {
                    reply.write(&Status::from(ExceptionCode::None))?;
                    reply.write(&window)?;
                    reply.write(&memory)?;
                }
                Err(exception) => reply.write(&exception)?,
            }
            count(request, reply);
            Ok(())
        }
        _ => Err(StatusCode::UnknownTransaction),
    }
}

fn window_on_transact(
    window: &dyn IWindow,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        PLACE => {
            let answer = window.place(read_placement(request)?);
            reply.write(&answer.err().unwrap_or(ExceptionCode::None.into()))?;
            count(request, reply);
            Ok(())
        }
        _ => Err(StatusCode::UnknownTransaction),
    }
}

impl ISurfaceComposer for BpSurfaceComposer {
    fn create_window(&self, options: WindowOptions) -> BinderResult<NewWindow> {
        let mut reply = call(&self.binder, CREATE_WINDOW, |request| {
            request.write_u32(options.size.width)?;
            request.write_u32(options.size.height)?;
            write_placement(request, options.placement)?;
            request.write_i32(i32::from(options.is_opaque))
        })?;
        Ok(NewWindow { window: reply.read()?, memory: reply.read()? })
    }
}

impl IWindow for BpWindow {
    fn place(&self, placement: Placement) -> BinderResult<()> {
        call(&self.binder, PLACE, |request| write_placement(request, placement)).map(drop)
    }
}

/// In the compositor's own process.
impl ISurfaceComposer for Binder<BnSurfaceComposer> {
    fn create_window(&self, options: WindowOptions) -> BinderResult<NewWindow> {
        self.0.create_window(options)
    }
}

/// In the compositor's own process.
impl IWindow for Binder<BnWindow> {
    fn place(&self, placement: Placement) -> BinderResult<()> {
        self.0.place(placement)
    }
}
