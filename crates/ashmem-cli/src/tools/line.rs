//! What there is to say of one region.

use std::ops::ControlFlow;
use std::time::Duration;

use ashmem::{PageState, Reclaimer, Region};
use ashmem_driver::snapshot;
use serde::Serialize;

use super::open::Access;
use super::scan::{File, Holder};
use super::{is_gone, open_region};
use crate::error::Error;
use crate::text::{printable, size};

/// So many processes are named in a table, at most.
const NAMED: usize = 3;

/// A region, or another memfd. Sizes are in bytes; the names are those of the JSON documents.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub inode: u64,
    /// Whether pages of it can be unpinned, or may have been.
    pub control_block: bool,
    pub size: u64,
    /// In memory or swap.
    pub resident: u64,
    /// What nobody may take away, be it pinned or held by a lease or guard.
    pub pinned: u64,
    pub unpinned: u64,
    pub purged: u64,
    /// How long ago the last of the unpinned pages was unpinned.
    pub unpinned_for_seconds: Option<f64>,
    pub holders: Vec<Holder>,
    /// Why there is no more to be said.
    pub trouble: Option<String>,
}

impl Line {
    /// What is known without opening the file.
    pub fn from_file(file: &File) -> Line {
        let status = file.status;
        Line {
            name: String::from_utf8_lossy(&file.name).into_owned(),
            inode: file.id.inode,
            control_block: false,
            size: status.size,
            resident: status.allocated,
            pinned: status.size,
            unpinned: 0,
            purged: 0,
            unpinned_for_seconds: None,
            holders: file.holders.clone(),
            trouble: None,
        }
    }

    /// What the driver daemon has told.
    pub fn from_driver(region: snapshot::Region) -> Line {
        let holder = |holder: snapshot::Holder| Holder {
            process: holder.process,
            command: holder.command,
            descriptors: Vec::new(),
        };
        Line {
            name: region.name,
            inode: region.inode,
            control_block: true,
            size: region.size,
            resident: region.resident,
            pinned: region.pinned,
            unpinned: region.unpinned,
            purged: region.purged,
            unpinned_for_seconds: region.unpinned_for_seconds,
            holders: region.holders.into_iter().map(holder).collect(),
            trouble: None,
        }
    }

    /// Opens a file that is marked as a region, and looks; any other is no region of ours, and has only pinned pages. None when
    /// nobody holds it any more.
    pub fn look(file: &File) -> Option<Line> {
        let mut line = Line::from_file(file);
        if !file.status.is_marked {
            return Some(line);
        }
        // Nobody watches what is only looked at.
        let described = match open_region(file, Access::Read, Reclaimer::global()) {
            Ok(region) => line.describe(&region).map_err(|error| crate::with_causes(&error)),
            Err(Error::Descriptor { source, .. }) if is_gone(&source) => return None,
            Err(Error::Held { source, .. }) => Err(crate::with_causes(&source)),
            Err(error) => Err(crate::with_causes(&error)),
        };
        if let Err(trouble) = described {
            line.pinned = 0;
            line.trouble = Some(trouble);
        }
        Some(line)
    }

    /// Fills in what a region says.
    pub fn describe(&mut self, region: &Region) -> ashmem::Result<()> {
        self.control_block = region.has_control_block();
        self.size = region.size();
        self.resident = region.resident()?;
        let (mut pinned, mut unpinned, mut purged) = (0, 0, 0);
        let mut youngest: Option<Duration> = None;
        region.each_run(|run| {
            let bytes = run.range.end - run.range.start;
            match run.state {
                PageState::Unpinned => unpinned += bytes,
                PageState::Purged => purged += bytes,
                _ => pinned += bytes,
            }
            if let Some(age) = run.unpinned_for {
                youngest = Some(youngest.map_or(age, |youngest| youngest.min(age)));
            }
            ControlFlow::Continue(())
        })?;
        (self.pinned, self.unpinned, self.purged) = (pinned, unpinned, purged);
        self.unpinned_for_seconds = youngest.map(|age| age.as_secs_f64());
        Ok(())
    }

    /// The name as it is shown to people.
    pub fn label(&self) -> String {
        if self.name.is_empty() { "(no name)".to_owned() } else { printable(&self.name) }
    }
}

/// How long ago, in words.
pub fn age(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s ago"),
        s if s < 119.5 => format!("{s:.0} s ago"),
        s if s < 7170.0 => format!("{:.0} min ago", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h ago", s / 3600.0),
        s => format!("{:.0} days ago", s / 86_400.0),
    }
}

/// Processes, and how many more there are.
pub fn holders(all: &[Holder]) -> String {
    let some =
        all.iter().take(NAMED).map(|holder| format!("{} {}", holder.process, printable(&holder.command)));
    let mut text = some.collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(" and {} more", all.len() - NAMED);
    }
    text
}

/// A number of bytes in a table, where nothing is a dash.
pub fn cell(bytes: u64) -> String {
    if bytes == 0 { "–".to_owned() } else { size(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let shown = [0.0, 9.9, 10.4, 119.0, 300.0, 7200.0, 1e6].map(age);
        assert_eq!(
            shown,
            ["0.0 s ago", "9.9 s ago", "10 s ago", "119 s ago", "5 min ago", "2 h ago", "12 days ago"]
        );
    }

    #[test]
    fn many_holders_are_counted_and_their_names_do_nothing() {
        let holder = |process| Holder { process, command: "a\x1b[31m".to_owned(), descriptors: vec![3] };
        assert_eq!(holders(&[holder(1)]), "1 a\u{fffd}[31m");
        let many: Vec<_> = (1..=5).map(holder).collect();
        assert!(holders(&many).ends_with("and 2 more"));
    }
}
