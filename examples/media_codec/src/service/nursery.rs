//! Starts decoders, one ahead: a client need not wait for a process to start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use ashmem::{MapOptions, Mapping, Region};

use super::{Counters, ServiceOptions};
use crate::layout;

/// Somebody who waits for a decoder.
type Order = SyncSender<io::Result<Decoder>>;

/// The thread that starts decoders. It is always the same one, as the kernel ends a child when the thread ends that made it.
#[derive(Debug)]
pub(super) struct Nursery {
    orders: Sender<Order>,
}

impl Nursery {
    pub fn open(options: ServiceOptions, counters: Arc<Counters>) -> io::Result<Nursery> {
        let (orders, received) = mpsc::channel();
        thread::Builder::new()
            .name("nursery".to_owned())
            .spawn(move || serve(&options, &counters, &received))?;
        Ok(Nursery { orders })
    }

    /// A decoder that nobody has.
    pub fn decoder(&self) -> io::Result<Decoder> {
        let (order, answer) = mpsc::sync_channel(1);
        let ended = || io::Error::other("the thread that starts decoders has ended");
        self.orders.send(order).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

fn serve(options: &ServiceOptions, counters: &Counters, orders: &Receiver<Order>) {
    // Where it fails, the first client will be told.
    let mut spare = Decoder::start(options, counters).ok();
    for order in orders {
        // It may have been killed while it waited.
        let ready = spare.take().and_then(|mut decoder| decoder.is_alive().then_some(decoder));
        let decoder = ready.map_or_else(|| Decoder::start(options, counters), Ok);
        // Who asked may have given up: then the decoder ends here.
        let _ = order.send(decoder);
        spare = Decoder::start(options, counters).ok();
    }
}

/// A decoder's process, with what its client is going to get. It is killed on drop.
#[derive(Debug)]
pub(super) struct Decoder {
    child: Child,
    region: Region,
    /// The control block, to see whether it gets on.
    pub control: Mapping,
    /// The service's end.
    pub ours: UnixStream,
    theirs: Option<UnixStream>,
}

impl Decoder {
    fn start(options: &ServiceOptions, counters: &Counters) -> io::Result<Decoder> {
        let region = Region::options().never_purgeable().create("media codec", layout::SIZE);
        let region = region.map_err(io::Error::other)?;
        let control = MapOptions::new().range(..layout::CONTROL).map(&region).map_err(io::Error::other)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&options.program);
        command
            .arg("decoder")
            .args(["--memory", &options.memory.to_string()])
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::from(region.as_fd().try_clone_to_owned()?))
            .stdout(Stdio::null())
            // For what goes wrong before it is confined.
            .stderr(Stdio::inherit())
            .env_clear();
        if options.faults {
            command.arg("--faults");
        }
        let child = command.spawn()?;
        counters.started.fetch_add(1, Ordering::Relaxed);
        Ok(Decoder { child, region, control, ours, theirs: Some(theirs) })
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The shared region, for the client.
    pub fn region(&self) -> io::Result<OwnedFd> {
        self.region.as_fd().try_clone_to_owned()
    }

    /// The client's end of the lifeline; the service keeps no copy.
    pub fn lifeline(&mut self) -> io::Result<UnixStream> {
        self.theirs.take().ok_or_else(|| io::Error::other("it has a client"))
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; waits for that.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Ends it, if it has not ended.
    pub fn kill(&mut self) {
        // Fails only for a child that is reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.kill();
    }
}
