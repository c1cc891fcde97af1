//! Which cgroups limit the memory of which process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ashmem::pressure::{BUFFER_SIZE, Directory, Membership, Proc};

/// The cgroups of processes, as found when they were last looked up.
#[derive(Debug)]
pub(crate) struct Memberships {
    proc: Proc,
    mounts: Vec<u8>,
    /// By what `/proc/PID/cgroup` says: most processes are where others are.
    found: HashMap<Vec<u8>, Arc<[Directory]>>,
    by_process: HashMap<u32, Arc<[Directory]>>,
    buffer: Vec<u8>,
}

/// Whether all that limits the memory of a process can be seen from here, but for what is hidden from itself as well.
pub(crate) fn sees_limits(process: u32) -> bool {
    sees_limits_in(&Proc::default(), process)
}

fn sees_limits_in(proc: &Proc, process: u32) -> bool {
    let mut buffer = vec![0; BUFFER_SIZE];
    // Zero is a process in a namespace that this one does not see.
    let text = if process == 0 { None } else { proc.cgroups_of(Some(process), &mut buffer) };
    text.is_some_and(|text| Membership::find(&text, &proc.mounts()).is_complete)
}

impl Memberships {
    pub(crate) fn new(proc: Proc) -> Memberships {
        let buffer = vec![0; BUFFER_SIZE];
        Memberships { proc, mounts: Vec::new(), found: HashMap::new(), by_process: HashMap::new(), buffer }
    }

    /// Looks up where these processes are, of others nothing is known any more; those that are known already only if `all` is said.
    pub(crate) fn update(&mut self, processes: &HashSet<u32>, all: bool) {
        self.by_process.retain(|process, _| processes.contains(process));
        if all || self.mounts.is_empty() {
            self.mounts = self.proc.mounts();
            self.found.clear();
        }
        for &process in processes {
            if all || !self.by_process.contains_key(&process) {
                // Who is gone, or cannot be seen, has the system's limit only.
                let found = self.look_up(process).unwrap_or_default();
                self.by_process.insert(process, found);
            }
        }
    }

    fn look_up(&mut self, process: u32) -> Option<Arc<[Directory]>> {
        if process == 0 {
            return None;
        }
        let text = self.proc.cgroups_of(Some(process), &mut self.buffer)?;
        if let Some(found) = self.found.get(&text) {
            return Some(found.clone());
        }
        let found: Arc<[Directory]> = Membership::find(&text, &self.mounts).directories.into();
        self.found.insert(text, found.clone());
        Some(found)
    }

    /// The processes that are in a cgroup or below it, by the cgroup's directory.
    pub(crate) fn members(&self) -> HashMap<Directory, HashSet<u32>> {
        let mut members: HashMap<Directory, HashSet<u32>> = HashMap::new();
        for (process, directories) in &self.by_process {
            for directory in directories.iter() {
                match members.get_mut(directory) {
                    Some(known) => known.insert(*process),
                    None => members.entry(directory.clone()).or_default().insert(*process),
                };
            }
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn processes_are_where_the_kernel_says() {
        let fake = Fake::new();
        fake.v2("a/b", "max", 0);
        fake.v2("c", "max", 0);
        fake.process(1, "a/b");
        fake.process(2, "c");
        let mut memberships = Memberships::new(fake.proc());
        let members = |memberships: &Memberships, cgroup: &str| {
            let all = memberships.members();
            let (_, found) = all.iter().find(|(directory, _)| directory.cgroup.to_str() == Some(cgroup))?;
            let mut found: Vec<u32> = found.iter().copied().collect();
            found.sort_unstable();
            Some(found)
        };
        memberships.update(&HashSet::from([1, 2, 3]), false);
        assert_eq!(members(&memberships, "/"), Some(vec![1, 2]));
        assert_eq!(members(&memberships, "/a"), Some(vec![1]));
        assert_eq!(members(&memberships, "/a/b"), Some(vec![1]));

        // It moves, and is found when all are looked up again.
        fake.process(1, "c");
        memberships.update(&HashSet::from([1, 2]), false);
        assert_eq!(members(&memberships, "/c"), Some(vec![2]));
        memberships.update(&HashSet::from([1, 2]), true);
        assert_eq!(members(&memberships, "/c"), Some(vec![1, 2]));
        assert_eq!(members(&memberships, "/a"), None);
        memberships.update(&HashSet::new(), false);
        assert!(memberships.members().is_empty());
    }

    #[test]
    fn limits_are_seen_where_the_cgroup_is() {
        let fake = Fake::new();
        fake.v2("a", "max", 0);
        fake.process(1, "a");
        fake.process(2, "hidden");
        fake.process(3, "../elsewhere");
        let sees = |process| sees_limits_in(&fake.proc(), process);
        assert_eq!([0, 1, 2, 3, 4].map(sees), [false, true, false, false, false]);
    }

    #[test]
    fn nobody_is_the_process_without_a_number() {
        assert!(!sees_limits(0));
        println!("this process's limits are seen: {}", sees_limits(std::process::id()));
    }
}
