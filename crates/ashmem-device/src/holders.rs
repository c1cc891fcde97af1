//! Who has a descriptor of an area.
//!
//! The kernel does not say when the last descriptor is closed while mappings are left: a mapping keeps the description alive. So descriptors
//! are looked for, where one was seen last and then everywhere, when it matters: before something is purged.

use std::fs;

use crate::maps;
use crate::task::{FileId, memfd_of};

/// So many places are remembered.
const REMEMBERED: usize = 4;

/// Where descriptors were seen last.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Thread and number, the latest first.
    seen: Vec<(i32, i32)>,
    /// One was sent through a socket, and was not seen at a new place since.
    is_on_its_way: bool,
}

impl Holders {
    /// Takes note of a descriptor.
    pub(crate) fn saw(&mut self, thread: i32, fd: i32) {
        if self.seen.first() == Some(&(thread, fd)) {
            return;
        }
        let before = self.seen.len();
        self.seen.retain(|&place| place != (thread, fd));
        self.is_on_its_way &= self.seen.len() < before;
        self.seen.insert(0, (thread, fd));
        self.seen.truncate(REMEMBERED);
    }

    /// A descriptor is about to be sent.
    pub(crate) fn sent(&mut self) {
        self.is_on_its_way = true;
    }

    /// The processes (or threads of theirs) that had one when it was seen last.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut processes: Vec<u32> =
            self.seen.iter().filter_map(|&(thread, _)| u32::try_from(thread).ok()).collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Whether any process has a descriptor of one of these files, as far as this process may see. One that is on its way through a
    /// socket is nowhere to be seen: then nobody has a mapping either, though the file is open somewhere.
    pub(crate) fn has_any(&mut self, files: &[FileId]) -> bool {
        if self.is_on_its_way {
            return true;
        }
        let leads_there = |thread, fd| memfd_of(thread, fd).is_some_and(|file| files.contains(&file));
        if self.seen.iter().any(|&(thread, fd)| leads_there(thread, fd)) {
            return true;
        }
        match search(&leads_there) {
            Search::Found(thread, fd) => {
                self.saw(thread, fd);
                true
            }
            Search::Nowhere => !is_mapped(files),
            // Who cannot look must not take anything away from anybody.
            Search::Blind => true,
        }
    }
}

enum Search {
    Found(i32, i32),
    Nowhere,
    Blind,
}

/// Looks through all descriptors of all processes but this one, whose own do not count.
fn search(leads_there: &dyn Fn(i32, i32) -> bool) -> Search {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(processes) = fs::read_dir("/proc") else { return Search::Blind };
    for process in processes.flatten() {
        let Some(process) = number(&process.file_name()) else { continue };
        if process == own {
            continue;
        }
        // Those that may not be looked at belong to others, or are gone.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        for fd in descriptors.flatten().filter_map(|entry| number(&entry.file_name())) {
            if leads_there(process, fd) {
                return Search::Found(process, fd);
            }
        }
    }
    Search::Nowhere
}

/// Whether any process has a mapping of one of these files.
fn is_mapped(files: &[FileId]) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let mut processes = processes.flatten().filter_map(|entry| number(&entry.file_name()));
    processes.any(|process| maps::memfds(process).iter().any(|mapped| files.contains(&mapped.file)))
}

fn number(name: &std::ffi::OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}
