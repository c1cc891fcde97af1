//! Shared memory in parcels: what interfaces take and give that are not served as heaps.

use std::ops::Deref;
use std::os::fd::OwnedFd;

use ashmem::{MemoryFile, SharedMemory};
use rsbinder::{
    Deserialize, DeserializeOption, Parcel, ParcelFileDescriptor, Serialize, SerializeOption, StatusCode,
};

use crate::{Error, Result};

/// [`SharedMemory`] that can be written to parcels and read from them: `android.os.SharedMemory` as an argument or result.
///
/// It travels as a [`ParcelFileDescriptor`], as rsbinder's own `SharedMemory` does, and the receiver learns size, protection and pin
/// state from the descriptor. What was narrowed by [`SharedMemory::set_protect`] before is narrow at the receiver: without WRITE the
/// kernel refuses to map it for writing (EPERM). Java's `SharedMemory.writeToParcel` writes the bare descriptor, without the
/// words that a `ParcelFileDescriptor` has before it; rsbinder does not let others write that.
///
/// # Errors
/// Writing one that is closed is `InvalidOperation`. Reading what is not shared memory is [`Error::status`] of
/// [`ashmem::Error::NotARegion`] (ENOTTY), and closes the descriptor.
///
/// # Examples
/// ```
/// use ashmem::{Protection, SharedMemory};
/// use ashmem_binder::ParcelableSharedMemory;
/// use ashmem_binder::rsbinder::Parcel;
///
/// let memory = ParcelableSharedMemory::from(SharedMemory::create("settings", 4096)?);
/// memory.map_read_write()?.write_at(0, b"dark mode")?;
/// assert!(memory.set_protect(Protection::READ)?);
///
/// let mut parcel = Parcel::new(); // a request, or a reply
/// parcel.write(&memory)?;
///
/// // In the process that gets it:
/// parcel.set_data_position(0);
/// let received: ParcelableSharedMemory = parcel.read()?;
/// assert_eq!(received.map_read_only()?.read_vec(0, 9)?, b"dark mode");
/// assert!(received.map_read_write().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ParcelableSharedMemory(
    /// The memory itself.
    pub SharedMemory,
);

impl Deref for ParcelableSharedMemory {
    type Target = SharedMemory;

    fn deref(&self) -> &SharedMemory {
        &self.0
    }
}

impl From<SharedMemory> for ParcelableSharedMemory {
    fn from(memory: SharedMemory) -> ParcelableSharedMemory {
        ParcelableSharedMemory(memory)
    }
}

impl From<ParcelableSharedMemory> for SharedMemory {
    fn from(memory: ParcelableSharedMemory) -> SharedMemory {
        memory.0
    }
}

impl Serialize for ParcelableSharedMemory {
    fn serialize(&self, parcel: &mut Parcel) -> Result<(), StatusCode> {
        let fd = self.try_clone_fd().map_err(Error::memory("write shared memory to parcel"))?;
        ParcelFileDescriptor::new(fd).serialize(parcel)
    }
}

impl SerializeOption for ParcelableSharedMemory {
    fn serialize_option(this: Option<&Self>, parcel: &mut Parcel) -> Result<(), StatusCode> {
        match this {
            Some(memory) => memory.serialize(parcel),
            None => ParcelFileDescriptor::serialize_option(None, parcel),
        }
    }
}

impl Deserialize for ParcelableSharedMemory {
    fn deserialize(parcel: &mut Parcel) -> Result<Self, StatusCode> {
        Ok(received(ParcelFileDescriptor::deserialize(parcel)?)?)
    }
}

impl DeserializeOption for ParcelableSharedMemory {
    fn deserialize_option(parcel: &mut Parcel) -> Result<Option<Self>, StatusCode> {
        let fd = ParcelFileDescriptor::deserialize_option(parcel)?;
        Ok(fd.map(received).transpose()?)
    }
}

fn received(fd: ParcelFileDescriptor) -> Result<ParcelableSharedMemory> {
    let memory = SharedMemory::from_fd(OwnedFd::from(fd));
    memory.map(ParcelableSharedMemory).map_err(Error::memory("read shared memory from parcel"))
}

/// A descriptor of a memory file, for a parcel. Who gets it opens it with [`memory_file_from`].
///
/// Stands for `MemoryFile.getParcelFileDescriptor`.
///
/// # Errors
/// [`Error::Memory`] as [`MemoryFile::try_clone_fd`]; its status is `InvalidOperation` when the file is closed.
///
/// # Examples
/// ```
/// use ashmem::MemoryFile;
/// use ashmem_binder::{memory_file_descriptor, memory_file_from};
///
/// let file = MemoryFile::create("value", 4)?;
/// let descriptor = memory_file_descriptor(&file)?; // goes to another process in a parcel
///
/// let received = memory_file_from(descriptor, 4)?;
/// file.write_at(0, &[1, 2, 3, 4])?;
/// let mut value = [0; 4];
/// received.read_at(0, &mut value)?;
/// assert_eq!(value, [1, 2, 3, 4]);
/// assert!(received.write_at(0, &[0]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn memory_file_descriptor(file: &MemoryFile) -> Result<ParcelFileDescriptor> {
    let fd = file.try_clone_fd().map_err(Error::memory("send memory file"))?;
    Ok(ParcelFileDescriptor::new(fd))
}

/// The first `length` bytes of a memory file that was received, mapped for reading only. What else it could be is asked by
/// [`ashmem::Region::from_fd`].
///
/// Stands for the hidden `MemoryFile(FileDescriptor, int, "r")`.
///
/// # Errors
/// [`Error::Memory`] as [`MemoryFile::from_fd_read_only`]: not a region, or shorter than that. The descriptor is closed then.
pub fn memory_file_from(descriptor: ParcelFileDescriptor, length: u64) -> Result<MemoryFile> {
    let file = MemoryFile::from_fd_read_only(OwnedFd::from(descriptor), length);
    file.map_err(Error::memory("receive memory file"))
}
