//! Samples as a WAV file.

use std::io::{self, Seek, SeekFrom, Write};

use media_codec::{Encoding, Format};

/// `RIFF`, `WAVE`, a `fmt ` of 16 bytes, and `data`.
const HEADER: u32 = 44;
/// Bytes of samples: lengths have 32 bits.
const LONGEST: u64 = (u32::MAX - HEADER) as u64;

/// A WAV file in the making: its header is written when its length is known.
pub struct Sound<W> {
    file: W,
    format: Option<Format>,
    length: u64,
}

impl<W: Write + Seek> Sound<W> {
    pub fn new(mut file: W) -> io::Result<Sound<W>> {
        file.write_all(&[0; HEADER as usize])?;
        Ok(Sound { file, format: None, length: 0 })
    }

    /// Appends samples, which must all have one format.
    pub fn write(&mut self, format: Format, samples: &[u8]) -> io::Result<()> {
        if *self.format.get_or_insert(format) != format {
            return Err(io::Error::other("the format changes, and a WAV file has one"));
        }
        self.length += samples.len() as u64;
        // Now, and not when the disk is full of it.
        if self.length > LONGEST {
            return Err(io::Error::other("a WAV file has 4 GiB at most"));
        }
        self.file.write_all(samples)
    }

    pub fn finish(mut self) -> io::Result<W> {
        let Some(Format::Audio { encoding, sample_rate, channels }) = self.format else {
            return Err(io::Error::other("it has no samples"));
        };
        let length = u32::try_from(self.length).map_err(io::Error::other)?;
        let (kind, bytes) = match encoding {
            Encoding::Pcm16 => (1_u16, 2_u32),
            Encoding::PcmFloat => (3, 4),
        };
        let frame = bytes * channels;
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend(b"RIFF");
        header.extend((length + HEADER - 8).to_le_bytes());
        header.extend(b"WAVEfmt ");
        header.extend(16_u32.to_le_bytes());
        header.extend(kind.to_le_bytes());
        header.extend((channels as u16).to_le_bytes());
        header.extend(sample_rate.to_le_bytes());
        header.extend(sample_rate.saturating_mul(frame).to_le_bytes());
        header.extend((frame as u16).to_le_bytes());
        header.extend((8 * bytes as u16).to_le_bytes());
        header.extend(b"data");
        header.extend(length.to_le_bytes());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.flush()?;
        Ok(self.file)
    }
}
