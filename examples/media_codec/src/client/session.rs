//! One stream with one decoder: the shared region, who owns which buffer, and how the decoder ends.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::service::Created;
use crate::layout::{self, INPUT_SIZE, INPUTS, MEDIA_TYPE, OUTPUT_SIZE, OUTPUTS};
use crate::port::{Incoming, Port};
use crate::record::{BufferFlags, FAILURE, Record};
use crate::{Ending, Error, Format, MediaType, Result};

/// A decoder that broke the bell, or a service that was stopped, is noticed after so long.
const SLICE: Duration = Duration::from_millis(100);
/// Of a decoder's own words about a stream, in bytes.
const LONGEST_REASON: usize = 300;

/// What is known of a filled output buffer (`MediaCodec.BufferInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferInfo {
    /// Bytes that it holds: whole frames or rows.
    pub length: usize,
    /// Of its first frame, in microseconds from the start of the stream; 0 for images.
    pub presentation_time: i64,
    /// [`BufferFlags::END_OF_STREAM`], or none.
    pub flags: BufferFlags,
}

#[derive(Debug)]
pub(super) struct Session {
    port: Port,
    lifeline: UnixStream,
    /// What the service has said so far.
    heard: Vec<u8>,
    inputs: Buffers<()>,
    outputs: Buffers<(BufferInfo, Format)>,
    /// Of the output buffers that were dequeued last, by index.
    lengths: [usize; OUTPUTS],
    /// Whether the last output buffer has arrived.
    is_complete: bool,
    /// What the decoder has to say about the stream, behind the output that waits.
    failure: Option<Error>,
    process: u32,
}

impl Session {
    pub fn new(created: Created, media_type: MediaType) -> Result<Session> {
        let Created { region, lifeline, process } = created;
        let mapping = region.map().map_err(Error::memory("map the codec's region"))?;
        let port = Port::of_client(mapping).ok_or(Error::Corrupt("its region has another size"))?;
        lifeline.set_nonblocking(true).map_err(Error::system("set up the lifeline"))?;
        // Before the first record, whose arrival the decoder waits for.
        let word = port.mapping.atomic_u32(MEDIA_TYPE).map_err(Error::memory("write the media type"))?;
        word.store(media_type.to_word(), Ordering::Relaxed);
        let mut inputs = Buffers::new(INPUTS);
        (0..INPUTS).for_each(|index| inputs.arrive(index, ()));
        Ok(Session {
            port,
            lifeline,
            heard: Vec::new(),
            inputs,
            outputs: Buffers::new(OUTPUTS),
            lengths: [0; OUTPUTS],
            is_complete: false,
            failure: None,
            process,
        })
    }

    pub fn process(&self) -> u32 {
        self.process
    }

    /// Waits until `ready` finds something, at most as long as `timeout`.
    pub fn wait_for<T>(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut(&mut Session) -> Option<T>,
    ) -> Result<Option<T>> {
        let until = Instant::now().checked_add(timeout);
        loop {
            self.collect()?;
            if let Some(found) = ready(self) {
                return Ok(Some(found));
            }
            // The output that waits comes first, also where somebody waits for input.
            let has_waiting = self.has_waiting();
            if let Some(failure) = self.failure.take_if(|_| !has_waiting) {
                return Err(failure);
            }
            if !self.is_complete {
                self.check()?;
            }
            let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            self.port.wait(Some(left.min(SLICE))).map_err(Error::memory("wait for the decoder"))?;
        }
    }

    /// Takes what the decoder has handed over, and checks all of it.
    fn collect(&mut self) -> Result<()> {
        while let Some(record) = self.pop(Incoming::Input)? {
            let index = self.inputs.of_codec(record.index);
            self.inputs
                .arrive(index.ok_or(Error::Corrupt("an input buffer that it does not have comes back"))?, ());
        }
        while let Some(record) = self.pop(Incoming::Output)? {
            let index = self.outputs.of_codec(record.index);
            let index = index.ok_or(Error::Corrupt("an output buffer that it does not have is filled"))?;
            if self.is_complete {
                return Err(Error::Corrupt("something comes after the end of the stream"));
            }
            let length = record.length as usize;
            if length > OUTPUT_SIZE {
                return Err(Error::Corrupt("an output buffer holds more than it can"));
            }
            if record.flags == FAILURE {
                self.failure = Some(self.failure(index, length));
                self.is_complete = true;
                continue;
            }
            let flags = BufferFlags::from_bits(record.flags);
            let flags = flags.ok_or(Error::Corrupt("a buffer has flags that do not exist"))?;
            let format = Format::from_words(record.format);
            let format = format.ok_or(Error::Corrupt("a format that cannot be"))?;
            if length % format.unit() != 0 {
                return Err(Error::Corrupt("an output buffer holds half a frame"));
            }
            self.is_complete = flags.contains(BufferFlags::END_OF_STREAM);
            let info = BufferInfo { length, presentation_time: record.time, flags };
            self.outputs.arrive(index, (info, format));
        }
        Ok(())
    }

