//! `ashmem cat`: the bytes of a heap, or of a window of one, to standard output.

mod output;

use std::io::{self, IsTerminal};
use std::ops::Range;
use std::os::fd::AsFd;

use ashmem::{Lease, Region, page_size};
use rustix::fs::{SealFlags, fcntl_get_seals};

use self::output::Output;
use crate::error::Error;
use crate::progress::Progress;
use crate::served::{self, Served, of_service};
use crate::share::PART;

/// How often contents are built for one reader before he gives up. What he leases is not taken from him, so once is enough,
/// unless somebody takes pages by force.
const ATTEMPTS: usize = 3;

/// Write a shared heap to standard output
///
/// Contents that were purged meanwhile are built again by the process that serves them, which may take
/// up to a minute for each 4 MiB.
///
/// Exit status: 0 when all was written, or nobody reads any more; 2 when it could not be.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The name of a heap, or of a window of one
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: served::Place,
}

/// Writes it.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let name = arguments.name.as_str();
    let services = arguments.place.services()?;
    let binder = services
        .check_service(name)
        .map_err(of_service(name))?
        .ok_or_else(|| ashmem_binder::Error::NoSuchService { name: name.to_owned() })?;
    let served = Served::from_binder(name, &binder)?;
    match write(name, &served) {
        // Who read has seen enough.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write(name: &str, served: &Served) -> Result<(), Error> {
    let heap = served.heap().map_err(of_service(name))?;
    let bytes = served.bytes().map_err(of_service(name))?;
    let bytes = heap.offset() + bytes.start..heap.offset() + bytes.end;
    let size = bytes.end - bytes.start;
    let region = heap.region().map_err(of_service(name))?;
    let lasts = can_never_be_purged(region)?;
    let mut output = Output::new(region, size)?;
    let mut progress = Progress::new("writing", Some(size), !io::stdout().is_terminal());
    let mut start = bytes.start;
    while start < bytes.end {
        // Whole parts, for those are built together.
        let end = (start / PART + 1).saturating_mul(PART).min(bytes.end);
        let _lease = if lasts { None } else { Some(lease(name, served, start..end)?) };
        output.write(region.as_fd(), start..end)?;
        progress.add(end - start);
        start = end;
    }
    Ok(())
}

/// Whether the region has no control block, and no room for one. A lease would only cost time: the first of a process with several
/// threads takes some 10 ms, in which the kernel enlarges its table of descriptors.
fn can_never_be_purged(region: &Region) -> Result<bool, Error> {
    let seals = fcntl_get_seals(region.as_fd()).map_err(|errno| Error::Read(errno.into()))?;
    Ok(seals.contains(SealFlags::GROW) && !region.has_control_block())
}

/// Pages that are there.
struct Held<'a> {
    _pages: Lease<'a>,
    /// What they are built together with.
    _part: Option<Lease<'a>>,
}

/// Keeps the pages of a range of the region, and sees to it that their contents are there.
fn lease<'a>(name: &str, served: &'a Served, bytes: Range<u64>) -> Result<Held<'a>, Error> {
    let heap = served.heap().map_err(of_service(name))?;
    let region = heap.region().map_err(of_service(name))?;
    let whole = |unit: u64| {
        bytes.start / unit * unit
            ..bytes.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX).min(region.size())
    };
    let (pages, part) = (whole(page_size()), whole(PART));
    // When a page beside them is gone and cannot be built, these would go with it. Whether it is does not matter here: of other
    // heaps, another page is another matter.
    let part = if part == pages { None } else { Some(region.lease(part)?) };
    let mut lease = region.lease(pages.clone())?;
    for _ in 0..ATTEMPTS {
        if !lease.contents().is_purged() {
            return Ok(Held { _pages: lease, _part: part });
        }
        // Of the heap, which may be less than the pages of the region.
        let end = pages.end.min(heap.offset() + heap.size());
        let asked = pages.start.max(heap.offset()) - heap.offset()..end - heap.offset();
        served.rebuild(asked).map_err(of_service(name))?;
        // The old lease keeps what was built until this one does.
        lease = region.lease(pages.clone())?;
    }
    if lease.contents().is_purged() {
        return Err(Error::StaysPurged { name: name.to_owned() });
    }
    Ok(Held { _pages: lease, _part: part })
}
