//! What `mprotect` may give mappings of areas.
//!
//! A mapping can get the bits that the area's mask had when it was made, and no others. The kernel keeps WRITE that way (the file is
//! sealed when it goes); READ and EXEC are kept here. A mapping's address is not known when it is allowed, so mappings are found in
//! `/proc` before the next one is made, and those that are new have the mask of the last one.

use std::collections::HashMap;
use std::ops::Range;

use crate::maps::Mapped;
use crate::model::AreaId;

/// So many processes are remembered; those that are gone are forgotten first.
const PROCESSES_MAX: usize = 4096;

/// The mappings of all processes.
#[derive(Debug, Default)]
pub(crate) struct Protections {
    processes: HashMap<i32, Mappings>,
    /// Nothing was ever mapped with less than everything allowed.
    narrowed: bool,
}

#[derive(Clone, Debug, Default)]
struct Mappings {
    known: Vec<Known>,
    /// What has been allowed since.
    pending: HashMap<AreaId, u64>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Range<u64>,
    area: AreaId,
    mask: u64,
}

impl Protections {
    /// Whether there is anything to keep.
    pub(crate) fn is_needed(&self) -> bool {
        self.narrowed
    }

    /// A mapping is about to be made, where `mapped` are the process's mappings of areas until now.
    pub(crate) fn allow(
        &mut self,
        (process, parent): (i32, i32),
        mapped: &[(AreaId, Mapped)],
        area: AreaId,
        mask: u64,
        full: u64,
    ) {
        self.narrowed |= mask != full;
        let mappings = self.mappings(process, parent);
        // What nobody took note of was made while everything was allowed.
        mappings.refresh(mapped, full);
        mappings.pending.insert(area, mask);
    }

    /// The bits that `mprotect` of these addresses may give, of all mappings of areas there; `None` when there are none.
    pub(crate) fn allowed(
        &mut self,
        (process, parent): (i32, i32),
        mapped: &[(AreaId, Mapped)],
        addresses: &Range<u64>,
        full: u64,
    ) -> Option<u64> {
        let mappings = self.mappings(process, parent);
        mappings.refresh(mapped, full);
        let touched = mappings.known.iter().filter(|known| overlap(&known.addresses, addresses).is_some());
        touched.map(|known| known.mask).reduce(|a, b| a & b)
    }

    /// A child of `fork` starts with its parent's mappings.
    fn mappings(&mut self, process: i32, parent: i32) -> &mut Mappings {
        if !self.processes.contains_key(&process) {
            if self.processes.len() >= PROCESSES_MAX {
                self.processes.retain(|&process, _| crate::task::proc_file(process, "").exists());
            }
            if self.processes.len() >= PROCESSES_MAX {
                self.processes.clear();
            }
            let inherited = self.processes.get(&parent).cloned().unwrap_or_default();
            self.processes.insert(process, inherited);
        }
        self.processes.entry(process).or_default()
    }
}

impl Mappings {
    /// Takes note of what is mapped now. What was not known has the mask of the mapping that was allowed last, or of the area's mapping
    /// that has gone (it was moved), or `otherwise`.
    fn refresh(&mut self, mapped: &[(AreaId, Mapped)], otherwise: u64) {
        let mut found = Vec::new();
        for (area, mapped) in mapped {
            let mut unknown = mapped.addresses.start;
            let mut parts: Vec<&Known> = self
                .known
                .iter()
                .filter(|known| known.area == *area && overlap(&known.addresses, &mapped.addresses).is_some())
                .collect();
            parts.sort_by_key(|known| known.addresses.start);
            let moved = self.known.iter().find(|known| known.area == *area).map(|known| known.mask);
            let mask = self.pending.get(area).copied().or(moved).unwrap_or(otherwise);
            for known in parts {
                let Some(part) = overlap(&known.addresses, &(unknown..mapped.addresses.end)) else {
                    continue;
                };
                if unknown < part.start {
                    found.push(Known { addresses: unknown..part.start, area: *area, mask });
                }
                unknown = part.end;
                found.push(Known { addresses: part, area: *area, mask: known.mask });
            }
            if unknown < mapped.addresses.end {
                found.push(Known { addresses: unknown..mapped.addresses.end, area: *area, mask });
            }
        }
        self.known = found;
        self.pending.clear();
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (both.start < both.end).then_some(both)
}
