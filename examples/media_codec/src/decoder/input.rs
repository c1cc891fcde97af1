//! Input buffers as a stream of bytes.

use std::io::{self, Read};
use std::sync::Mutex;

use super::{Channel, lock};
use crate::layout::{self, INPUT_SIZE, INPUTS};
use crate::port::Incoming;
use crate::record::{BufferFlags, Record};

/// Reads what the client queues, and gives the buffers back.
pub(super) struct Input<'a> {
    channel: &'a Mutex<Channel>,
    current: Option<Current>,
    is_at_end: bool,
}

/// The buffer that is being read: checked, and the client's record is not looked at again.
struct Current {
    index: usize,
    position: usize,
    length: usize,
    is_last: bool,
}

impl<'a> Input<'a> {
    pub fn new(channel: &'a Mutex<Channel>) -> Input<'a> {
        Input { channel, current: None, is_at_end: false }
    }

    /// Waits until there is something.
    pub fn wait_for_first(&mut self) -> io::Result<()> {
        self.current().map(drop)
    }

    /// The buffer to read from, which is empty only at the end of the stream; waits for it.
    fn current(&mut self) -> io::Result<Option<&mut Current>> {
        while !self.is_at_end && self.current.is_none() {
            let current = next(self.channel)?;
            if current.length > 0 {
                self.current = Some(current);
            } else {
                self.is_at_end = current.is_last;
                give_back(self.channel, current.index)?;
            }
        }
        Ok(self.current.as_mut())
    }
}

impl Read for Input<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let channel = self.channel;
        let Some(current) = self.current()? else { return Ok(0) };
        let length = bytes.len().min(current.length - current.position);
        let place = layout::input(current.index) + current.position as u64;
        // What is parsed is this copy.
        lock(channel).port.mapping.read_at(place, &mut bytes[..length]).map_err(io::Error::other)?;
        current.position += length;
        if current.position == current.length {
            let (index, is_last) = (current.index, current.is_last);
            self.current = None;
            self.is_at_end = is_last;
            give_back(channel, index)?;
        }
        Ok(length)
    }
}

fn next(channel: &Mutex<Channel>) -> io::Result<Current> {
    let mut channel = lock(channel);
    loop {
        match channel.port.pop(Incoming::Input).map_err(io::Error::other)? {
            Ok(Some(record)) => {
                channel.progress().map_err(io::Error::other)?;
                return checked(record).ok_or_else(|| channel.corrupt());
            }
            Ok(None) => {
                channel.hand_over()?;
                channel.port.wait(None).map_err(io::Error::other)?;
            }
            Err(_) => return Err(channel.corrupt()),
        }
    }
}

fn checked(record: Record) -> Option<Current> {
    let (index, length) = (usize::try_from(record.index).ok()?, usize::try_from(record.length).ok()?);
    let flags = BufferFlags::from_bits(record.flags)?;
    let is_last = flags.contains(BufferFlags::END_OF_STREAM);
    (index < INPUTS && length <= INPUT_SIZE).then_some(Current { index, position: 0, length, is_last })
}

fn give_back(channel: &Mutex<Channel>, index: usize) -> io::Result<()> {
    lock(channel).port.push(Incoming::Input, Record::of(index)).map_err(io::Error::other)
}
