//! What output buffers hold.

use std::fmt;

/// How a sample is written (`AudioFormat.ENCODING_PCM_*`); in the byte order of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Signed integers of 16 bits (`ENCODING_PCM_16BIT`): for sources of up to 16 bits.
    Pcm16,
    /// Floats of 32 bits, from -1 to 1 (`ENCODING_PCM_FLOAT`): for all others. Integers of 24 bits are exact in it.
    PcmFloat,
}

impl Encoding {
    /// Bytes of a sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Encoding::Pcm16 => 2,
            Encoding::PcmFloat => 4,
        }
    }
}

/// What output buffers hold (`MediaCodec.getOutputFormat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Whole frames of interleaved samples.
    Audio {
        /// Of a sample.
        encoding: Encoding,
        /// Frames in a second, 1 to 768,000.
        sample_rate: u32,
        /// Samples in a frame, 1 to 32.
        channels: u32,
    },
    /// Whole rows of pixels from top to bottom; a pixel is red, green, blue and alpha, a byte each.
    Image {
        /// Pixels in a row, 1 to 65,535.
        width: u32,
        /// Rows, 1 to 65,535.
        height: u32,
    },
}

/// A rate higher than any converter has.
const HIGHEST_RATE: u32 = 768_000;
const MOST_CHANNELS: u32 = 32;
/// JPEG has no larger ones.
const LARGEST_SIDE: u32 = 65_535;

impl Format {
    /// Bytes of a frame of audio, or of a row of pixels: buffers hold whole ones. At most 262,140.
    #[must_use]
    pub fn unit(self) -> usize {
        let unit = match self {
            Format::Audio { encoding, channels, .. } => encoding.bytes().saturating_mul(channels as usize),
            Format::Image { width, .. } => 4_usize.saturating_mul(width as usize),
        };
        unit.max(1)
    }

    /// How long so many bytes last, in microseconds; images do not.
    #[must_use]
    pub fn duration(self, bytes: usize) -> i64 {
        match self {
            Format::Audio { sample_rate, .. } => {
                let frames = (bytes / self.unit()) as u64;
                i64::try_from(frames.saturating_mul(1_000_000) / u64::from(sample_rate.max(1)))
                    .unwrap_or(i64::MAX)
            }
            Format::Image { .. } => 0,
        }
    }

    /// The format, if it is one that may be.
    pub(crate) fn checked(self) -> Option<Format> {
        let is_sane = match self {
            Format::Audio { sample_rate, channels, .. } => {
                (1..=HIGHEST_RATE).contains(&sample_rate) && (1..=MOST_CHANNELS).contains(&channels)
            }
            Format::Image { width, height } => {
                (1..=LARGEST_SIDE).contains(&width) && (1..=LARGEST_SIDE).contains(&height)
            }
        };
        is_sane.then_some(self)
    }

    pub(crate) fn to_words(self) -> [u32; 3] {
        match self {
            Format::Audio { encoding: Encoding::Pcm16, sample_rate, channels } => [1, sample_rate, channels],
            Format::Audio { encoding: Encoding::PcmFloat, sample_rate, channels } => {
                [2, sample_rate, channels]
            }
            Format::Image { width, height } => [3, width, height],
        }
    }

    pub(crate) fn from_words([kind, first, second]: [u32; 3]) -> Option<Format> {
        let audio = |encoding| Format::Audio { encoding, sample_rate: first, channels: second };
        let format = match kind {
            1 => audio(Encoding::Pcm16),
            2 => audio(Encoding::PcmFloat),
            3 => Format::Image { width: first, height: second },
            _ => return None,
        };
        format.checked()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Format::Audio { encoding, sample_rate, channels } => {
                let encoding = match encoding {
                    Encoding::Pcm16 => "16-bit samples",
                    Encoding::PcmFloat => "float samples",
                };
                let plural = if channels == 1 { "" } else { "s" };
                write!(formatter, "{sample_rate} Hz, {channels} channel{plural}, {encoding}")
            }
            Format::Image { width, height } => write!(formatter, "{width} x {height} pixels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::OUTPUT_SIZE;

    proptest! {
        #[test]
        fn any_words_give_a_sane_format_or_none(words in any::<[u32; 3]>(), kind in 0_u32..5, small in 0_u32..70_000) {
            for words in [words, [kind, words[1], words[2]], [kind, small, small], [kind, small, 2]] {
                if let Some(format) = Format::from_words(words) {
                    prop_assert_eq!(format.to_words(), words);
                    prop_assert!((1..=OUTPUT_SIZE).contains(&format.unit()), "a buffer holds one");
                }
            }
        }
    }
}
