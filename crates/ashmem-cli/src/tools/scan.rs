//! Which memfds processes hold, as far as this one may look.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;

use rustix::io::Errno;
use serde::Serialize;

use super::FileId;
use super::open::{Memfds, Status, status};
use crate::error::Error;

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub process: u32,
    pub descriptor: u32,
}

impl Place {
    /// Parses `PID:FD`.
    pub fn parse(text: &str) -> Option<Place> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        let (process, descriptor) = text.split_once(':')?;
        Some(Place { process: number(process)??, descriptor: number(descriptor)?? })
    }

    pub fn path(self) -> String {
        format!("/proc/{}/fd/{}", self.process, self.descriptor)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.process, self.descriptor)
    }
}

/// A process that holds a file. The names are those of the JSON documents.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    pub process: u32,
    /// The name of its program, as far as the kernel keeps that.
    pub command: String,
    /// In order; none where it is not known by which ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<u32>,
}

/// A memfd of ordinary pages.
#[derive(Clone, Debug)]
pub struct File {
    pub id: FileId,
    pub name: Vec<u8>,
    pub status: Status,
    /// In the order of their numbers; at least one.
    pub holders: Vec<Holder>,
}

impl File {
    /// All descriptors that were found.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.holders.iter().flat_map(|holder| {
            let place = |descriptor: &u32| Place { process: holder.process, descriptor: *descriptor };
            holder.descriptors.iter().map(place)
        })
    }

    pub fn is_at(&self, place: Place) -> bool {
        self.places().any(|other| other == place)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Scan {
    /// In no order that means anything.
    pub files: Vec<File>,
    /// Processes that were looked at.
    pub processes: u64,
    /// Processes that may not be looked at: those of other users, and some that the kernel protects.
    pub hidden: u64,
}

/// Which processes are meant.
#[derive(Debug, Default, clap::Args)]
pub struct Processes {
    /// Only what this process holds; may be given several times
    #[arg(long = "process", value_name = "PID")]
    only: Vec<u32>,
}

impl Processes {
    /// Whether all are meant.
    pub fn is_all(&self) -> bool {
        self.only.is_empty()
    }

    /// Looks at those, or at all but this one. Those that end meanwhile are left out.
    pub fn scan(&self) -> Result<Scan, Error> {
        let mut processes = match self.only.as_slice() {
            [] => all().map_err(Error::Processes)?,
            only => only.to_vec(),
        };
        processes.sort_unstable();
        processes.dedup();
        processes.retain(|process| *process != std::process::id());
        scan(&processes)
    }
}

/// Looks at processes, which are in order.
pub fn scan(processes: &[u32]) -> Result<Scan, Error> {
    let memfds = Memfds::find().map_err(|errno| Error::Processes(errno.into()))?;
    let mut found = Scan { files: Vec::new(), processes: 0, hidden: 0 };
    let mut files: BTreeMap<FileId, File> = BTreeMap::new();
    for &process in processes {
        let mut descriptors = match numbers(&format!("/proc/{process}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                found.hidden += u64::from(error.kind() == io::ErrorKind::PermissionDenied);
                continue;
            }
        };
        found.processes += 1;
        descriptors.sort_unstable();
        let mut command = None;
        for descriptor in descriptors {
            let place = Place { process, descriptor };
            // Reading where a link leads asks nobody, so it comes first.
            let Ok(Some(name)) = link(place) else { continue };
            let Ok(status) = status(place) else { continue };
            if !status.is_memfd(memfds) {
                continue;
            }
            let new = || File { id: status.id, name, status, holders: Vec::new() };
            let holders = &mut files.entry(status.id).or_insert_with(new).holders;
            match holders.last_mut() {
                Some(holder) if holder.process == process => holder.descriptors.push(descriptor),
                _ => {
                    let command = command.get_or_insert_with(|| command_of(process)).clone();
                    holders.push(Holder { process, command, descriptors: vec![descriptor] });
                }
            }
        }
    }
    found.files = files.into_values().collect();
    Ok(found)
}

/// The name of the memfd that a descriptor seems to name, or none when it leads elsewhere.
pub fn link(place: Place) -> Result<Option<Vec<u8>>, Errno> {
    let link = rustix::fs::readlink(place.path(), Vec::new())?.into_bytes();
    let name = link.strip_prefix(b"/memfd:").and_then(|rest| rest.strip_suffix(b" (deleted)"));
    Ok(name.map(<[u8]>::to_vec))
}

/// All processes; an error where nobody can tell.
fn all() -> io::Result<Vec<u32>> {
    fs::metadata("/proc/self/fd")?;
    numbers("/proc")
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

fn command_of(process: u32) -> String {
    let command = fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    let command = String::from_utf8_lossy(command.strip_suffix(b"\n").unwrap_or(&command)).into_owned();
    if command.is_empty() { "?".to_owned() } else { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_two_numbers() {
        assert_eq!(Place::parse("12:3"), Some(Place { process: 12, descriptor: 3 }));
        for text in ["", ":", "1:", ":1", "1", "1:2:3", "+1:2", "1:-2", " 1:2", "99999999999:1"] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn descriptors_of_this_process_lead_where_they_lead() {
        let region = ashmem::Region::create("a place", 1).expect("a region");
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&region));
        let place = Place { process: std::process::id(), descriptor: descriptor as u32 };
        assert_eq!(link(place).expect("a link").as_deref(), Some(&b"a place"[..]));
        let place = Place { descriptor: u32::MAX, ..place };
        assert_eq!(link(place), Err(Errno::NOENT));
    }
}
