//! Java's parcels as rsbinder's, and the other way round.
//!
//! rsbinder has no call for bytes alone, but its array of bytes is its length and the bytes: the length is overwritten.

use std::os::fd::OwnedFd;

use ashmem_binder::rsbinder::{self, Parcel, SIBinder, StatusCode};

use super::descriptor;

/// rsbinder sends no more at once; some bytes of it are its own.
pub(super) const MAX_SIZE: usize = (64 << 20) - 4096;
/// Size of the token of no interface: an empty string.
pub(super) const NO_TOKEN: usize = 8;
const WORD: usize = 4;

/// An object of a parcel, and the bytes in whose place it is.
pub(super) struct Place {
    pub(super) position: usize,
    pub(super) size: usize,
    pub(super) object: Object,
}

pub(super) enum Object {
    Binder(Option<SIBinder>),
    Descriptor(OwnedFd),
}

/// What Java sends.
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    /// By rising position.
    pub(super) places: Vec<Place>,
}

impl Outgoing {
    /// Writes it into a parcel that is empty.
    pub(super) fn write(self, parcel: &mut Parcel) -> rsbinder::Result<()> {
        let mut written = 0;
        for Place { position, size, object } in self.places {
            append(parcel, self.bytes.get(written..position).ok_or(StatusCode::BadValue)?)?;
            match object {
                Object::Binder(binder) => parcel.write(&binder)?,
                Object::Descriptor(descriptor) => descriptor::write(parcel, descriptor)?,
            }
            written = position + size;
        }
        append(parcel, self.bytes.get(written..).ok_or(StatusCode::BadValue)?)
    }
}

fn append(parcel: &mut Parcel, bytes: &[u8]) -> rsbinder::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let start = parcel.data_position();
    let Some((first, others)) = bytes.split_first_chunk::<WORD>() else {
        let mut word = [0; WORD];
        word[..bytes.len()].copy_from_slice(bytes);
        return parcel.write_i32(i32::from_le_bytes(word));
    };
    parcel.write(others)?;
    let end = parcel.data_position();
    parcel.set_data_position(start);
    parcel.write_i32(i32::from_le_bytes(*first))?;
    parcel.set_data_position(end);
    Ok(())
}

/// The bytes of a parcel that was received. Less than a word at its end, which nothing could read, is left out.
pub(super) fn bytes(parcel: &mut Parcel) -> rsbinder::Result<Vec<u8>> {
    parcel.set_data_position(0);
    let mut bytes = Vec::with_capacity(parcel.data_avail());
    while parcel.data_avail() >= size_of::<u128>() {
        bytes.extend_from_slice(&parcel.read::<u128>()?.to_le_bytes());
    }
    while parcel.data_avail() >= WORD {
        bytes.extend_from_slice(&parcel.read_i32()?.to_le_bytes());
    }
    Ok(bytes)
}
