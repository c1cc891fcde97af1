//! What a program sees: `android.media.MediaCodec`.

mod buffers;
mod service;
mod session;
mod state;
mod stream;

#[cfg(test)]
mod hostile_tests;

use std::time::Duration;

use ashmem_binder::ServiceManager;

use self::service::Proxy;
pub use self::session::BufferInfo;
use self::session::Session;
use self::state::Call;
pub use self::state::State;
pub use self::stream::decode_stream;
use crate::protocol::Usage;
use crate::record::BufferFlags;
use crate::{Error, Format, MediaType, Result, layout};

/// What [`MediaCodec::dequeue_output_buffer`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A buffer, which is the client's until it is released.
    Buffer(usize, BufferInfo),
    /// Buffers from here on hold this (`INFO_OUTPUT_FORMAT_CHANGED`). It comes before the first one.
    FormatChanged(Format),
    /// Nothing came in time (`INFO_TRY_AGAIN_LATER`).
    TryAgain,
}

/// What [`MediaCodec::next_event`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An input buffer, which is the client's until it is queued (`onInputBufferAvailable`).
    Input(usize),
    /// An output buffer, which is the client's until it is released (`onOutputBufferAvailable`).
    Output(usize, BufferInfo),
    /// Buffers from here on hold this (`onOutputFormatChanged`).
    FormatChanged(Format),
    /// Nothing came in time.
    TryAgain,
}

/// A codec: `android.media.MediaCodec`, as far as decoders go.
///
/// Input buffers take the bytes of a file in order, cut as the client likes. (Android's take packets, which an extractor has cut out of
/// the file in the client's process. Containers are where malformed files bite, so they are taken apart in the decoder here.) Output
/// buffers hold samples or pixels, in the [`Format`] that was announced last.
///
/// Buffers are in memory that the decoder may write at any time, so they are not given as slices: they are copied in and out.
///
/// After an error that [is not the caller's](Error::is_callers), the codec is in [`State::Error`], and after
/// [`reset`](MediaCodec::reset) it is as new: with the next [`start`](MediaCodec::start) it gets another decoder. Dropping it is
/// [`release`](MediaCodec::release). The [crate] has an example.
#[derive(Debug)]
pub struct MediaCodec {
    proxy: Proxy,
    state: State,
    media_type: Option<MediaType>,
    session: Option<Session>,
    format: Option<Format>,
}

impl MediaCodec {
    /// Bytes that an input buffer takes.
    pub const INPUT_CAPACITY: usize = layout::INPUT_SIZE;

