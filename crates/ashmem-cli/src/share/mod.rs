//! `ashmem share`: a file, or standard input, as a heap for all processes of the user.

mod input;
mod seals;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ashmem::{BuildError, Purgeable, Region, View};
use ashmem_binder::{HeapFlags, MemoryHeapBase};

use self::input::{Contents, Input};
use crate::error::Error;
use crate::served::{self, of_service};
use crate::signals::Endings;
use crate::text::size;

/// Bytes of a purgeable heap that are read again together: some of the blocks that have sums. Readers lease as many.
pub const PART: u64 = 4 << 20;

/// Share a file, or standard input, as a heap
///
/// The bytes are read into shared memory once. Processes of the same user find the heap
/// under NAME, with `ashmem cat` or any program that speaks Binder, and map it: no copy.
/// It is there until this command is interrupted; who has mapped it keeps it.
///
/// Exit status: 0 when it was interrupted, 2 when it could not be shared.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// What others find it by: letters, digits and _ - . /
    #[arg(value_name = "NAME")]
    name: String,
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Let others only read it, which the kernel enforces. With --purgeable, it enforces that for the
    /// descriptor they get: processes of the same user can open the memory anew, and write
    #[arg(long)]
    read_only: bool,
    /// Give the memory back when the system runs short of it and nobody is reading, and read FILE again when
    /// somebody does. If FILE has changed by then, readers get an error
    #[arg(long)]
    purgeable: bool,
    #[command(flatten)]
    place: served::Place,
}

/// Shares it until the program is interrupted.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let services = arguments.place.services()?;
    let name = arguments.name.as_str();
    // Said before a gigabyte is read.
    if services.check_service(name).map_err(of_service(name))?.is_some() {
        return Err(ashmem_binder::Error::NameTaken { name: name.to_owned() }.into());
    }
    let input = Input::open(&arguments.file)?;
    if arguments.purgeable && !input.is_lasting() {
        return Err(input.cannot_last());
    }
    let contents = input.read(name, arguments.purgeable)?;
    let bytes = contents.size;

    // Before the threads that serve are started, and not before all is read, which may be interrupted.
    let endings = Endings::hold_back().map_err(Error::Signals)?;
    let flags = if arguments.read_only { HeapFlags::READ_ONLY } else { HeapFlags::empty() };
    let heap = if arguments.purgeable {
        purgeable_heap(input, contents, flags)?
    } else {
        lasting_heap(contents.memory, flags)?
    };
    services.add_service(name, &heap.binder())?;
    // Whoever started it may not be interested.
    let _ = writeln!(io::stderr(), "ashmem: {name} is shared: {}", size(bytes));
    endings.wait().map_err(Error::Signals)?;
    // Its process ends, which says the same.
    let _ = services.remove_service(name);
    Ok(())
}

/// Never purged, since nothing could build it again once standard input is gone.
fn lasting_heap(memory: OwnedFd, flags: HeapFlags) -> Result<MemoryHeapBase, Error> {
    seals::seal(&memory, flags.contains(HeapFlags::READ_ONLY))?;
    Ok(MemoryHeapBase::from_region(Region::from_fd(memory)?, flags)?)
}

/// Unpinned while nobody reads it, and built again part by part for who does.
fn purgeable_heap(input: Input, contents: Contents, flags: HeapFlags) -> Result<MemoryHeapBase, Error> {
    let region = Region::from_fd(contents.memory)?;
    let sums = contents.sums;
    let build = move |part: &View<'_>| -> Result<(), Error> {
        let mut bytes = vec![0; usize::try_from(part.len()).unwrap_or(usize::MAX)];
        input.read_again(part.offset(), &mut bytes)?;
        // A file's times can be set back, and are the same for two changes in one tick.
        if !sums.are_right(part.offset(), &bytes) {
            return Err(input.changed());
        }
        Ok(part.write_at(0, &bytes)?)
    };
    let contents = Purgeable::<Error>::options().parts(PART).open(region.clone(), build)?;
    let heap = MemoryHeapBase::from_region(region, flags)?;
    // From here on it may go.
    drop(contents.get().map_err(unbuilt)?);
    heap.set_rebuild(move |range| {
        let built = contents.build(range);
        built.map(drop).map_err(|error| crate::with_causes(&unbuilt(error)))
    })?;
    Ok(heap)
}

fn unbuilt(error: BuildError<Error>) -> Error {
    match error {
        BuildError::Region(error) => error.into(),
        BuildError::Builder(error) => error,
    }
}
