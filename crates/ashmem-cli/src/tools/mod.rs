//! The commands that show the regions of other processes, and take pages of them away.
//!
//! The driver daemon knows those that were registered with it; without one they are found as descriptors of processes, in
//! `/proc/PID/fd`.

pub mod ls;
pub mod purge;
pub mod stat;

pub mod line;
pub mod map;
pub mod peek;
pub mod seen;

mod open;
mod scan;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use ashmem::{Reclaimer, Region, RegionOptions};
use rustix::io::Errno;

use self::open::{Access, FileId, open};
use self::scan::{File, Place, Scan};
use crate::error::Error;
use crate::text::printable;

/// So many places are named in an error, at most.
const NAMED: usize = 16;

/// What a user calls a region.
#[derive(Clone, Debug)]
enum Target {
    /// By its name.
    Name(Vec<u8>),
    /// By a descriptor of a process.
    Place(Place),
}

impl Target {
    fn parse(text: &OsStr) -> Target {
        match text.to_str().and_then(Place::parse) {
            Some(place) => Target::Place(place),
            None => Target::Name(text.as_bytes().to_vec()),
        }
    }

    /// The files that are meant, found among all; at least one. Those that are no region are among them.
    fn find(&self, scan: Scan) -> Result<Vec<File>, Error> {
        let name = match self {
            Target::Place(place) => {
                let found = scan.files.into_iter().find(|file| file.is_at(*place));
                return match found {
                    Some(file) => Ok(vec![file]),
                    None => Err(self.why_not_there(*place)),
                };
            }
            Target::Name(name) => name,
        };
        let mut found = scan.files;
        found.retain(|file| file.name == *name);
        if found.is_empty() {
            let name = printable(&String::from_utf8_lossy(name));
            return Err(Error::NoRegion { name, hidden: scan.hidden });
        }
        Ok(found)
    }

    fn why_not_there(&self, place: Place) -> Error {
        // There is no such process or descriptor, or it may not be looked at, or is something else.
        let errno = scan::link(place).err().unwrap_or(Errno::NOTTY);
        match errno {
            Errno::NOTTY => Error::NoMemfd { place: place.to_string() },
            errno => Error::Descriptor { place: place.to_string(), source: errno.into() },
        }
    }
}

/// Opens the region that a file is, through the first of its holders that lets one. Through a descriptor that only reads, it is
/// left alone; else `reclaimer` watches it.
fn open_region(file: &File, access: Access, reclaimer: &Reclaimer) -> Result<Region, Error> {
    let place = || list(file.places());
    let mut refused = Errno::NOENT;
    for holder in file.places() {
        match open(holder, Some(file.id), access) {
            Err(errno) => refused = errno,
            Ok(opened) => {
                let options = RegionOptions::new().reclaimer(reclaimer);
                let region = Region::from_fd_with(opened, options);
                return region.map_err(|source| Error::Held { place: place(), source });
            }
        }
    }
    Err(Error::Descriptor { place: place(), source: refused.into() })
}

/// Whether a file could not be opened because its holders have closed it or ended.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::SRCH | Errno::STALE | Errno::NOTTY))
}

/// Some places, and how many more there are.
fn list(places: impl Iterator<Item = Place>) -> String {
    let all: Vec<String> = places.map(|place| place.to_string()).collect();
    match all.get(NAMED..).map_or(0, <[String]>::len) {
        0 => all.join(", "),
        more => format!("{} and {more} more", all[..NAMED].join(", ")),
    }
}

/// Writes a result. Nobody may be reading any more, as behind `| head`.
pub fn say(text: &str) -> Result<(), Error> {
    say_to_reader(text).map(drop)
}

/// Writes a result, of which there may be more. False when nobody is reading any more.
pub fn say_to_reader(text: &str) -> Result<bool, Error> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).map_err(Error::Output),
    }
}

/// Says something on the side. Whoever started the command may not be interested.
pub fn mention(text: &str) {
    let _ = writeln!(io::stderr(), "ashmem: {}", printable(text));
}

/// A result as a JSON document.
pub fn json(value: &impl serde::Serialize) -> String {
    // Cannot fail: every key is a string.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