    /// A codec of the service that is found there (`createDecoderByType`; the type is said to
    /// [`configure`](MediaCodec::configure)). Waits for the service up to five seconds.
    ///
    /// # Errors
    /// [`Error::Service`].
    pub fn create(services: &ServiceManager) -> Result<MediaCodec> {
        let proxy = Proxy::find(services)?;
        Ok(MediaCodec { proxy, state: State::Uninitialized, media_type: None, session: None, format: None })
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Says what is to be decoded.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless uninitialized.
    pub fn configure(&mut self, media_type: MediaType) -> Result<()> {
        self.state = self.after("configure", Call::Configure)?;
        self.media_type = Some(media_type);
        Ok(())
    }

    /// Gets a decoder, which waits for the start of a stream.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless configured, and [`Error::Unsupported`]; [`Error::Busy`], [`Error::NoDecoder`],
    /// [`Error::ServiceGone`], [`Error::Binder`], [`Error::Memory`].
    pub fn start(&mut self) -> Result<()> {
        let next = self.after("start", Call::Start)?;
        self.open("start", next)
    }

    /// Forgets all buffers, queued, filled or dequeued, and waits for the start of another stream of this type. The decoder is replaced
    /// by another one, so that no stream meets a process that has seen one before.
    ///
    /// # Errors
    /// As [`MediaCodec::start`]; [`Error::IllegalState`] unless started.
    pub fn flush(&mut self) -> Result<()> {
        let next = self.after("flush", Call::Flush)?;
        self.open("flush", next)
    }

    fn open(&mut self, call: &'static str, next: State) -> Result<()> {
        self.close();
        let Some(media_type) = self.media_type else {
            return Err(Error::IllegalState { call, state: self.state });
        };
        let created = self.proxy.create(media_type);
        let session = created.and_then(|created| Session::new(created, media_type));
        self.session = Some(self.noting(session)?);
        self.state = next;
        Ok(())
    }

    /// Gives the decoder back. To start again, the codec has to be configured again.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless configured or started.
    pub fn stop(&mut self) -> Result<()> {
        self.leave("stop", Call::Stop)
    }

    /// Makes it as new, also after an error.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if released.
    pub fn reset(&mut self) -> Result<()> {
        self.leave("reset", Call::Reset)
    }

    /// Gives everything back, for good.
    pub fn release(&mut self) {
        self.close();
        self.state = self.state.after(Call::Release).unwrap_or(State::Released);
    }

    fn leave(&mut self, call: &'static str, kind: Call) -> Result<()> {
        self.state = self.after(call, kind)?;
        self.close();
        self.media_type = None;
        Ok(())
    }

    /// Without its lifeline the decoder ends.
    fn close(&mut self) {
        self.session = None;
        self.format = None;
    }

    /// An input buffer to fill, within `timeout`; `None` is Android's `INFO_TRY_AGAIN_LATER`.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless flushed or running; and whatever has happened to the decoder: [`Error::Malformed`],
    /// [`Error::DecoderEnded`], [`Error::Corrupt`], [`Error::ServiceGone`].
    pub fn dequeue_input_buffer(&mut self, timeout: Duration) -> Result<Option<usize>> {
        let (call, next) = ("dequeue input buffer", self.after("dequeue input buffer", Call::DequeueInput)?);
        let found = self.session(call)?.wait_for(timeout, Session::dequeue_input);
        let found = self.noting(found)?;
        if found.is_some() {
            self.state = next;
        }
        Ok(found)
    }

    /// Writes to an input buffer that was dequeued (`getInputBuffer`, which gives the buffer itself).
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless started, [`Error::NotOwned`], [`Error::TooLong`].
    pub fn write_input(&mut self, index: usize, offset: usize, bytes: &[u8]) -> Result<()> {
        let call = "write input buffer";
        self.after(call, Call::QueueInput(false))?;
        let written = self.session(call)?.write_input(call, index, offset, bytes);
        self.noting(written)
    }

    /// Gives the first `length` bytes of an input buffer to the decoder. The presentation time is in microseconds; what comes out has
    /// the container's own times.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless running, [`Error::NotOwned`], [`Error::TooLong`].
    pub fn queue_input_buffer(
        &mut self,
        index: usize,
        length: usize,
        presentation_time: i64,
        flags: BufferFlags,
    ) -> Result<()> {
        let call = "queue input buffer";
        let next = self.after(call, Call::QueueInput(flags.contains(BufferFlags::END_OF_STREAM)))?;
        let queued = self.session(call)?.queue_input(call, index, length, presentation_time, flags);
        self.noting(queued)?;
        self.state = next;
        Ok(())
    }

    /// A filled output buffer, or the format of those that follow, within `timeout`.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless started; and whatever has happened to the decoder, as in
    /// [`MediaCodec::dequeue_input_buffer`]. Buffers that were filled before come first.
    pub fn dequeue_output_buffer(&mut self, timeout: Duration) -> Result<Output> {
        let call = "dequeue output buffer";
        self.after(call, Call::UseOutput)?;
        let format = self.format;
        let found = self.session(call)?.wait_for(timeout, |session| output(session, format));
        let found = self.noting(found)?.unwrap_or(Output::TryAgain);
        if let Output::FormatChanged(format) = found {
            self.format = Some(format);
        }
        Ok(found)
    }

    /// What happens next, within `timeout`: `MediaCodec.Callback`, asked for instead of called. Output goes before input.
    ///
    /// # Errors
    /// As [`MediaCodec::dequeue_output_buffer`].
    pub fn next_event(&mut self, timeout: Duration) -> Result<Event> {
        let call = "next event";
        self.after(call, Call::UseOutput)?;
        let running = self.state.after(Call::DequeueInput);
        let format = self.format;
        let found = self.session(call)?.wait_for(timeout, |session| match output(session, format) {
            Some(Output::Buffer(index, info)) => Some(Event::Output(index, info)),
            Some(Output::FormatChanged(format)) => Some(Event::FormatChanged(format)),
            _ if running.is_some() => session.dequeue_input().map(Event::Input),
            _ => None,
        });
        let found = self.noting(found)?.unwrap_or(Event::TryAgain);
        match (found, running) {
            (Event::Input(_), Some(running)) => self.state = running,
            (Event::FormatChanged(format), _) => self.format = Some(format),
            _ => {}
        }
        Ok(found)
    }

    /// What output buffers hold, since it was announced.
    #[must_use]
    pub fn output_format(&self) -> Option<Format> {
        self.format
    }

    /// Copies out of an output buffer that was dequeued (`getOutputBuffer`, which gives the buffer itself).
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless started, [`Error::NotOwned`], [`Error::TooLong`] beyond what it holds.
    pub fn read_output(&mut self, index: usize, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let call = "read output buffer";
        self.after(call, Call::UseOutput)?;
        let read = self.session(call)?.read_output(call, index, offset, bytes);
        self.noting(read)
    }

    /// Gives an output buffer back.
    ///
    /// # Errors
    /// [`Error::IllegalState`] unless started, [`Error::NotOwned`].
    pub fn release_output_buffer(&mut self, index: usize) -> Result<()> {
        let call = "release output buffer";
        self.after(call, Call::UseOutput)?;
        let released = self.session(call)?.release_output(call, index);
        self.noting(released)
    }

    /// The decoder's process, while there is one; for those who diagnose.
    #[must_use]
    pub fn decoder_process(&self) -> Option<u32> {
        self.session.as_ref().map(Session::process)
    }

    /// What the service has done so far.
    ///
    /// # Errors
    /// [`Error::ServiceGone`], [`Error::Binder`].
    pub fn usage(&self) -> Result<Usage> {
        self.proxy.usage()
    }

    fn after(&self, call: &'static str, kind: Call) -> Result<State> {
        self.state.after(kind).ok_or(Error::IllegalState { call, state: self.state })
    }

    fn session(&mut self, call: &'static str) -> Result<&mut Session> {
        self.session.as_mut().ok_or(Error::IllegalState { call, state: self.state })
    }

    /// Goes to the state of error with an error that is not the caller's. The decoder is given up.
    fn noting<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| !error.is_callers()) {
            self.close();
            self.state = State::Error;
        }
        result
    }
}

/// The next output, or that it has another format than `format`.
fn output(session: &mut Session, format: Option<Format>) -> Option<Output> {
    let next = session.next_output_format()?;
    if format != Some(next) {
        return Some(Output::FormatChanged(next));
    }
    session.dequeue_output().map(|(index, info)| Output::Buffer(index, info))
}
