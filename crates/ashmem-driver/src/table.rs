//! Which regions are registered, and by whom.
//!
//! A region is known by the inode of its file, so it is one however often it is registered. Who registers it gives it a number of
//! his own. All counts change here, with what they count.
//!
//! Only the thread that serves the socket changes the table. Regions come out of it whole, to be dropped where nobody waits for that.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ashmem::Region;
use ashmem::driver::protocol::Reason;

use crate::quota::Quota;

/// A connection. Numbers are never given again.
pub(crate) type ClientId = u64;

/// A region as whoever reclaims sees it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The region.
    pub region: Region,
    /// The processes that have registered it.
    pub processes: Vec<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    regions: HashMap<u64, Entry>,
    clients: HashMap<ClientId, Member>,
    users: HashMap<u32, Account>,
    /// Clients that want to hear of purges.
    listening: usize,
    /// Regions that were ever taken.
    taken: u64,
}

#[derive(Debug)]
struct Entry {
    region: Region,
    /// So many were taken before.
    place: u64,
    /// Who has registered it under which number.
    registrants: BTreeSet<(ClientId, u64)>,
    /// How often each user has; few have one together.
    users: Vec<(u32, u32)>,
}

/// A process that is connected.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) user: u32,
    pub(crate) process: u32,
    pub(crate) socket: Arc<OwnedFd>,
    /// Whether it wants to hear of purges.
    listens: bool,
    /// By its numbers: the inodes.
    regions: HashMap<u64, u64>,
}

/// What a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) connections: u64,
    /// Registrations.
    pub(crate) regions: u64,
    /// Of all its regions, each counted once.
    pub(crate) size: u64,
    pub(crate) refused: u64,
}

/// What became of a registration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// It is registered.
    Done,
    /// The region is not known yet: it is to be adopted, and to come back.
    Unknown,
    Refused(Reason),
    /// The number is in use.
    Double,
}

/// Who is to be told of a purge.
pub(crate) struct Recipient {
    pub(crate) socket: Arc<OwnedFd>,
    /// Its number for the region.
    pub(crate) id: u64,
}

/// A region and who has registered it, for who looks at everything.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) region: Region,
    pub(crate) inode: u64,
    /// Process and user of each registrant, each once.
    pub(crate) holders: Vec<(u32, u32)>,
}

impl Table {
    pub(crate) fn join(&mut self, client: ClientId, user: u32, process: u32, socket: Arc<OwnedFd>) {
        let member = Member { user, process, socket, listens: false, regions: HashMap::new() };
        self.clients.insert(client, member);
        self.users.entry(user).or_default().connections += 1;
    }

    /// A connection has ended; gives what nobody has registered any more, and how many registrations ended.
    pub(crate) fn leave(&mut self, client: ClientId) -> (Vec<Region>, u64) {
        let Some(member) = self.clients.remove(&client) else { return (Vec::new(), 0) };
        self.listening -= usize::from(member.listens);
        let mut dropped = Vec::new();
        for (&id, &inode) in &member.regions {
            dropped.extend(self.strike(client, id, inode, member.user));
        }
        if let Some(account) = self.users.get_mut(&member.user) {
            account.connections = account.connections.saturating_sub(1);
            if account.connections == 0 {
                self.users.remove(&member.user);
            }
        }
        (dropped, member.regions.len() as u64)
    }

    /// Registers a region that is in the table already, or says what to do.
    pub(crate) fn register_known(
        &mut self,
        client: ClientId,
        id: u64,
        inode: u64,
        quota: &Quota,
    ) -> Registered {
        let Some(member) = self.clients.get(&client) else { return Registered::Double };
        if member.regions.contains_key(&id) {
            return Registered::Double;
        }
        let user = member.user;
        let account = self.account(user);
        if account.regions >= quota.regions {
            return Registered::Refused(Reason::Quota);
        }
        let Some(entry) = self.regions.get(&inode) else { return Registered::Unknown };
        let is_new = !entry.users.iter().any(|(other, _)| *other == user);
        if is_new && !fits(account, entry.region.size(), quota) {
            return Registered::Refused(Reason::Quota);
        }
        self.enter(client, id, inode, user);
        Registered::Done
    }

    /// Registers a region that has just been adopted; gives it back where it is refused.
    pub(crate) fn register_new(
        &mut self,
        client: ClientId,
        id: u64,
        inode: u64,
        region: Region,
        quota: &Quota,
    ) -> Result<(), (Region, Reason)> {
        let Some(member) = self.clients.get(&client) else { return Err((region, Reason::Quota)) };
        if !fits(self.account(member.user), region.size(), quota) {
            return Err((region, Reason::Quota));
        }
        let user = member.user;
        let entry = Entry { region, place: self.taken, registrants: BTreeSet::new(), users: Vec::new() };
        self.taken += 1;
        self.regions.insert(inode, entry);
        self.enter(client, id, inode, user);
        Ok(())
    }

