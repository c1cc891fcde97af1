//! Regions as the driver daemon tells of them, or as a look through `/proc` finds them where there is none.

use ashmem_driver::Snapshot;
use ashmem_driver::ask;
use serde::Serialize;

use super::line::Line;
use super::scan::Processes;
use crate::error::Error;

/// Where it is known from. The names are those of the JSON documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// From the daemon: what processes have registered.
    Driver,
    /// From `/proc`: what processes have open.
    #[default]
    Proc,
}

/// What there was to be seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub source: Source,
    /// In no order that means anything.
    pub regions: Vec<Line>,
    /// Processes that were looked at, or have registered something.
    pub processes: u64,
    /// Processes that may not be looked at.
    pub hidden: u64,
    /// All else that the daemon said. Its regions are in `regions`.
    pub driver: Option<Snapshot>,
    /// Why a daemon that seems to be there has told nothing.
    pub trouble: Option<String>,
}

impl Seen {
    /// Asks the daemon, and looks at all processes if there is none.
    pub fn look() -> Result<Seen, Error> {
        match ask::snapshot() {
            Ok(Some(snapshot)) => Ok(Seen::from_driver(snapshot)),
            Ok(None) => Seen::scan(&Processes::default(), false),
            Err(error) => {
                let seen = Seen::scan(&Processes::default(), false)?;
                Ok(Seen { trouble: Some(crate::with_causes(&error)), ..seen })
            }
        }
    }

    /// Looks at processes; with `all` also at memfds that cannot be purged.
    pub fn scan(processes: &Processes, all: bool) -> Result<Seen, Error> {
        let scan = processes.scan()?;
        let wanted = scan.files.iter().filter(|file| all || file.status.is_marked);
        let regions = wanted.filter_map(Line::look).collect();
        Ok(Seen { regions, processes: scan.processes, hidden: scan.hidden, ..Seen::default() })
    }

    fn from_driver(mut snapshot: Snapshot) -> Seen {
        let regions: Vec<Line> =
            std::mem::take(&mut snapshot.regions).into_iter().map(Line::from_driver).collect();
        let mut processes: Vec<u32> =
            regions.iter().flat_map(|line| &line.holders).map(|holder| holder.process).collect();
        processes.sort_unstable();
        processes.dedup();
        Seen {
            source: Source::Driver,
            regions,
            processes: processes.len() as u64,
            driver: Some(snapshot),
            ..Seen::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use ashmem_driver::snapshot::{Holder, Region};

    use super::*;

    #[test]
    fn what_the_daemon_tells_is_as_what_is_found() {
        let holder = |process| Holder { process, user: 1, command: "one".to_owned() };
        let region = |inode, holders| Region {
            name: "a".to_owned(),
            inode,
            size: 5,
            resident: 4,
            pinned: 3,
            unpinned: 2,
            purged: 1,
            unpinned_for_seconds: Some(0.5),
            holders,
        };
        let regions = vec![region(1, vec![holder(9), holder(7)]), region(2, vec![holder(7)])];
        let seen = Seen::from_driver(Snapshot { process: 3, regions, ..Snapshot::default() });
        assert_eq!((seen.source, seen.processes, seen.regions.len()), (Source::Driver, 2, 2));
        let line = &seen.regions[0];
        assert_eq!((line.inode, line.size, line.resident, line.control_block), (1, 5, 4, true));
        assert_eq!((line.pinned, line.unpinned, line.purged), (3, 2, 1));
        assert_eq!((line.holders[0].process, line.holders[0].command.as_str()), (9, "one"));
        assert_eq!((line.unpinned_for_seconds, &line.trouble), (Some(0.5), &None));
    }
}
