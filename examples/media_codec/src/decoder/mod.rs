//! The decoder: a process for one stream, which can do nothing but compute. [`decode()`] is what it does, for any source and sink.

mod audio;
mod confine;
mod decode;
mod fault;
mod image;
mod input;
mod output;

use std::io;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ashmem::Region;
use rustix::process::{Pid, Signal};

pub use self::decode::{Failure, Limits, Sink, decode};
use self::input::Input;
use self::output::Outputs;
use crate::MediaType;
use crate::error::{CLIENT_CORRUPT, NOT_CONFINED, PANICKED};
use crate::layout::{MEDIA_TYPE, PROGRESS};
use crate::port::{Incoming, Port};
use crate::record::Record;

/// How a decoder is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of address space that it may have.
    pub memory: u64,
    /// The process that started it, and that it ends with.
    pub parent: i32,
    /// Whether it does wrong when it is told to, for tests.
    pub faults: bool,
}

/// Is a decoder, from here to the end of the process. Its region is standard input.
///
/// It must be the only thread, and nothing of the process may be using descriptors any more: all are closed.
pub fn run(options: Options) -> ! {
    match set_up(options) {
        Ok(port) => process::exit(work(port, options)),
        Err((operation, error)) => {
            // Fails only where nobody would read it.
            let _ = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("media_codec: decoder: {operation}: {error}\n"),
            );
            process::exit(NOT_CONFINED)
        }
    }
}

type SetUpError = (&'static str, Box<dyn std::error::Error>);

fn failed<E: Into<Box<dyn std::error::Error>>>(operation: &'static str) -> impl FnOnce(E) -> SetUpError {
    move |error| (operation, error.into())
}

/// Everything that needs the kernel.
fn set_up(options: Options) -> Result<Port, SetUpError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("tie the decoder to the service"))?;
    // It may have ended before that, and then there is nobody to decode for.
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(options.parent) {
        process::exit(NOT_CONFINED);
    }
    let region = io::stdin().as_fd().try_clone_to_owned().map_err(failed("take the region"))?;
    let region = Region::from_fd(region).map_err(failed("take the region"))?;
    let mapping = region.map().map_err(failed("map the region"))?;
    drop(region);
    let port = Port::of_decoder(mapping).ok_or_else(|| failed("map the region")("it has another size"))?;
    // The message of a panic has nowhere to go.
    panic::set_hook(Box::new(|_| {}));
    confine::limit(options.memory).map_err(failed("set limits"))?;
    let filter = confine::filter().map_err(failed("make the filter of system calls"))?;
    confine::close_descriptors().map_err(failed("close all descriptors"))?;
    if confine::apply(&filter).is_err() {
        // Nobody can be told more.
        process::exit(NOT_CONFINED);
    }
    Ok(port)
}

/// What input and output have in common. One thread has both, so nobody waits for the lock.
struct Channel {
    port: Port,
    /// An output buffer that has room for more. The client gets it when it is full, or when the decoder has to wait for input.
    filling: Option<Record>,
    /// The client wrote what makes no sense.
    is_corrupt: bool,
}

impl Channel {
    /// That the client wrote what makes no sense, as an error of a source or sink.
    fn corrupt(&mut self) -> io::Error {
        self.is_corrupt = true;
        io::Error::other("the client wrote what makes no sense")
    }

    /// Gives the client what there is.
    fn hand_over(&mut self) -> io::Result<()> {
        match self.filling.take() {
            Some(record) => self.port.push(Incoming::Output, record).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// The service sees that the decoder gets on.
    fn progress(&self) -> ashmem::Result<()> {
        self.port.mapping.atomic_u32(PROGRESS)?.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn lock(channel: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decodes the stream; gives the status to end with.
fn work(port: Port, options: Options) -> i32 {
    let channel = Mutex::new(Channel { port, filling: None, is_corrupt: false });
    let mut outputs = Outputs::new(&channel);
    let result = panic::catch_unwind(AssertUnwindSafe(|| stream(&channel, &mut outputs, options)));
    match result {
        Err(_) => PANICKED,
        Ok(_) if lock(&channel).is_corrupt => CLIENT_CORRUPT,
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => match outputs.fail(&failure.to_string()) {
            Ok(()) => 0,
            Err(_) => CLIENT_CORRUPT,
        },
    }
}

fn stream(channel: &Mutex<Channel>, outputs: &mut Outputs<'_>, options: Options) -> Result<(), Failure> {
    let mut input = Input::new(channel);
    // The client says the type before that.
    input.wait_for_first()?;
    let word = lock(channel).port.mapping.load_u32(MEDIA_TYPE).map_err(io::Error::other)?;
    match MediaType::from_word(word) {
        None => return Err(Failure::Source(lock(channel).corrupt())),
        Some(MediaType::Fault) if options.faults => fault::commit(&mut input, channel)?,
        Some(media_type) => decode(media_type, input, outputs, Limits::of_memory(options.memory))?,
    }
    outputs.end()
}
