//! The end that reads.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::end::End;
use super::positions::Side;
use super::{PREFIX, Ring, Window, framed};
use crate::{Error, Result};

const OPERATION: &str = "receive from ring";

/// The end of a [`Ring`] that reads; made by [`Ring::consumer`].
///
/// What it has not consumed when the process is killed is there for the next consumer. As a [`std::io::Read`] it waits
/// for bytes, and ends when there is no producer any more.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// let ring = ashmem::Ring::create("requests", 4096)?;
/// let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
/// let mut message = Vec::new();
/// assert!(!consumer.try_receive(&mut message)?);
///
/// producer.send(b"one")?;
/// producer.send(b"two")?;
/// drop(producer);
/// consumer.receive(&mut message)?;
/// assert_eq!(message, b"one");
/// assert_eq!(consumer.receive_with(|message| message.len())?, 3);
/// assert!(matches!(consumer.receive(&mut message), Err(ashmem::Error::RingPeerGone { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    end: End,
}

impl Consumer {
    pub(super) fn claim(ring: &Ring) -> Result<Consumer> {
        Ok(Consumer { end: End::claim(ring, Side::Consumer)? })
    }

    /// Bytes that fit into the ring.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.end.capacity()
    }

    /// Bytes consumed since the ring was made, by all its consumers; a message counts with its length and padding. It
    /// wraps.
    ///
    /// A consumer that takes over from one that was killed learns from it what that had consumed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.end.position()
    }

    /// Bytes that could be read now; messages count with their lengths and padding.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn available(&mut self) -> Result<u64> {
        self.end.available(u64::MAX)
    }

    /// Waits until there is something to read; false when that took longer than `timeout`. Without one, it waits for as long as
    /// there is a producer, or there was none yet.
    ///
    /// # Errors
    /// [`Error::RingPeerGone`], [`Error::RingCorrupt`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        self.end.wait(1, timeout, OPERATION)
    }

    /// Reads as many bytes into `into` as there are, and says how many that were.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn try_read(&mut self, into: &mut [u8]) -> Result<usize> {
        let available = self.end.available(into.len() as u64)?;
        // No truncation: at most the length of `into`.
        let len = available.min(into.len() as u64) as usize;
        if len > 0 {
            self.end.window(0, len as u64).read_at(0, &mut into[..len])?;
            self.end.commit(len as u64)?;
        }
        Ok(len)
    }

    /// Waits until there are any bytes, then reads as many as there are: 0 only when `timeout` is over, or `into`
    /// is empty.
    ///
    /// # Errors
    /// As [`Consumer::wait`].
    pub fn read_within(&mut self, into: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        if into.is_empty() || !self.end.wait(1, timeout, "read from ring")? {
            return Ok(0);
        }
        match self.try_read(into)? {
            // Not 0, which would be the end of the stream.
            0 => Err(Error::RingCorrupt { reason: "bytes were taken back" }),
            len => Ok(len),
        }
    }

    /// Receives a message, if there is one, in place of what `message` holds.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`]; [`Error::System`] with ENOMEM when there is no memory for the message.
    #[inline]
    pub fn try_receive(&mut self, message: &mut Vec<u8>) -> Result<bool> {
        let Some(found) = self.peek()? else { return Ok(false) };
        // No truncation: it is mapped.
        let len = found.len as usize;
        // As long as the ring at most, but the ring may be anybody's.
        message
            .try_reserve(len.saturating_sub(message.len()))
            .map_err(|_| Error::system(OPERATION)(Errno::NOMEM))?;
        message.resize(len, 0);
        found.window().read_at(0, message)?;
        found.consume()?;
        Ok(true)
    }

    /// Receives a message in place of what `message` holds; waits for one.
    ///
    /// # Errors
    /// Those of [`Consumer::try_receive`]; [`Error::RingPeerGone`].
    #[inline]
    pub fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        self.receive_within(message, None).map(drop)
    }

    /// Receives a message in place of what `message` holds; false when there was none within `timeout`.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    #[inline]
    pub fn receive_within(&mut self, message: &mut Vec<u8>, timeout: Option<Duration>) -> Result<bool> {
        Ok(self.end.wait(1, timeout, OPERATION)? && self.try_receive(message)?)
    }

    /// Waits for a message, shows it to `look` in its place, and consumes it. If `look` panics, it is not consumed.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    pub fn receive_with<T>(&mut self, look: impl FnOnce(Window<'_>) -> T) -> Result<T> {
        self.end.wait(1, None, OPERATION)?;
        let Some(message) = self.peek()? else {
            return Err(Error::RingCorrupt { reason: "a message was taken back" });
        };
        let seen = look(message.window());
        message.consume()?;
        Ok(seen)
    }

    /// The next message, in its place, if there is one.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Message<'_>>> {
        let available = self.end.available(1)?;
        if available == 0 {
            return Ok(None);
        }
        if available < PREFIX {
            return Err(Error::RingCorrupt { reason: "there are bytes where a message should be" });
        }
        let mut prefix = [0; PREFIX as usize];
        self.end.window(0, PREFIX).read_at(0, &mut prefix)?;
        let len = u64::from_ne_bytes(prefix);
        let taken = framed(len)
            .filter(|taken| *taken <= available)
            .ok_or(Error::RingCorrupt { reason: "a message is longer than what is committed" })?;
        Ok(Some(Message { end: &mut self.end, prefix: PREFIX, len, taken }))
    }

    /// Up to `most` bytes, in their place: as many as there are now, `None` when there are none.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn peek_bytes(&mut self, most: u64) -> Result<Option<Message<'_>>> {
        let len = self.end.available(most)?.min(most);
        Ok((len > 0).then_some(Message { end: &mut self.end, prefix: 0, len, taken: len }))
    }
}

/// Waits for bytes. Answers 0 when there is no producer any more.
impl io::Read for Consumer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.read_within(into, None) {
            Err(Error::RingPeerGone { .. }) => Ok(0),
            answer => Ok(answer?),
        }
    }
}

/// A message, or bytes, that a consumer looks at. Dropping it leaves it in the ring. Made by [`Consumer::peek`].
#[derive(Debug)]
pub struct Message<'a> {
    end: &'a mut End,
    /// Bytes of the length in front.
    prefix: u64,
    len: u64,
    /// Bytes with the length and padding.
    taken: u64,
}

impl Message<'_> {
    /// The bytes. The producer should leave them alone until they are consumed; a hostile one does not.
    #[must_use]
    #[inline]
    pub fn window(&self) -> Window<'_> {
        self.end.window(self.prefix, self.len)
    }

    /// Where the consumer will be when this is consumed: see [`Consumer::position`].
    #[must_use]
    pub fn end_position(&self) -> u64 {
        self.end.position().wrapping_add(self.taken)
    }

    /// Gives the room back to the producer.
    ///
    /// # Errors
    /// [`Error::System`].
    #[inline]
    pub fn consume(self) -> Result<()> {
        self.end.commit(self.taken)
    }
}
