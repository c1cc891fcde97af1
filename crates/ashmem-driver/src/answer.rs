//! Answers to questions: documents in sealed memfds, written by threads that live as long as that takes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use ashmem::PageState;
use ashmem::driver::protocol::{Question, Reason, Reply};
use ashmem::driver::{peer, socket};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{Shutdown, shutdown};

use crate::client::Client;
use crate::metrics;
use crate::shared::{Shared, lock};
use crate::snapshot::{self, Snapshot};
use crate::table::Listed;

/// Answers that are being written.
const AT_ONCE: usize = 2;

/// Answers of one user that nobody has read, which are memory of the daemon's.
const UNREAD: usize = 8;

/// Runs of pages that are looked at in one region. What is behind them is left out: whoever holds the region can make any number of
/// them.
const RUNS: usize = 1 << 17;

/// Who is being answered, and who was.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    users: HashSet<u32>,
    unread: HashMap<u32, Vec<Weak<OwnedFd>>>,
}

impl Answers {
    fn begin(&mut self, user: u32) -> Result<(), Reason> {
        let is_unread = |socket: &Weak<OwnedFd>| {
            socket.upgrade().is_some_and(|socket| peer::unread(&*socket).is_ok_and(|bytes| bytes > 0))
        };
        self.unread.retain(|_, sockets| {
            sockets.retain(is_unread);
            !sockets.is_empty()
        });
        let unread = self.unread.get(&user).map_or(0, Vec::len);
        if self.users.len() >= AT_ONCE || self.users.contains(&user) || unread >= UNREAD {
            return Err(Reason::Busy);
        }
        self.users.insert(user);
        Ok(())
    }

    fn end(&mut self, user: u32, answered: Option<&Arc<OwnedFd>>) {
        self.users.remove(&user);
        if let Some(socket) = answered {
            self.unread.entry(user).or_default().push(Arc::downgrade(socket));
        }
    }
}

/// Has a question answered, or says why not.
pub(crate) fn begin(shared: &Arc<Shared>, client: &Client, question: Question) -> Result<(), Reason> {
    let (user, asker) = (client.peer.user, client.socket.clone());
    lock(&shared.answers).begin(user)?;
    let common = shared.clone();
    let answer = move || {
        let sent = answer(&common, user, question, &asker);
        if !sent {
            // It waits for nothing in particular, so it has to learn that there will be nothing.
            let _ = shutdown(&*asker, Shutdown::Both);
        }
        lock(&common.answers).end(user, sent.then_some(&asker));
    };
    let thread = std::thread::Builder::new().name("answering".into());
    thread.spawn(answer).map(drop).map_err(|_| {
        lock(&shared.answers).end(user, None);
        Reason::Exhausted
    })
}

/// Whether the asker has an answer, of whatever kind.
fn answer(shared: &Shared, user: u32, question: Question, asker: &OwnedFd) -> bool {
    let document = match question {
        Question::Snapshot => serde_json::to_vec(&look(shared, user)).ok(),
        Question::Metrics => Some(metrics::text(&summary(shared, user)).into_bytes()),
    };
    let sealed = document.and_then(|document| Some((document.len() as u64, sealed(&document).ok()?)));
    let sent = match sealed {
        Some((length, file)) => socket::send(asker, &Reply::Answer(length).encode(), &[file.as_fd()]),
        None => socket::send(asker, &Reply::Declined(Reason::Exhausted).encode(), &[]),
    };
    sent.is_ok()
}

/// A memfd that nobody can change.
fn sealed(document: &[u8]) -> std::io::Result<OwnedFd> {
    let file = memfd_create(c"answer", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(document)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// Everything but the regions and what became of them.
fn summary(shared: &Shared, asker: u32) -> Snapshot {
    let scope = scope(shared, asker);
    let mut users: Vec<snapshot::User> = {
        let table = lock(&shared.table);
        let seen = table.users().filter(|(user, _)| scope.is_none_or(|scope| scope == *user));
        let user = |(user, account): (u32, crate::table::Account)| snapshot::User {
            user,
            connections: account.connections,
            regions: account.regions,
            size: account.size,
            refused: account.refused,
        };
        seen.map(user).collect()
    };
    users.sort_by_key(|user| user.user);
    Snapshot {
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: shared.started.elapsed().as_secs_f64(),
        limits: shared.limits(),
        users,
        counters: shared.counters(),
        ..Snapshot::default()
    }
}

/// The one user whose regions an asker may see, or none for those who may see all.
fn scope(shared: &Shared, asker: u32) -> Option<u32> {
    (asker != 0 && asker != shared.user).then_some(asker)
}

fn look(shared: &Shared, asker: u32) -> Snapshot {
    let scope = scope(shared, asker);
    let listed = lock(&shared.table).list(scope);
    let mut commands = HashMap::new();
    let regions = listed.into_iter().map(|listed| describe(listed, &mut commands)).collect();
    let purges = lock(&shared.history).list(scope);
    Snapshot { regions, purges, ..summary(shared, asker) }
}

fn describe(listed: Listed, commands: &mut HashMap<u32, String>) -> snapshot::Region {
    let Listed { region, inode, holders } = listed;
    let holder = |(process, user): (u32, u32)| {
        let command = commands.entry(process).or_insert_with(|| command(process)).clone();
        snapshot::Holder { process, user, command }
    };
    let mut found = snapshot::Region {
        name: region.name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        inode,
        size: region.size(),
        resident: region.resident().unwrap_or(0),
        holders: holders.into_iter().map(holder).collect(),
        ..snapshot::Region::default()
    };
    let mut runs = 0;
    let looked = region.each_run(|run| {
        let length = run.range.end - run.range.start;
        match run.state {
            PageState::Unpinned => found.unpinned += length,
            PageState::Purged => found.purged += length,
            _ => found.pinned += length,
        }
        if let Some(ago) = run.unpinned_for.filter(|_| run.state == PageState::Unpinned) {
            let ago = ago.as_secs_f64();
            let youngest = found.unpinned_for_seconds.get_or_insert(ago);
            *youngest = youngest.min(ago);
        }
        runs += 1;
        if runs < RUNS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Err(error) = looked {
        // Whoever holds it can write anything into its control block.
        log::debug!("the region of inode {inode} cannot be looked at: {error}");
    }
    region.forget_pin_state();
    found
}

fn command(process: u32) -> String {
    let command = std::fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&command).trim_end().to_owned()
}
