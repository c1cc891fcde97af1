//! What is said and kept of purges. Who reclaims leaves the saying to another thread, as a region can be registered any number of times.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::Instant;

use ashmem::PurgeEvent;
use ashmem::driver::protocol::Reply;
use ashmem::driver::{peer, socket};

use crate::shared::{Shared, add, lock};
use crate::snapshot;

/// Purges that are remembered.
const REMEMBERED: usize = 1024;

/// Memory of what a client has not read, beyond which it hears of no more purges: so that there is room for what it must hear.
const UNREAD: u64 = 64 << 10;

/// Purges that wait to be told, at most.
const UNTOLD: usize = 1024;

/// The last purges.
#[derive(Debug, Default)]
pub(crate) struct History {
    purges: VecDeque<Remembered>,
    /// All that there ever were.
    count: u64,
}

#[derive(Debug)]
struct Remembered {
    number: u64,
    at: Instant,
    name: String,
    inode: u64,
    start: u64,
    end: u64,
    freed: u64,
    /// Those who had registered the region.
    users: Vec<u32>,
}

impl History {
    fn remember(&mut self, event: &PurgeEvent, inode: u64, users: Vec<u32>) {
        self.count += 1;
        if self.purges.len() == REMEMBERED {
            self.purges.pop_front();
        }
        let name = event.region.name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (number, at, range) = (self.count, Instant::now(), &event.range);
        let (start, end, freed) = (range.start, range.end, event.freed);
        self.purges.push_back(Remembered { number, at, name, inode, start, end, freed, users });
    }

    /// Those of a user's regions, or all, the latest last.
    pub(crate) fn list(&self, user: Option<u32>) -> Vec<snapshot::Purge> {
        let is_of = |purge: &&Remembered| user.is_none_or(|user| purge.users.contains(&user));
        let purge = |purge: &Remembered| snapshot::Purge {
            number: purge.number,
            ago_seconds: purge.at.elapsed().as_secs_f64(),
            name: purge.name.clone(),
            inode: purge.inode,
            start: purge.start,
            end: purge.end,
            freed: purge.freed,
        };
        self.purges.iter().filter(is_of).map(purge).collect()
    }
}

/// A purge that is to be told.
struct News {
    inode: u64,
    range: Range<u64>,
    freed: u64,
}

/// Tells those that listen of a purge; never waits.
fn tell(shared: &Shared, news: &News) {
    for recipient in lock(&shared.table).recipients(news.inode) {
        let purged = Reply::Purged { id: recipient.id, range: news.range.clone(), freed: news.freed };
        let is_behind = peer::unread(&*recipient.socket).is_ok_and(|bytes| bytes > UNREAD);
        if is_behind || socket::send(&*recipient.socket, &purged.encode(), &[]).is_err() {
            add(&shared.counters.dropped_messages, 1);
        }
    }
}

/// Has all purges of the daemon's reclaimer remembered and told, for as long as the daemon lives.
pub(crate) fn listen(shared: &Arc<Shared>) -> std::io::Result<()> {
    let (news, untold) = sync_channel::<News>(UNTOLD);
    let weak = Arc::downgrade(shared);
    let tell_all = move || {
        for news in untold {
            if let Some(shared) = weak.upgrade() {
                tell(&shared, &news);
            }
        }
    };
    Builder::new().name("telling".into()).spawn(tell_all)?;
    let weak = Arc::downgrade(shared);
    shared.reclaimer.on_purge(move |event| {
        let (Some(shared), Ok(inode)) = (weak.upgrade(), event.region.file_id()) else { return };
        let (users, is_awaited) = lock(&shared.table).concerned(inode);
        lock(&shared.history).remember(event, inode, users);
        let next = News { inode, range: event.range.clone(), freed: event.freed };
        if is_awaited && news.try_send(next).is_err() {
            add(&shared.counters.dropped_messages, 1);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use ashmem::{Reclaimer, Region};

    use super::*;

    #[test]
    fn the_last_ones_of_one_s_own() {
        let history = Arc::new(std::sync::Mutex::new(History::default()));
        let reclaimer = Reclaimer::builder().without_thread().build();
        let noted = history.clone();
        reclaimer.on_purge(move |event| {
            let mut history = lock(&noted);
            let users = vec![if history.count % 2 == 0 { 7 } else { 8 }];
            history.remember(event, 1, users);
        });
        let region = Region::options().reclaimer(&reclaimer).create("purged", 4096).expect("a region");
        let purges = REMEMBERED as u64 + 10;
        for _ in 0..purges {
            let _ = region.pin(..).expect("pinned");
            region.unpin(..).expect("unpinned");
            reclaimer.purge_all();
        }
        let history = lock(&history);
        let all = history.list(None);
        assert_eq!((all.len(), all[0].number, all[REMEMBERED - 1].number), (REMEMBERED, 11, purges));
        assert_eq!((all[0].name.as_str(), all[0].start, all[0].end), ("purged", 0, ashmem::page_size()));
        assert_eq!(history.list(Some(7)).len(), REMEMBERED / 2);
        assert!(history.list(Some(9)).is_empty());
    }
}
