//! `ashmem purge`: takes unpinned pages away now.

use std::ffi::OsString;

use ashmem::{Protection, Reclaimer, Region};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::open::Access;
use super::scan::{File, Processes};
use super::{Target, is_gone, list, mention, open_region, say};
use crate::error::Error;
use crate::text::size;

/// Take unpinned pages away now
///
/// Pages that are pinned, leased or held by a guard stay. Of several regions with one name all are meant. With
/// --bytes those that were unpinned longest ago go first, over all regions; pages that were unpinned by one call go
/// together, so it can be more.
///
/// Exit status: 0, also when there was nothing to free; 1 when some regions could not be purged; 2 when there is no
/// such region, or nothing could be done.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[group(id = "what", required = true, multiple = false)]
pub struct Arguments {
    /// A region, by its name or by a descriptor of a process
    #[arg(value_name = "NAME|PID:FD", group = "what")]
    region: Option<OsString>,
    /// Everything that is unpinned, in all regions that this user may write to
    #[arg(long, group = "what")]
    all: bool,
    #[command(flatten)]
    processes: Processes,
    /// So many bytes, or with K, M or G so many KiB, MiB or GiB
    #[arg(long, value_name = "N", value_parser = parse_bytes, group = "what")]
    bytes: Option<u64>,
}

/// Takes them away, and says whether all went well.
pub fn run(arguments: &Arguments) -> Result<bool, Error> {
    let scan = arguments.processes.scan()?;
    let (files, is_named) = match &arguments.region {
        Some(region) => (Target::parse(region).find(scan)?, true),
        None => (scan.files.into_iter().filter(|file| file.status.is_marked).collect(), false),
    };
    let mut purged = match arguments.bytes {
        Some(bytes) => Purged::oldest(&files, bytes),
        None => Purged::everything(&files, is_named),
    };
    if is_named && purged.failures.len() == files.len() {
        if let Some(failure) = purged.failures.pop() {
            return Err(failure);
        }
    }
    for failure in &purged.failures {
        mention(&crate::with_causes(failure));
    }
    say(&format!("{} freed ({} bytes)\n", size(purged.freed), purged.freed))?;
    Ok(purged.failures.is_empty())
}

/// What came of it.
#[derive(Debug, Default)]
struct Purged {
    /// Bytes of memory.
    freed: u64,
    failures: Vec<Error>,
}

impl Purged {
    /// Purges one region after the other. Those that cannot be purged are a failure if they are meant by name.
    fn everything(files: &[File], is_named: bool) -> Purged {
        let mut purged = Purged::default();
        for file in files {
            let Some(region) = purged.open(file, is_named, &idle()) else { continue };
            match region.purge_counted() {
                Ok(freed) => purged.freed = purged.freed.saturating_add(freed.bytes),
                Err(source) => purged.failures.push(Error::Held { place: list(file.places()), source }),
            }
        }
        purged
    }

    /// Purges the oldest pages of all of them.
    fn oldest(files: &[File], bytes: u64) -> Purged {
        // All are open at the same time.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Where that is not allowed, some cannot be opened, which is said.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let reclaimer = idle();
        let mut purged = Purged::default();
        let regions: Vec<Region> =
            files.iter().filter_map(|file| purged.open(file, false, &reclaimer)).collect();
        purged.freed = reclaimer.reclaim(bytes).bytes;
        drop(regions);
        let count = reclaimer.metrics().failures;
        if count > 0 && purged.freed < bytes {
            purged.failures.push(Error::NotPurged { count });
        }
        purged
    }

    /// Opens what pages can be taken away from.
    fn open(&mut self, file: &File, is_named: bool, reclaimer: &Reclaimer) -> Option<Region> {
        if !file.status.is_marked {
            // Nothing of it was ever unpinned.
            return None;
        }
        match open_region(file, Access::Write, reclaimer) {
            Ok(region) => {
                let is_sealed = |mask: Protection| !mask.contains(Protection::WRITE);
                Some(region).filter(|region| is_named || !region.protection().is_ok_and(is_sealed))
            }
            // It says that it is a region, but is none.
            Err(Error::Held { source: ashmem::Error::NotARegion { .. }, .. }) if !is_named => None,
            // Nobody holds it any more.
            Err(Error::Descriptor { source, .. }) if !is_named && is_gone(&source) => None,
            Err(failure) => {
                self.failures.push(failure);
                None
            }
        }
    }
}

/// A reclaimer that does what it is told, and nothing by itself.
fn idle() -> Reclaimer {
    Reclaimer::builder().without_thread().build()
}

/// Parses a number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| "not a number, with or without K, M or G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than there can be".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes() {
        let parsed = ["0", "4096", "4K", "3m", "1G"].map(|text| parse_bytes(text).expect(text));
        assert_eq!(parsed, [0, 4096, 4096, 3 << 20, 1 << 30]);
        for text in ["", "K", "-1", "1.5M", "4KiB", "99999999999G"] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
    }
}
