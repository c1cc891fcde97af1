//! The driver's ioctls, raw, as a Rust program would make them.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unsafe_code, reason = "ioctl(2), and memory of the device")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const SET_NAME: u64 = 0x4100_7701;
const GET_NAME: u64 = 0x8100_7702;
const SET_SIZE: u64 = 0x4008_7703;
const GET_SIZE: u64 = 0x7704;
const PIN: u64 = 0x4008_7707;
const UNPIN: u64 = 0x4008_7708;
const PIN_STATUS: u64 = 0x7709;
const PURGE_ALL: u64 = 0x770a;

/// Opens the device.
pub fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/ashmem", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

pub fn set_name(fd: impl AsFd, name: &[u8]) -> Result<i32, Errno> {
    let mut bytes = [0_u8; 256];
    bytes[..name.len()].copy_from_slice(name);
    pointing(fd, SET_NAME, &mut bytes)
}

pub fn name(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = [0_u8; 256];
    pointing(fd, GET_NAME, &mut bytes)?;
    Ok(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}

pub fn set_size(fd: impl AsFd, size: u64) -> Result<i32, Errno> {
    valued(fd, SET_SIZE, size)
}

pub fn size(fd: impl AsFd) -> Result<i32, Errno> {
    valued(fd, GET_SIZE, 0)
}

pub fn purge_all(fd: impl AsFd) -> Result<i32, Errno> {
    valued(fd, PURGE_ALL, 0)
}

/// Offset and length are in bytes.
pub fn pin(fd: impl AsFd, offset: u32, length: u32) -> Result<i32, Errno> {
    pinning(fd, PIN, offset, length)
}

pub fn unpin(fd: impl AsFd, offset: u32, length: u32) -> Result<i32, Errno> {
    pinning(fd, UNPIN, offset, length)
}

pub fn pin_status(fd: impl AsFd, offset: u32, length: u32) -> Result<i32, Errno> {
    pinning(fd, PIN_STATUS, offset, length)
}

fn pinning(fd: impl AsFd, request: u64, offset: u32, length: u32) -> Result<i32, Errno> {
    let mut bytes = [0; 256];
    bytes[..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..8].copy_from_slice(&length.to_ne_bytes());
    pointing(fd, request, &mut bytes)
}

fn pointing(fd: impl AsFd, request: u64, bytes: &mut [u8; 256]) -> Result<i32, Errno> {
    // SAFETY: no request of this driver reads or writes more than 256 bytes, and any bytes are valid.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, bytes.as_mut_ptr()) };
    outcome(result)
}

fn valued(fd: impl AsFd, request: u64, value: u64) -> Result<i32, Errno> {
    // SAFETY: these requests take a number, not a pointer.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, value) };
    outcome(result)
}

fn outcome(result: libc::c_int) -> Result<i32, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// An area's memory, which others write, too.
pub struct Memory {
    address: *mut u8,
    length: usize,
}

impl Memory {
    /// Maps all of an area.
    pub fn map(fd: impl AsFd, length: usize) -> Result<Memory, Errno> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel has room.
        let address = unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, fd, 0) }?;
        Ok(Memory { address: address.cast(), length })
    }

    pub fn fill(&self, byte: u8) {
        for at in 0..self.length {
            // SAFETY: inside the mapping, which is there until drop.
            let place = unsafe { self.address.add(at) };
            // SAFETY: as above; volatile, for others have the memory, too.
            unsafe { place.write_volatile(byte) };
        }
    }

    /// Writes to every page.
    pub fn touch(&self, byte: u8) {
        for at in (0..self.length).step_by(4096) {
            // SAFETY: inside the mapping, which is there until drop.
            let place = unsafe { self.address.add(at) };
            // SAFETY: as above; volatile, for others have the memory, too.
            unsafe { place.write_volatile(byte) };
        }
    }

    pub fn read(&self, at: usize) -> u8 {
        assert!(at < self.length);
        // SAFETY: inside the mapping, which is there until drop.
        let place = unsafe { self.address.add(at) };
        // SAFETY: as above; volatile, for others have the memory, too.
        unsafe { place.read_volatile() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing points into it any more.
        let _ = unsafe { munmap(self.address.cast(), self.length) };
    }
}
