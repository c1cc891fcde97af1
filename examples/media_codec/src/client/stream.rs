//! A whole stream in one call.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use super::{Event, MediaCodec};
use crate::record::BufferFlags;
use crate::{Error, Format, MediaType, Result};

/// How long one wait is, within the caller's patience.
const WAIT: Duration = Duration::from_millis(500);

/// Decodes a stream from its first byte to its last: configures the codec, which must be uninitialized, feeds it, and hands what comes
/// out to `write`, buffer by buffer. The codec is uninitialized again afterwards, also after an error.
///
/// ```no_run
/// use std::fs::File;
/// use std::time::Duration;
///
/// use ashmem_binder::ServiceManager;
/// use media_codec::{MediaCodec, MediaType, decode_stream};
///
/// let mut codec = MediaCodec::create(&ServiceManager::new()?)?;
/// let mut pixels = Vec::new();
/// let file = File::open("picture.png")?;
/// decode_stream(&mut codec, MediaType::Png, file, Duration::from_secs(60), |_format, bytes| {
///     pixels.extend_from_slice(bytes);
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the codec's calls; [`Error::Stalled`] when nothing happens for `patience`; [`Error::Read`], [`Error::Write`].
pub fn decode_stream(
    codec: &mut MediaCodec,
    media_type: MediaType,
    source: impl Read,
    patience: Duration,
    write: impl FnMut(Format, &[u8]) -> io::Result<()>,
) -> Result<()> {
    codec.configure(media_type)?;
    let result = codec.start().and_then(|()| pump(codec, source, patience, write));
    codec.reset()?;
    result
}

fn pump(
    codec: &mut MediaCodec,
    mut source: impl Read,
    patience: Duration,
    mut write: impl FnMut(Format, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let mut bytes = Vec::new();
    let mut last = Instant::now();
    loop {
        match codec.next_event(WAIT.min(patience))? {
            Event::TryAgain if last.elapsed() >= patience => return Err(Error::Stalled(patience)),
            Event::TryAgain => continue,
            Event::Input(index) => {
                bytes.resize(MediaCodec::INPUT_CAPACITY, 0);
                let length = fill(&mut source, &mut bytes).map_err(Error::Read)?;
                codec.write_input(index, 0, &bytes[..length])?;
                let is_last = length < bytes.len();
                let flags = if is_last { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
                codec.queue_input_buffer(index, length, 0, flags)?;
            }
            Event::FormatChanged(_) => {}
            Event::Output(index, info) => {
                bytes.resize(info.length, 0);
                codec.read_output(index, 0, &mut bytes)?;
                codec.release_output_buffer(index)?;
                if let Some(format) = codec.output_format().filter(|_| !bytes.is_empty()) {
                    write(format, &bytes).map_err(Error::Write)?;
                }
                if info.flags.contains(BufferFlags::END_OF_STREAM) {
                    return Ok(());
                }
            }
        }
        last = Instant::now();
    }
}

/// Reads until the buffer is full or the source at its end.
fn fill(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match source.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
