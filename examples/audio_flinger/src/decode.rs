//! Sound out of files: WAV, FLAC and MP3, through symphonia.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use symphonia::core::audio::{AudioSpec, Channels};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use crate::{Error, Result};

/// Channels of a file at most.
const MOST_CHANNELS: usize = 32;
/// Samples of a packet at most, over all channels: what is larger is no sound that anybody made.
const MOST_SAMPLES: usize = 16 << 20;

/// A file that is decoded packet by packet.
///
/// Parts that are damaged are left out, and counted; a file that ends too early ends there.
pub struct Decoder {
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    channels: usize,
    decoded: Vec<f32>,
    folded: Vec<f32>,
    frames: u64,
    damaged: u64,
}

impl Decoder {
    /// Looks what the file is.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be opened, [`Error::Decode`] when it is no regular file, or there is no sound in it that is
    /// known.
    pub fn open(path: &Path) -> Result<Decoder> {
        let failed = |reason: String| Error::Decode { path: path.to_owned(), reason };
        let unreadable = |source| Error::File { operation: "open", path: path.to_owned(), source };
        // Others, pipes for instance, may never bring anything, and cannot be opened at once.
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(failed("it is no regular file".to_owned()));
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|error| failed(error.to_string()))?;
        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| failed("there is no sound in it".to_owned()))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let parameters = parameters.ok_or_else(|| failed("its sound is of an unknown kind".to_owned()))?;
        let channels = parameters.channels.as_ref().map_or(0, Channels::count);
        let rate = parameters.sample_rate.unwrap_or(0);
        if rate == 0 || !(1..=MOST_CHANNELS).contains(&channels) {
            return Err(failed("it does not say how many channels or frames a second it has".to_owned()));
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| failed(error.to_string()))?;
        let track = track.id;
        Ok(Decoder {
            path: path.to_owned(),
            format,
            decoder,
            track,
            rate,
            channels,
            decoded: Vec::new(),
            folded: Vec::new(),
            frames: 0,
            damaged: 0,
        })
    }

    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Channels of what comes out: 1 or 2.
    #[must_use]
    pub fn channels(&self) -> u32 {
        if self.channels == 1 { 1 } else { 2 }
    }

    /// Packets that were damaged so far.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next samples, the channels in turns; none at the end.
    ///
    /// # Errors
    /// [`Error::Decode`] when the file changes its rate or its channels, or when nothing in it was sound.
    pub fn next_samples(&mut self) -> Result<Option<&[f32]>> {
        let failed = |reason: String| Error::Decode { path: self.path.clone(), reason };
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // It ends in the middle of something.
                Err(error) => {
                    self.damaged += 1;
                    if self.frames == 0 {
                        return Err(failed(error.to_string()));
                    }
                    break;
                }
            };
            if packet.track_id != self.track {
                continue;
            }
            let sound = match self.decoder.decode(&packet) {
                Ok(sound) => sound,
                Err(MediaError::DecodeError(_) | MediaError::IoError(_)) => {
                    self.damaged += 1;
                    continue;
                }
                Err(error) => return Err(failed(error.to_string())),
            };
            if sound.frames() == 0 {
                continue;
            }
            if !is_same(sound.spec(), self.rate, self.channels) || sound.samples_interleaved() > MOST_SAMPLES
            {
                return Err(failed("its rate or its channels change on the way".to_owned()));
            }
            self.frames += sound.frames() as u64;
            sound.copy_to_vec_interleaved(&mut self.decoded);
            if self.channels <= 2 {
                return Ok(Some(&self.decoded));
            }
            fold(&self.decoded, self.channels, &mut self.folded);
            return Ok(Some(&self.folded));
        }
        if self.frames == 0 {
            return Err(failed("there is no sound in it".to_owned()));
        }
        Ok(None)
    }
}

fn is_same(spec: &AudioSpec, rate: u32, channels: usize) -> bool {
    spec.rate() == rate && spec.channels().count() == channels
}

/// Two channels of many: the first two as they are, all others on both sides at half the volume, and the sum no louder than before.
fn fold(samples: &[f32], channels: usize, into: &mut Vec<f32>) {
    let scale = 1.0 / (1.0 + (channels - 2) as f32 / 2.0);
    into.clear();
    into.extend(samples.chunks_exact(channels).flat_map(|frame| {
        let others: f32 = frame[2..].iter().sum::<f32>() / 2.0;
        [(frame[0] + others) * scale, (frame[1] + others) * scale]
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_channels_become_two() {
        let mut two = Vec::new();
        fold(&[1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 4, &mut two);
        assert_eq!(two, [0.5, 0.0, 1.0, 1.0]);
    }
}
