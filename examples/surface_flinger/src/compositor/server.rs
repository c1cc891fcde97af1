//! What clients call: windows come in by this, on Binder's threads, and are the compositor's from then on.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::{BinderResult, ExceptionCode, Interface, Status};

use super::layer::{Layer, Place, Wishes};
use crate::queue::Consumer;
use crate::service::{BnWindow, ISurfaceComposer, IWindow, NewWindow, Placement, WindowOptions};

/// Makes windows.
pub(crate) struct Server {
    windows: Mutex<Sender<Layer>>,
    taken: Arc<AtomicUsize>,
    most: usize,
    last: AtomicU32,
}

impl Server {
    pub(crate) fn new(windows: Sender<Layer>, most: usize) -> Server {
        Server { windows: Mutex::new(windows), taken: Arc::default(), most, last: AtomicU32::new(0) }
    }
}

impl Interface for Server {}

impl ISurfaceComposer for Server {
    fn create_window(&self, options: WindowOptions) -> BinderResult<NewWindow> {
        // The place is taken until the compositor has dropped the window.
        let place = Place::take(&self.taken, self.most)
            .ok_or_else(|| illegal_state(&format!("there are {} windows already", self.most)))?;
        let (consumer, region) = Consumer::create(options.size).map_err(|error| illegal_state(&error))?;
        let memory = region.into_fd().map_err(|error| illegal_state(&error))?;
        let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let wishes = Arc::new(Wishes::new(options.placement));
        let layer = Layer::new(id, consumer, Arc::clone(&wishes), options.is_opaque, place);
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.send(layer).map_err(|_| illegal_state(&"the compositor ends"))?;
        let window = BnWindow::new_binder(ServedWindow(wishes)).as_binder();
        Ok(NewWindow { window, memory: ParcelFileDescriptor::new(memory) })
    }
}

fn illegal_state(error: &dyn std::fmt::Display) -> Status {
    Status::from((ExceptionCode::IllegalState, error.to_string().as_str()))
}

/// The client's reference to a window. The session of a process that ends drops all that it had.
struct ServedWindow(Arc<Wishes>);

impl Interface for ServedWindow {}

impl IWindow for ServedWindow {
    fn place(&self, placement: Placement) -> BinderResult<()> {
        self.0.place(placement);
        Ok(())
    }
}

impl Drop for ServedWindow {
    fn drop(&mut self) {
        self.0.remove();
    }
}
