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
    /// Something was mapped with less than everything allowed.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Access, Device, Flavour};
    use crate::task::FileId;

    const ALL: u64 = 7;

    fn areas() -> [AreaId; 2] {
        let mut device = Device::new(4096, Flavour::Mainline);
        [device.open(Access::ReadWrite), device.open(Access::ReadWrite)]
    }

    fn at(area: AreaId, addresses: Range<u64>) -> (AreaId, Mapped) {
        (area, Mapped { addresses, is_shared: true, file: FileId { device: (0, 1), inode: 1 } })
    }

    #[test]
    fn a_mapping_has_the_mask_of_its_time() {
        let [area, _] = areas();
        let mut protections = Protections::default();
        let process = (10, 1);
        assert!(!protections.is_needed());
        protections.allow(process, &[], area, 3, ALL);
        assert!(protections.is_needed());
        let first = at(area, 0x1000..0x3000);
        assert_eq!(
            protections.allowed(process, std::slice::from_ref(&first), &(0x1000..0x2000), ALL),
            Some(3)
        );
        protections.allow(process, std::slice::from_ref(&first), area, 1, ALL);
        let both = [first, at(area, 0x8000..0x9000)];
        assert_eq!(protections.allowed(process, &both, &(0x1000..0x2000), ALL), Some(3));
        assert_eq!(protections.allowed(process, &both, &(0x8000..0x9000), ALL), Some(1));
        assert_eq!(protections.allowed(process, &both, &(0x2000..0x9000), ALL), Some(1));
        assert_eq!(protections.allowed(process, &both, &(0x4000..0x5000), ALL), None);
    }

    #[test]
    fn what_was_mapped_before_anything_was_taken_away_may_become_anything() {
        let [old, narrow] = areas();
        let mut protections = Protections::default();
        let before = at(old, 0x1000..0x2000);
        protections.allow((10, 1), std::slice::from_ref(&before), narrow, 1, ALL);
        let both = [before, at(narrow, 0x5000..0x6000)];
        assert_eq!(protections.allowed((10, 1), &both, &(0x1000..0x2000), ALL), Some(ALL));
        assert_eq!(protections.allowed((10, 1), &both, &(0x5000..0x6000), ALL), Some(1));
    }

    #[test]
    fn moved_and_grown_mappings_keep_their_mask() {
        let [area, _] = areas();
        let mut protections = Protections::default();
        protections.allow((10, 1), &[], area, 1, ALL);
        let small = [at(area, 0x1000..0x2000)];
        assert_eq!(protections.allowed((10, 1), &small, &(0x1000..0x2000), ALL), Some(1));
        let grown = [at(area, 0x1000..0x4000)];
        assert_eq!(protections.allowed((10, 1), &grown, &(0x3000..0x4000), ALL), Some(1));
        let moved = [at(area, 0x9000..0xc000)];
        assert_eq!(protections.allowed((10, 1), &moved, &(0x9000..0xa000), ALL), Some(1));
    }

    #[test]
    fn children_start_with_their_parent_s_mappings() {
        let [area, _] = areas();
        let mut protections = Protections::default();
        protections.allow((10, 1), &[], area, 5, ALL);
        let mapped = [at(area, 0x1000..0x2000)];
        assert_eq!(protections.allowed((10, 1), &mapped, &(0x1000..0x2000), ALL), Some(5));
        assert_eq!(protections.allowed((11, 10), &mapped, &(0x1000..0x2000), ALL), Some(5));
        // A stranger's mapping of the area came from elsewhere.
        assert_eq!(protections.allowed((12, 1), &mapped, &(0x1000..0x2000), ALL), Some(ALL));
    }
}
