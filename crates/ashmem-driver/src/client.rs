//! One connection: what it says, and what is answered. Nothing here waits, whatever is said.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ashmem::driver::peer::Peer;
use ashmem::driver::protocol::{Question, REGIONS_MAX, Reason, Reply, Request, VERSION};
use ashmem::driver::socket::{self, Packet};
use ashmem::{Error, Region};
use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::answer;
use crate::closing::{Memory, Waste};
use crate::shared::{Shared, add, lock, ring};
use crate::table::{ClientId, Registered};

/// A process that is connected.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) peer: Peer,
    pub(crate) socket: Arc<OwnedFd>,
    is_greeted: bool,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side has ended it.
    Closed,
    /// It said what makes no sense.
    Nonsense(&'static str),
    /// It speaks another version, and knows that of the daemon now.
    Version(u64),
    /// It does not read what it has to.
    Deaf,
    /// What its user has sent cannot be closed.
    Clogged,
}

/// How to know a memfd without asking whoever serves other files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memfds {
    device: (u32, u32),
}

impl Memfds {
    pub(crate) fn find() -> Result<Memfds, Errno> {
        let probe = rustix::fs::memfd_create(c"probe", rustix::fs::MemfdFlags::CLOEXEC)?;
        let (device, _) = stat(&probe)?;
        Ok(Memfds { device })
    }

    /// The inode, if it is a memfd of ordinary pages.
    ///
    /// Only files that live in memory have seals, and the kernel answers that by itself; only then the file is looked at.
    fn inode(self, file: &OwnedFd) -> Option<u64> {
        rustix::fs::fcntl_get_seals(file).ok()?;
        let (device, inode) = stat(file).ok()?;
        (device == self.device).then_some(inode)
    }
}

