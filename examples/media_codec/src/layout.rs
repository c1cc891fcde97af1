//! What is where in the region that a client and its decoder share.
//!
//! ```text
//!   0                                      CONTROL
//!   | media type, bells, progress, queues  | input buffers | output buffers |
//! ```

use crate::queue::WORDS;

/// The stream's [`MediaType`](crate::MediaType), written by the client before it queues the first buffer.
pub const MEDIA_TYPE: u64 = 0;
/// What the client sleeps on. In a cache line of its own, as all words are that one side writes and the other looks at.
pub const CLIENT_BELL: u64 = 64;
/// What the decoder sleeps on.
pub const DECODER_BELL: u64 = 128;
/// Changes whenever the decoder gets on. The service looks at it, and sees only whether it is another one.
pub const PROGRESS: u64 = 192;

const QUEUE: u64 = 4 * WORDS as u64;
/// Client to decoder: input buffers that hold something.
pub const INPUT_FILLED: u64 = 256;
/// Decoder to client: input buffers that were read.
pub const INPUT_EMPTY: u64 = INPUT_FILLED + QUEUE;
/// Decoder to client: output buffers that hold something.
pub const OUTPUT_FILLED: u64 = INPUT_EMPTY + QUEUE;
/// Client to decoder: output buffers that were released.
pub const OUTPUT_EMPTY: u64 = OUTPUT_FILLED + QUEUE;

/// Bytes of the control block.
pub const CONTROL: u64 = 4096;
const _: () = assert!(OUTPUT_EMPTY + QUEUE <= CONTROL);

/// How many input buffers there are.
pub const INPUTS: usize = 4;
/// Bytes of each.
pub const INPUT_SIZE: usize = 64 << 10;
/// How many output buffers there are.
pub const OUTPUTS: usize = 8;
/// Bytes of each: the widest row of pixels fits.
pub const OUTPUT_SIZE: usize = 256 << 10;
const _: () = assert!(INPUTS <= crate::queue::CAPACITY && OUTPUTS <= crate::queue::CAPACITY);

/// Bytes of the region.
pub const SIZE: u64 = CONTROL + (INPUTS * INPUT_SIZE + OUTPUTS * OUTPUT_SIZE) as u64;

/// Where an input buffer starts; `index` is checked by the caller.
pub(crate) fn input(index: usize) -> u64 {
    CONTROL + (index * INPUT_SIZE) as u64
}

/// Where an output buffer starts; `index` is checked by the caller.
pub(crate) fn output(index: usize) -> u64 {
    CONTROL + (INPUTS * INPUT_SIZE + index * OUTPUT_SIZE) as u64
}
