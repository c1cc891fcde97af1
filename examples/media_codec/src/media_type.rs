//! What can be decoded.

use std::fmt;

/// The type of a stream (`MediaFormat.KEY_MIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `audio/wav`: RIFF with PCM.
    Wav,
    /// `audio/flac`.
    Flac,
    /// `audio/mpeg`: MPEG-1 and 2, layer III.
    Mp3,
    /// `image/png`.
    Png,
    /// `image/jpeg`.
    Jpeg,
    /// `application/x-fault`: no media. The stream's first byte says what the decoder is to do wrong; only decoders that were started
    /// for that take it.
    #[doc(hidden)]
    Fault,
}

impl MediaType {
    /// All that a service decodes.
    pub const ALL: [MediaType; 5] =
        [MediaType::Wav, MediaType::Flac, MediaType::Mp3, MediaType::Png, MediaType::Jpeg];

    /// The name that the type has in MIME.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MediaType::Wav => "audio/wav",
            MediaType::Flac => "audio/flac",
            MediaType::Mp3 => "audio/mpeg",
            MediaType::Png => "image/png",
            MediaType::Jpeg => "image/jpeg",
            MediaType::Fault => "application/x-fault",
        }
    }

    /// What a file is that starts with these bytes; a dozen are enough. `None` if it is none of those that can be decoded.
    ///
    /// ```
    /// use media_codec::MediaType;
    ///
    /// assert_eq!(MediaType::of(b"fLaC\0\0\0\x22"), Some(MediaType::Flac));
    /// assert_eq!(MediaType::of(b"%PDF-1.7"), None);
    /// ```
    #[must_use]
    pub fn of(start: &[u8]) -> Option<MediaType> {
        match start {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(MediaType::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(MediaType::Flac),
            [b'I', b'D', b'3', ..] => Some(MediaType::Mp3),
            [0x89, b'P', b'N', b'G', ..] => Some(MediaType::Png),
            [0xff, 0xd8, 0xff, ..] => Some(MediaType::Jpeg),
            // Eleven ones are where a frame starts, and the layer is 3.
            [0xff, second, ..] if second & 0xe6 == 0xe2 => Some(MediaType::Mp3),
            _ => None,
        }
    }

    pub(crate) fn to_word(self) -> u32 {
        match self {
            MediaType::Wav => 1,
            MediaType::Flac => 2,
            MediaType::Mp3 => 3,
            MediaType::Png => 4,
            MediaType::Jpeg => 5,
            MediaType::Fault => 6,
        }
    }

    pub(crate) fn from_word(word: u32) -> Option<MediaType> {
        [MediaType::Fault].into_iter().chain(MediaType::ALL).find(|media_type| media_type.to_word() == word)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for media_type in MediaType::ALL {
            assert_eq!(MediaType::from_word(media_type.to_word()), Some(media_type));
        }
        assert_eq!(MediaType::from_word(0), None);
        assert_eq!(MediaType::from_word(u32::MAX), None);
    }

    #[test]
    fn files_are_known_by_their_start() {
        assert_eq!(MediaType::of(b"RIFF\x24\0\0\0WAVEfmt "), Some(MediaType::Wav));
        assert_eq!(MediaType::of(b"RIFF\x24\0\0\0AVI fmt "), None);
        assert_eq!(MediaType::of(&[0xff, 0xfb, 0x90, 0x64]), Some(MediaType::Mp3));
        assert_eq!(MediaType::of(&[0xff, 0xd8, 0xff, 0xe0]), Some(MediaType::Jpeg));
        assert_eq!(MediaType::of(b"\x89PNG\r\n"), Some(MediaType::Png));
        assert_eq!(MediaType::of(b""), None);
    }
}
