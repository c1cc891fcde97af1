//! The mix as a WAV file of 16 bits and two channels, written by a thread of its own: a mixer does not wait for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use hound::{SampleFormat, WavSpec, WavWriter};
use rustix::fs::OFlags;

use crate::{Error, Result};

/// Periods on the way to the disk at most: seconds.
const WAITING: usize = 1024;
/// A WAV file counts its bytes in 32 bits; its header takes some.
const MOST_SAMPLES: u64 = (u32::MAX as u64 - 4096) / 2;
const CHANNELS: u16 = 2;

/// A file that is being written. What is wrong with it is said when it is [finished](WavOutput::finish), and disturbs nobody before.
pub struct WavOutput {
    path: PathBuf,
    blocks: Option<SyncSender<Vec<i16>>>,
    writer: Option<JoinHandle<io::Result<u64>>>,
    /// Whether the mixer waits for the disk.
    waits: bool,
    lost: u64,
}

impl WavOutput {
    /// Makes the file, or empties it. Once a second its header is brought up to date, so it is a WAV file even if this process is
    /// killed. With `waits`, [`WavOutput::write`] waits for a slow disk; without, it loses what the disk does not take.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path, rate: u32, waits: bool) -> Result<WavOutput> {
        let failed = |source: io::Error| Error::File { operation: "create", path: path.to_owned(), source };
        // A pipe that nobody reads is an error, and nothing to wait for.
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).custom_flags(nonblocking);
        let file = options.open(path).map_err(failed)?;
        let spec = WavSpec {
            channels: CHANNELS,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut file = WavWriter::new(BufWriter::new(file), spec).map_err(|error| failed(as_io(error)))?;
        // A file without sound is one, too; and a full disk is noticed at once.
        file.flush().map_err(|error| failed(as_io(error)))?;
        let (sender, blocks) = sync_channel(WAITING);
        let writer = thread::Builder::new().name("wav".to_owned());
        let writer = writer.spawn(move || write_all(file, &blocks, rate)).map_err(failed)?;
        Ok(WavOutput { path: path.to_owned(), blocks: Some(sender), writer: Some(writer), waits, lost: 0 })
    }

    /// Hands over samples, left and right in turns.
    pub fn write(&mut self, samples: &[i16]) {
        let Some(blocks) = &self.blocks else { return };
        if self.waits {
            // Fails when the file is broken: what it says is kept.
            let _ = blocks.send(samples.to_vec());
        } else if let Err(TrySendError::Full(_)) = blocks.try_send(samples.to_vec()) {
            self.lost += 1;
        }
    }

    /// Waits until all is written, and says how many frames that are.
    ///
    /// # Errors
    /// [`Error::File`] with the first thing that went wrong: the disk was full, or too slow.
    pub fn finish(mut self) -> Result<u64> {
        let lost = self.lost;
        let written = self.join().and_then(|frames| {
            let slow = || io::Error::other(format!("the disk was too slow: {lost} periods are missing"));
            if lost == 0 { Ok(frames) } else { Err(slow()) }
        });
        written.map_err(|source| Error::File { operation: "write", path: self.path.clone(), source })
    }

    fn join(&mut self) -> io::Result<u64> {
        self.blocks = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            _ => Err(io::Error::other("its thread has ended")),
        }
    }
}

impl Drop for WavOutput {
    fn drop(&mut self) {
        if self.writer.is_some() {
            // Whoever wants to know finishes it.
            let _ = self.join();
        }
    }
}

fn write_all(
    mut file: WavWriter<BufWriter<File>>,
    blocks: &Receiver<Vec<i16>>,
    rate: u32,
) -> io::Result<u64> {
    let second = u64::from(rate) * u64::from(CHANNELS);
    let (mut written, mut flushed) = (0, 0);
    for block in blocks {
        written += block.len() as u64;
        if written > MOST_SAMPLES {
            return Err(io::Error::other("a WAV file has 4 GiB at most"));
        }
        for sample in block {
            file.write_sample(sample).map_err(as_io)?;
        }
        if written - flushed >= second {
            flushed = written;
            file.flush().map_err(as_io)?;
        }
    }
    file.finalize().map_err(as_io)?;
    Ok(written / u64::from(CHANNELS))
}

fn as_io(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mix.wav");
        let mut output = WavOutput::create(&path, 8_000, true).unwrap();
        let samples: Vec<i16> = (0..20_000).collect();
        samples.chunks(160).for_each(|block| output.write(block));
        assert_eq!(output.finish().unwrap(), 10_000);
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.spec().channels), (8_000, 2));
        assert!(reader.samples::<i16>().map(Result::unwrap).eq(samples));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_at_once() {
        for path in ["/dev/full", "/no/such/file"] {
            let output = WavOutput::create(Path::new(path), 8_000, true);
            assert!(matches!(output, Err(Error::File { .. })), "{path}");
        }
    }
}
