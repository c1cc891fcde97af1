//! What one client has, and may have.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::thread_state::CallingContext;
use ashmem_binder::rsbinder::{BinderResult, Interface};

use super::entry::Entry;
use super::table::Hold;
use super::{Counters, Ready, Refused, Shared};
use crate::protocol::{IBitmapSession, PATH_MAX, Reply, Request};
use crate::{Refusal, Size};

/// How many sessions there are, by process.
pub(super) struct Sessions {
    most: usize,
    /// Of one process.
    most_of_one: usize,
    /// Bytes that each session may have.
    quota: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    processes: HashMap<i64, usize>,
}

impl Sessions {
    pub(super) fn new(most: usize, limit: u64) -> Sessions {
        let quota = limit / (most as u64 + 1);
        Sessions { most, most_of_one: most.div_ceil(2), quota, state: Mutex::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().processes.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, process: i64) -> Result<u64, Refused> {
        let mut state = self.lock();
        let of_one = state.processes.get(&process).copied().unwrap_or(0);
        if of_one >= self.most_of_one || state.processes.values().sum::<usize>() >= self.most {
            return Err(Refused::new(Refusal::Clients, format!("the service takes {} clients", self.most)));
        }
        state.processes.insert(process, of_one + 1);
        state.last += 1;
        Ok(state.last)
    }

    fn remove(&self, process: i64) {
        let mut state = self.lock();
        match state.processes.get_mut(&process) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(state.processes.remove(&process)),
        }
    }
}

/// A client's session. Its bitmaps go back when it ends, which it does with its client's process at the latest.
pub(super) struct Session {
    shared: Arc<Shared>,
    process: i64,
    number: u64,
    held: Mutex<HashMap<u64, Held>>,
}

/// A bitmap that the client was given, as often as it was.
struct Held {
    hold: Hold,
    bytes: u64,
    times: u64,
}

impl Session {
    pub(super) fn open(shared: &Arc<Shared>) -> Result<Session, Refused> {
        let process = i64::from(CallingContext::default().pid);
        let number =
            shared.sessions.add(process).inspect_err(|_| Counters::count(&shared.counters.refused))?;
        Ok(Session { shared: Arc::clone(shared), process, number, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bitmap that the client finds spoilt is given to nobody any more.
    fn discard(&self, spoilt: i64) {
        let spoilt = u64::try_from(spoilt).ok();
        if let Some(held) = spoilt.and_then(|spoilt| self.held().get(&spoilt).map(|held| held.hold.number)) {
            self.shared.table.discard(held);
        }
    }

    /// Numbers that the client does not have are passed over.
    fn release(&self, released: &[i64]) {
        let mut held = self.held();
        for number in released.iter().filter_map(|number| u64::try_from(*number).ok()) {
            match held.get_mut(&number) {
                Some(bitmap) if bitmap.times > 1 => bitmap.times -= 1,
                Some(_) => drop(held.remove(&number)),
                None => {}
            }
        }
    }

    /// Whether the client may have so many bytes more.
    fn admit(&self, held: &HashMap<u64, Held>, bytes: u64) -> Result<(), Refused> {
        let (has, quota) = (held.values().map(|held| held.bytes).sum::<u64>(), self.shared.sessions.quota);
        if has.saturating_add(bytes) <= quota {
            return Ok(());
        }
        let message =
            format!("a bitmap takes {bytes} bytes, and the client has {has} of the {quota} that it may have");
        Err(Refused::new(Refusal::Quota, message))
    }

    fn answer(&self, request: &Request) -> Result<Ready, Refused> {
        let path = Path::new(OsStr::from_bytes(&request.path));
        if request.path.len() > PATH_MAX || !path.is_absolute() {
            return Err(Refused::new(Refusal::Request, "the path is not absolute, or too long"));
        }
        let side = |side: i32| u32::try_from(side).unwrap_or(0);
        let size = Size::new(side(request.width), side(request.height))
            .map_err(|error| Refused::new(Refusal::Request, error.to_string()))?;
        let admit = |entry, bytes| {
            let held = self.held();
            match held.contains_key(&entry) {
                true => Ok(()),
                false => self.admit(&held, bytes),
            }
        };
        self.shared.bitmap(self.number, path, size, &admit)
    }

    /// Gives it to the client, unless it has that already.
    fn give(&self, ready: Ready, known: i64) -> BinderResult<Reply> {
        let Ready { hold, is_decoded } = ready;
        let missing = || Refused::new(Refusal::Memory, "the bitmap has no memory");
        let size = hold.size().ok_or_else(missing)?;
        let number = hold.number;
        let reply = |descriptor| Reply {
            number: number as i64,
            width: size.width() as i32,
            height: size.height() as i32,
            is_decoded,
            descriptor,
        };
        let mut held = self.held();
        let is_held = held.contains_key(&number);
        if is_held && u64::try_from(known) == Ok(number) {
            return Ok(reply(None));
        }
        let bytes = Entry::most_bytes(size);
        if !is_held {
            self.admit(&held, bytes)?;
        }
        let descriptor = hold.region().ok_or_else(missing)?.share_read_only();
        let descriptor = ParcelFileDescriptor::new(descriptor.map_err(|error| Refused::memory(&error))?);
        held.entry(number).or_insert(Held { hold, bytes, times: 0 }).times += 1;
        Ok(reply(Some(descriptor)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.sessions.remove(self.process);
    }
}

impl Interface for Session {}

impl IBitmapSession for Session {
    fn bitmap(&self, request: &Request) -> BinderResult<Reply> {
        self.discard(request.known.saturating_neg());
        self.release(&request.released);
        let reply =
            self.answer(request).map_err(Into::into).and_then(|ready| self.give(ready, request.known));
        reply.inspect_err(|_| Counters::count(&self.shared.counters.refused))
    }
}