fn stat(file: &OwnedFd) -> Result<((u32, u32), u64), Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(file, "", flags, StatxFlags::INO)?;
    Ok(((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

impl Client {
    pub(crate) fn new(id: ClientId, peer: Peer, socket: Arc<OwnedFd>) -> Client {
        Client { id, peer, socket, is_greeted: false }
    }

    /// Receives a packet and does what it says; `false` when there is none.
    pub(crate) fn turn(&mut self, shared: &Arc<Shared>, memfds: Memfds) -> Result<bool, End> {
        if shared.closing.is_clogged(self.peer.user) {
            return Err(End::Clogged);
        }
        let packet = match socket::receive(&*self.socket) {
            Ok(Some(packet)) => packet,
            Ok(None) | Err(Errno::CONNRESET) => return Err(End::Closed),
            Err(Errno::AGAIN) => return Ok(false),
            Err(_) => return Err(End::Nonsense("it cannot be read from")),
        };
        let Packet { bytes, mut descriptors, is_cut } = packet;
        let request = match Request::decode(&bytes) {
            Some(request) if !is_cut => request,
            _ => {
                self.discard(shared, descriptors);
                return Err(End::Nonsense("a packet that is no message"));
            }
        };
        let done = self.obey(shared, memfds, &request, &mut descriptors);
        // What was not taken.
        self.discard(shared, descriptors);
        done.map(|()| true)
    }

    fn discard(&self, shared: &Shared, descriptors: Vec<OwnedFd>) {
        for file in descriptors {
            shared.closing.discard(self.peer.user, Waste::File(file));
        }
    }

    fn obey(
        &mut self,
        shared: &Arc<Shared>,
        memfds: Memfds,
        request: &Request,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<(), End> {
        let wanted = if let Request::Register(ids) = request { ids.len() } else { 0 };
        if descriptors.len() != wanted || wanted > REGIONS_MAX {
            return Err(End::Nonsense("another number of descriptors than it says"));
        }
        match request {
            Request::Hello { version } if !self.is_greeted => self.greet(*version),
            Request::Hello { .. } => Err(End::Nonsense("a second greeting")),
            _ if !self.is_greeted => Err(End::Nonsense("no greeting")),
            Request::Register(ids) => {
                // As many as there are numbers. What is left after an error is not to be closed here.
                descriptors.reverse();
                let mut next = || descriptors.pop();
                let done = ids.iter().try_for_each(|id| match next() {
                    Some(file) => self.register(shared, memfds, *id, file),
                    None => Ok(()),
                });
                ring(&shared.wake);
                done
            }
            Request::Release(ids) => {
                self.release(shared, ids);
                Ok(())
            }
            Request::Listen(wanted) => {
                lock(&shared.table).listen(self.id, *wanted);
                Ok(())
            }
            Request::Ping(number) => self.say(&Reply::Pong(*number)),
            Request::Ask(question) => self.answer(shared, *question),
        }
    }

    fn greet(&mut self, version: u64) -> Result<(), End> {
        let sees_limits = crate::membership::sees_limits(self.peer.process);
        self.say(&Reply::Welcome { version: VERSION, sees_limits })?;
        if version != VERSION {
            return Err(End::Version(version));
        }
        self.is_greeted = true;
        Ok(())
    }

    fn say(&self, reply: &Reply) -> Result<(), End> {
        match socket::send(&*self.socket, &reply.encode(), &[]) {
            Ok(()) => Ok(()),
            Err(Errno::AGAIN) => Err(End::Deaf),
            Err(_) => Err(End::Closed),
        }
    }

    fn register(&self, shared: &Arc<Shared>, memfds: Memfds, id: u64, file: OwnedFd) -> Result<(), End> {
        let Some(inode) = memfds.inode(&file) else {
            shared.closing.discard(self.peer.user, Waste::File(file));
            return self.refuse(shared, id, Reason::NotARegion);
        };
        if !is_writable(&file) {
            shared.closing.memory(Memory::File(file));
            return self.refuse(shared, id, Reason::NotARegion);
        }
        let policy = shared.policy();
        let known = lock(&shared.table).register_known(self.id, id, inode, &policy.quota);
        match known {
            Registered::Double => {
                shared.closing.memory(Memory::File(file));
                return Err(End::Nonsense("a number that is in use"));
            }
            Registered::Refused(reason) => {
                shared.closing.memory(Memory::File(file));
                return self.refuse(shared, id, reason);
            }
            // The table has the file, so this frees nothing.
            Registered::Done => drop(file),
            Registered::Unknown => match self.adopt(shared, id, inode, file) {
                Ok(()) => {}
                Err(reason) => return self.refuse(shared, id, reason),
            },
        }
        add(&shared.counters.registered, 1);
        Ok(())
    }

    fn adopt(&self, shared: &Arc<Shared>, id: u64, inode: u64, file: OwnedFd) -> Result<(), Reason> {
        // Kept until it is clear that somebody else has the file, as closing it frees its memory.
        let adopted = if shared.has_room() { file.try_clone().ok() } else { None };
        let region = match adopted.map(Region::adopt) {
            Some(Ok(region)) => region,
            refused => {
                shared.closing.memory(Memory::File(file));
                return Err(refused.map_or(Reason::Exhausted, |refused| reason(refused.err())));
            }
        };
        region.forget_pin_state();
        let policy = shared.policy();
        let entered = lock(&shared.table).register_new(self.id, id, inode, region, &policy.quota);
        entered.map_err(|(region, reason)| {
            shared.closing.memory(Memory::Region(region));
            reason
        })
    }

    fn refuse(&self, shared: &Shared, id: u64, reason: Reason) -> Result<(), End> {
        add(&shared.counters.refused, 1);
        lock(&shared.table).note_refusal(self.peer.user);
        self.say(&Reply::Refused { id, reason })
    }

    fn release(&self, shared: &Shared, ids: &[u64]) {
        // Those that were refused are not there.
        let (mut released, mut dropped) = (0, Vec::new());
        {
            let mut table = lock(&shared.table);
            for id in ids {
                if let Some(region) = table.release(self.id, *id) {
                    released += 1;
                    dropped.extend(region);
                }
            }
        }
        add(&shared.counters.released, released);
        dropped.into_iter().for_each(|region| shared.closing.memory(Memory::Region(region)));
    }

    fn answer(&self, shared: &Arc<Shared>, question: Question) -> Result<(), End> {
        match answer::begin(shared, self, question) {
            Ok(()) => Ok(()),
            Err(reason) => self.say(&Reply::Declined(reason)),
        }
    }

    /// The end of it. Whoever still has the socket says nothing more through it.
    pub(crate) fn leave(self, shared: &Shared, end: End) {
        match end {
            End::Closed => log::debug!("process {} has left", self.peer.process),
            End::Nonsense(what) => self.note_expulsion(shared, what),
            End::Version(version) => {
                log::debug!("process {} speaks version {version}", self.peer.process);
            }
            End::Deaf => self.note_expulsion(shared, "it does not read answers"),
            End::Clogged => self.note_expulsion(shared, "what the user has sent cannot be closed"),
        }
        let (dropped, released) = lock(&shared.table).leave(self.id);
        add(&shared.counters.released, released);
        dropped.into_iter().for_each(|region| shared.closing.memory(Memory::Region(region)));
        shared.closing.discard(self.peer.user, Waste::Connection(self.socket));
    }

    fn note_expulsion(&self, shared: &Shared, what: &str) {
        add(&shared.counters.expelled, 1);
        let Peer { process, user } = self.peer;
        log::debug!("the connection of process {process} of user {user} is ended: {what}");
    }
}

fn reason(error: Option<Error>) -> Reason {
    match error {
        Some(Error::System { source, .. }) => match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Reason::Exhausted,
            _ => Reason::NotARegion,
        },
        _ => Reason::NotARegion,
    }
}

/// Whether a descriptor reads and writes.
fn is_writable(file: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR)
}
