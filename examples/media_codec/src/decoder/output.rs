//! Output buffers as a sink for samples and pixels.

use std::io;
use std::sync::Mutex;

use super::decode::{Failure, Sink};
use super::{Channel, lock};
use crate::Format;
use crate::layout::{self, OUTPUT_SIZE, OUTPUTS};
use crate::port::Incoming;
use crate::record::{BufferFlags, FAILURE, Record};

/// Bytes in a buffer that the client gets without waiting for more: it has something to do meanwhile.
const ENOUGH: usize = 32 << 10;

/// Fills the buffers that the client has released.
pub(super) struct Outputs<'a> {
    channel: &'a Mutex<Channel>,
    is_free: [bool; OUTPUTS],
    format: Option<Format>,
}

impl<'a> Outputs<'a> {
    pub fn new(channel: &'a Mutex<Channel>) -> Outputs<'a> {
        Outputs { channel, is_free: [true; OUTPUTS], format: None }
    }

    /// The end of the stream, in an empty buffer.
    pub fn end(&mut self) -> Result<(), Failure> {
        let format = self.format.ok_or(Failure::Malformed("it holds nothing".to_owned()))?;
        let flags = BufferFlags::END_OF_STREAM.bits();
        self.last(&[], Record { flags, format: format.to_words(), ..Record::default() })
            .map_err(Failure::Sink)
    }

    /// Why there is no more, in a buffer of its own behind all that was decoded.
    pub fn fail(&mut self, reason: &str) -> io::Result<()> {
        let reason = &reason.as_bytes()[..reason.len().min(OUTPUT_SIZE)];
        self.last(reason, Record { flags: FAILURE, ..Record::default() })
    }

    /// A buffer of its own with these bytes and the record's other words, behind all others.
    fn last(&mut self, bytes: &[u8], record: Record) -> io::Result<()> {
        lock(self.channel).hand_over()?;
        let index = self.take()?;
        let mut channel = lock(self.channel);
        channel.port.mapping.write_at(layout::output(index), bytes).map_err(io::Error::other)?;
        channel.filling = Some(Record { index: index as u32, length: bytes.len() as u32, ..record });
        channel.hand_over()
    }

    /// Appends as much as fits to the buffer that is being filled, or to a free one; gives how much that was.
    fn append(&mut self, format: Format, time: i64, bytes: &[u8]) -> io::Result<usize> {
        let filling = lock(self.channel).filling;
        let record = match filling {
            Some(record) if record.format == format.to_words() => record,
            _ => {
                lock(self.channel).hand_over()?;
                Record { time, format: format.to_words(), ..Record::of(self.take()?) }
            }
        };
        let (start, unit) = (record.length as usize, format.unit());
        // Whole frames or rows.
        let length = bytes.len().min((OUTPUT_SIZE - start) / unit * unit);
        let mut channel = lock(self.channel);
        let place = layout::output(record.index as usize) + start as u64;
        channel.port.mapping.write_at(place, &bytes[..length]).map_err(io::Error::other)?;
        let length_now = start + length;
        channel.filling = Some(Record { length: length_now as u32, ..record });
        if length_now >= ENOUGH || OUTPUT_SIZE - length_now < unit {
            channel.hand_over()?;
        }
        Ok(length)
    }

    /// A free buffer; waits for one.
    fn take(&mut self) -> io::Result<usize> {
        let mut channel = lock(self.channel);
        loop {
            while let Some(record) = match channel.port.pop(Incoming::Output).map_err(io::Error::other)? {
                Ok(record) => record,
                Err(_) => return Err(channel.corrupt()),
            } {
                let index = usize::try_from(record.index).unwrap_or(usize::MAX);
                match self.is_free.get_mut(index) {
                    Some(is_free) if !*is_free => *is_free = true,
                    _ => return Err(channel.corrupt()),
                }
            }
            if let Some(index) = self.is_free.iter().position(|is_free| *is_free) {
                self.is_free[index] = false;
                channel.progress().map_err(io::Error::other)?;
                return Ok(index);
            }
            channel.port.wait(None).map_err(io::Error::other)?;
        }
    }
}

impl Sink for Outputs<'_> {
    fn write(&mut self, format: Format, mut time: i64, mut bytes: &[u8]) -> io::Result<()> {
        self.format = Some(format);
        while !bytes.is_empty() {
            let length = self.append(format, time, bytes)?;
            bytes = &bytes[length..];
            time = time.saturating_add(format.duration(length));
        }
        Ok(())
    }
}