    fn pop(&mut self, kind: Incoming) -> Result<Option<Record>> {
        let popped = self.port.pop(kind).map_err(Error::memory("read a queue"))?;
        popped.map_err(|_| Error::Corrupt("a queue holds more than it can"))
    }

    /// The decoder's own words, made harmless.
    fn failure(&self, index: usize, length: usize) -> Error {
        let mut reason = vec![0; length.min(LONGEST_REASON)];
        if let Err(error) = self.port.mapping.read_at(layout::output(index), &mut reason) {
            return Error::memory("read an output buffer")(error);
        }
        let reason = String::from_utf8_lossy(&reason);
        let harmless = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Error::Malformed(reason.chars().map(harmless).collect())
    }

    /// Whether the decoder lives. What it handed over before it ended comes first.
    fn check(&mut self) -> Result<()> {
        let mut bytes = [0; 8];
        let error = loop {
            match self.lifeline.read(&mut bytes) {
                Ok(0) => break self.ending(),
                Ok(length) => self.heard.extend(&bytes[..length.min(bytes.len())]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Error::ServiceGone,
            }
            if self.heard.len() >= bytes.len() {
                break self.ending();
            }
        };
        self.collect()?;
        if self.is_complete || self.has_waiting() {
            return Ok(());
        }
        Err(error)
    }

    fn ending(&self) -> Error {
        let bytes: Option<[u8; 8]> = self.heard.get(..8).and_then(|bytes| bytes.try_into().ok());
        bytes.and_then(Ending::from_bytes).map_or(Error::ServiceGone, Error::DecoderEnded)
    }

    fn has_waiting(&self) -> bool {
        self.outputs.next().is_some()
    }

    pub fn dequeue_input(&mut self) -> Option<usize> {
        self.inputs.dequeue().map(|(index, ())| index)
    }

    pub fn next_output_format(&self) -> Option<Format> {
        self.outputs.next().map(|(_, (_, format))| *format)
    }

    pub fn dequeue_output(&mut self) -> Option<(usize, BufferInfo)> {
        let (index, (info, _)) = self.outputs.dequeue()?;
        if let Some(length) = self.lengths.get_mut(index) {
            *length = info.length;
        }
        Some((index, info))
    }

    pub fn write_input(&self, call: &'static str, index: usize, offset: usize, bytes: &[u8]) -> Result<()> {
        self.require_input(call, index, offset, bytes.len())?;
        let place = layout::input(index) + offset as u64;
        self.port.mapping.write_at(place, bytes).map_err(Error::memory("write an input buffer"))
    }

    fn require_input(&self, call: &'static str, index: usize, offset: usize, length: usize) -> Result<()> {
        if !self.inputs.is_of_client(index) {
            return Err(Error::NotOwned { call, index });
        }
        require_inside(call, offset, length, INPUT_SIZE)
    }

    pub fn queue_input(
        &mut self,
        call: &'static str,
        index: usize,
        length: usize,
        time: i64,
        flags: BufferFlags,
    ) -> Result<()> {
        self.require_input(call, index, 0, length)?;
        let record = Record {
            length: length as u32,
            // Others of the flags mean nothing here.
            flags: (flags & BufferFlags::END_OF_STREAM).bits(),
            time,
            ..Record::of(index)
        };
        self.port.push(Incoming::Input, record).map_err(Error::memory("queue an input buffer"))?;
        self.inputs.hand_over(index);
        Ok(())
    }

    pub fn read_output(
        &self,
        call: &'static str,
        index: usize,
        offset: usize,
        bytes: &mut [u8],
    ) -> Result<()> {
        if !self.outputs.is_of_client(index) {
            return Err(Error::NotOwned { call, index });
        }
        require_inside(call, offset, bytes.len(), self.lengths.get(index).copied().unwrap_or(0))?;
        let place = layout::output(index) + offset as u64;
        self.port.mapping.read_at(place, bytes).map_err(Error::memory("read an output buffer"))
    }

    pub fn release_output(&mut self, call: &'static str, index: usize) -> Result<()> {
        if !self.outputs.is_of_client(index) {
            return Err(Error::NotOwned { call, index });
        }
        self.port
            .push(Incoming::Output, Record::of(index))
            .map_err(Error::memory("release an output buffer"))?;
        self.outputs.hand_over(index);
        Ok(())
    }

    /// The shared region, for tests that write rubbish into it.
    #[cfg(test)]
    pub fn mapping(&self) -> &ashmem::Mapping {
        &self.port.mapping
    }
}

fn require_inside(call: &'static str, offset: usize, length: usize, capacity: usize) -> Result<()> {
    if length > capacity || offset > capacity - length {
        return Err(Error::TooLong { call, offset, length, capacity });
    }
    Ok(())
}