    fn enter(&mut self, client: ClientId, id: u64, inode: u64, user: u32) {
        let Some(entry) = self.regions.get_mut(&inode) else { return };
        let account = self.users.entry(user).or_default();
        match entry.users.iter_mut().find(|(other, _)| *other == user) {
            Some((_, count)) => *count += 1,
            None => {
                entry.users.push((user, 1));
                account.size = account.size.saturating_add(entry.region.size());
            }
        }
        account.regions += 1;
        entry.registrants.insert((client, id));
        if let Some(member) = self.clients.get_mut(&client) {
            member.regions.insert(id, inode);
        }
    }

    /// The end of a registration, if there was one; gives the region when that was its last.
    pub(crate) fn release(&mut self, client: ClientId, id: u64) -> Option<Option<Region>> {
        let member = self.clients.get_mut(&client)?;
        let user = member.user;
        let inode = member.regions.remove(&id)?;
        Some(self.strike(client, id, inode, user))
    }

    fn strike(&mut self, client: ClientId, id: u64, inode: u64, user: u32) -> Option<Region> {
        let entry = self.regions.get_mut(&inode)?;
        let account = self.users.entry(user).or_default();
        account.regions = account.regions.saturating_sub(1);
        entry.registrants.remove(&(client, id));
        if let Some(place) = entry.users.iter().position(|(other, _)| *other == user) {
            entry.users[place].1 -= 1;
            if entry.users[place].1 == 0 {
                entry.users.swap_remove(place);
                account.size = account.size.saturating_sub(entry.region.size());
            }
        }
        if !entry.registrants.is_empty() {
            return None;
        }
        self.regions.remove(&inode).map(|entry| entry.region)
    }

    pub(crate) fn note_refusal(&mut self, user: u32) {
        self.users.entry(user).or_default().refused += 1;
    }

    pub(crate) fn listen(&mut self, client: ClientId, listens: bool) {
        if let Some(member) = self.clients.get_mut(&client) {
            let listened = std::mem::replace(&mut member.listens, listens);
            self.listening = self.listening + usize::from(listens) - usize::from(listened);
        }
    }

    pub(crate) fn account(&self, user: u32) -> Account {
        self.users.get(&user).copied().unwrap_or_default()
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = (u32, Account)> + '_ {
        self.users.iter().map(|(user, account)| (*user, *account))
    }

    pub(crate) fn regions(&self) -> usize {
        self.regions.len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.clients.len()
    }

    /// What may be reclaimed.
    pub(crate) fn served(&self) -> Vec<Served> {
        let served = |entry: &Entry| {
            let mut processes: Vec<u32> = self.members(entry).map(|member| member.process).collect();
            processes.dedup();
            Served { region: entry.region.clone(), processes }
        };
        let mut entries: Vec<&Entry> = self.regions.values().collect();
        // Those that were unpinned within one tick of the kernel's clock go in the order in which they came.
        entries.sort_unstable_by_key(|entry| entry.place);
        entries.into_iter().map(served).collect()
    }

    /// Those that registered a region, in the order of their connections.
    fn members<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Member> {
        entry.registrants.iter().filter_map(|(client, _)| self.clients.get(client))
    }

    /// What a user may see, or all of it.
    pub(crate) fn list(&self, user: Option<u32>) -> Vec<Listed> {
        let of = |entry: &Entry| user.is_none_or(|user| entry.users.iter().any(|(other, _)| *other == user));
        let listed = |(inode, entry): (&u64, &Entry)| {
            let mut holders: Vec<_> =
                self.members(entry).map(|member| (member.process, member.user)).collect();
            holders.dedup();
            // A user sees that others hold a region of theirs, as those were given it.
            Listed { region: entry.region.clone(), inode: *inode, holders }
        };
        self.regions.iter().filter(|(_, entry)| of(entry)).map(listed).collect()
    }

    /// Whose a region is, and whether anybody wants to hear of purges at all.
    pub(crate) fn concerned(&self, inode: u64) -> (Vec<u32>, bool) {
        let Some(entry) = self.regions.get(&inode) else { return (Vec::new(), false) };
        (entry.users.iter().map(|(user, _)| *user).collect(), self.listening > 0)
    }

    /// Whom to tell of a purge.
    pub(crate) fn recipients(&self, inode: u64) -> Vec<Recipient> {
        let Some(entry) = self.regions.get(&inode) else { return Vec::new() };
        let recipient = |(client, id): &(ClientId, u64)| {
            let member = self.clients.get(client).filter(|member| member.listens)?;
            Some(Recipient { socket: member.socket.clone(), id: *id })
        };
        entry.registrants.iter().filter_map(recipient).collect()
    }
}

fn fits(account: Account, size: u64, quota: &Quota) -> bool {
    account.size.checked_add(size).is_some_and(|size| size <= quota.size_limit())
}
