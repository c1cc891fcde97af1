//! What clients and the codec service say to each other: two calls, and a word on each codec's *lifeline*.
//!
//! The lifeline is a socket pair of a codec's own. Its ends tell each side when the other is gone, whatever it died of. When a decoder
//! ends, the service writes eight bytes to it that say how, and closes it. The client writes nothing.

use ashmem_binder::rsbinder::TransactionCode;

use crate::Ending;

/// What the service is found as, as Android's is.
pub const NAME: &str = "media.codec";
pub(crate) const INTERFACE: &str = "ashmem.example.IMediaCodecService";

/// Takes a media type's word; gives the region, the client's end of the lifeline, and the decoder's process.
pub(crate) const CREATE: TransactionCode = 1;
/// Gives what there is of [`Usage`].
pub(crate) const USAGE: TransactionCode = 2;

/// Codes of exceptions that are the service's own.
pub(crate) const BUSY: i32 = 1;
pub(crate) const UNSUPPORTED: i32 = 2;

/// What a service has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Codecs that are in use.
    pub codecs: u32,
    /// Decoders that were started, with those that wait for a codec.
    pub started: u64,
    /// Decoders that ended otherwise than by finishing their stream, or because their client had gone.
    pub lost: u64,
}

impl Ending {
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let (kind, value) = match self {
            Ending::Exited(status) => (1_u32, status as u32),
            Ending::Killed(signal) => (2, signal as u32),
            Ending::Stuck(milliseconds) => (3, milliseconds),
        };
        (u64::from(kind) << 32 | u64::from(value)).to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Option<Ending> {
        let word = u64::from_le_bytes(bytes);
        let value = word as u32;
        match word >> 32 {
            1 => Some(Ending::Exited(value as i32)),
            2 => Some(Ending::Killed(value as i32)),
            3 => Some(Ending::Stuck(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn endings_come_back(kind in 0_u32..5, value in any::<u32>()) {
            let bytes = (u64::from(kind) << 32 | u64::from(value)).to_le_bytes();
            match Ending::from_bytes(bytes) {
                Some(ending) => prop_assert_eq!(ending.to_bytes(), bytes),
                None => prop_assert!(!(1..=3).contains(&kind)),
            }
        }
    }
}
