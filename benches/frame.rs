//! 64 MiB that one process fills and another one sums, and how word of them goes over a Unix socket.
//!
//! The benchmark in `iceoryx2/` uses this file, too: there the filling, the summing and this library's side are the same code.
#![allow(unsafe_code, reason = "maps memory and reads what another process writes")]

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};

use ashmem::{Buffer, Imports, Mapping, Pool};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::{fail, ok};

/// Bytes in a frame.
pub const FRAME: usize = 64 << 20;

/// Bytes in a word.
pub const WORD: usize = size_of::<u64>();

/// What the words of a frame sum up to when each of its bytes is `value`.
pub fn expected(value: u8) -> u64 {
    u64::from_ne_bytes([value; WORD]).wrapping_mul((FRAME / WORD) as u64)
}

/// The sum of a mapping's words.
pub fn sum_mapping(mapping: &Mapping) -> u64 {
    // SAFETY: the mapping is readable (its caller's are), page-aligned, and as long as it says.
    unsafe { sum_raw(mapping.as_ptr().cast(), mapping.len() as usize / WORD) }
}

/// The sum of the words in `bytes`, which start at a word's boundary.
pub fn sum_bytes(bytes: &[u8]) -> u64 {
    assert!(bytes.as_ptr().cast::<u64>().is_aligned());
    // SAFETY: readable and aligned, and that long.
    unsafe { sum_raw(bytes.as_ptr().cast(), bytes.len() / WORD) }
}

/// The sum of `count` words that another process may write.
///
/// # Safety
/// They must be readable and aligned.
unsafe fn sum_raw(words: *const u64, count: usize) -> u64 {
    const LANES: usize = 8;
    let mut sums = [0_u64; LANES];
    let lanes = count / LANES * LANES;
    for start in (0..lanes).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let word = words.wrapping_add(start + lane);
            // SAFETY: below `count`.
            *sum = sum.wrapping_add(unsafe { word.read_volatile() });
        }
    }
    let rest = (lanes..count).map(|place| {
        let word = words.wrapping_add(place);
        // SAFETY: below `count`.
        unsafe { word.read_volatile() }
    });
    sums.into_iter().chain(rest).fold(0, u64::wrapping_add)
}

/// A frame in a file, by bare system calls.
pub struct RawFrame {
    start: NonNull<u8>,
}

// SAFETY: a mapping is an address range of the process, usable and unmappable from any thread.
unsafe impl Send for RawFrame {}

impl RawFrame {
    /// Maps a file of that size for writing, or for reading only.
    pub fn map(file: impl AsFd, writable: bool) -> RawFrame {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a null hint without MAP_FIXED replaces no mapping.
        let start = ok(unsafe { mmap(ptr::null_mut(), FRAME, protection, MapFlags::SHARED, file, 0) });
        let Some(start) = NonNull::new(start.cast()) else { fail("mmap: a null pointer") };
        RawFrame { start }
    }

    /// Sets every byte. The frame must be mapped for writing.
    pub fn fill(&mut self, value: u8) {
        // SAFETY: that many bytes are mapped.
        unsafe { self.start.write_bytes(value, FRAME) }
    }

    /// The sum of its words.
    pub fn sum(&self) -> u64 {
        // SAFETY: mapped, readable and page-aligned.
        unsafe { sum_raw(self.start.as_ptr().cast(), FRAME / WORD) }
    }
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing uses it any more.
        ok(unsafe { munmap(self.start.as_ptr().cast(), FRAME) });
    }
}

/// One end of a connection for numbers, each with a descriptor if there is one to hand over.
pub struct Link {
    stream: UnixStream,
}

impl Link {
    pub fn new(stream: UnixStream) -> Link {
        Link { stream }
    }

    pub fn send(&self, number: u64, descriptor: Option<BorrowedFd<'_>>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            fail("no room for a descriptor");
        }
        let bytes = number.to_ne_bytes();
        let sent = ok(sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL));
        assert_eq!(sent, bytes.len());
    }

    /// The next number; `None` when the other end is closed.
    pub fn receive(&self) -> Option<(u64, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut number = [0; WORD];
        let mut target = [IoSliceMut::new(&mut number)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
        let received = ok(recvmsg(&self.stream, &mut target, &mut ancillary, flags)).bytes;
        if received == 0 {
            return None;
        }
        assert_eq!(received, number.len());
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Some((u64::from_ne_bytes(number), descriptor))
    }

    /// The answer to what was sent, which must be the sum of a frame of this value.
    pub fn receive_sum(&self, value: u8) {
        match self.receive() {
            Some((sum, None)) if sum == expected(value) => {}
            Some(_) => fail("the consumer has seen another frame"),
            None => fail("the consumer has ended"),
        }
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8]) {
        ok((&self.stream).write_all(bytes));
    }

    /// Receives bytes as they are, as many as `into` has; false when the other end is closed.
    pub fn receive_bytes(&self, into: &mut [u8]) -> bool {
        match (&self.stream).read_exact(into) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            result => {
                ok(result);
                true
            }
        }
    }
}

/// This library's producer: a buffer of the pool, filled and handed over. It is to be given back when it was summed.
pub fn send_pooled(pool: &Pool, link: &Link, value: u8) -> Buffer {
    let buffer = ok(pool.take(FRAME as u64));
    ok(buffer.fill(0, FRAME as u64, value));
    link.send(0, Some(buffer.region().as_fd()));
    buffer
}

/// The same to the end.
#[allow(dead_code, reason = "the comparison with iceoryx2 goes frame by frame")]
pub fn produce_pooled(pool: &Pool, link: &Link, value: u8) {
    let _buffer = send_pooled(pool, link, value);
    link.receive_sum(value);
}

/// This library's consumer, to the end of the connection.
pub fn consume_pooled(link: &Link) {
    let imports = Imports::new(4);
    while let Some((_, descriptor)) = link.receive() {
        let Some(descriptor) = descriptor else { fail("no descriptor came") };
        let import = ok(imports.open(descriptor));
        link.send(sum_mapping(&import), None);
    }
}
