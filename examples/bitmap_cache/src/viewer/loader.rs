//! Gets the bitmaps of what is on the screen, in a thread of its own: keys are answered at once, whatever the service does.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bitmap_cache::{Bitmap, Client, Error, Refusal, Size, Stats};

use crate::start::Way;

/// How often the service is asked what it counted while nothing is loaded, and at most otherwise.
const ASKING: Duration = Duration::from_millis(200);
/// How long to wait before a service that is gone is looked for, or started, again.
const PAUSE: Duration = Duration::from_millis(500);
/// A picture at which the service ended so often is not asked for again.
const ENDINGS: u32 = 3;

/// What there is of a picture.
#[derive(Clone, Debug)]
pub enum Slot {
    /// Its pixels were there a moment ago.
    There(Arc<Bitmap>),
    /// They have to be decoded again.
    Purged(Arc<Bitmap>),
    /// Why there are none.
    Failed(String),
}

/// Ends its thread when it is dropped.
pub struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    pictures: Vec<PathBuf>,
    size: Size,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    visible: Range<usize>,
    slots: HashMap<usize, Slot>,
    /// Grows with each change.
    news: u64,
    stats: Stats,
    /// Whether they are of after the last bitmap that came.
    is_counted: bool,
    /// What is wrong with the service, if something is.
    trouble: Option<String>,
    /// How often pixels were gone when they were to be drawn.
    purged: u64,
    ends: bool,
}

impl Loader {
    pub fn start(way: Way, client: Client, pictures: Vec<PathBuf>, size: Size) -> io::Result<Loader> {
        let shared = Shared { pictures, size, state: Mutex::default(), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let worker = Worker {
            shared: Arc::clone(&shared),
            way,
            client: Some(client),
            asked: None,
            endings: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("loader".to_owned()).spawn(move || worker.run())?;
        Ok(Loader { shared, thread: Some(thread) })
    }

    /// These pictures are on the screen; of others, bitmaps are kept if they are near.
    pub fn want(&self, visible: Range<usize>, near: Range<usize>) {
        let mut state = self.shared.lock();
        if state.visible == visible {
            return;
        }
        state.visible = visible;
        let far: Vec<usize> = state.slots.keys().copied().filter(|picture| !near.contains(picture)).collect();
        let dropped: Vec<_> = far.iter().map(|picture| state.slots.remove(picture)).collect();
        self.shared.changed.notify_all();
        drop(state);
        // Unmapped while others go on.
        drop(dropped);
    }

    /// What there is of a picture now.
    pub fn slot(&self, picture: usize) -> Option<Slot> {
        self.shared.lock().slots.get(&picture).cloned()
    }

    /// The pixels of that bitmap are gone.
    pub fn is_purged(&self, picture: usize, bitmap: &Arc<Bitmap>) {
        let mut state = self.shared.lock();
        let slot = state.slots.get_mut(&picture);
        let Some(slot) = slot.filter(|slot| matches!(slot, Slot::There(there) if Arc::ptr_eq(there, bitmap)))
        else {
            return;
        };
        *slot = Slot::Purged(Arc::clone(bitmap));
        state.purged += 1;
        self.shared.changed.notify_all();
    }

    /// A number that grows when there is something new to see.
    pub fn news(&self) -> u64 {
        self.shared.lock().news
    }

    /// What the service said last, and what is wrong with it.
    pub fn status(&self) -> (Stats, Option<String>) {
        let state = self.shared.lock();
        (state.stats, state.trouble.clone())
    }

    /// How often pixels were gone when they were to be drawn.
    pub fn purged(&self) -> u64 {
        self.shared.lock().purged
    }

    /// Waits until there is nothing to load of what is on the screen and the service has said what that took, but not longer than `patience`; whether that came to pass.
    pub fn settle(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.next().is_some() || !state.is_counted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first picture on the screen that is to be loaded.
    fn next(&self) -> Option<usize> {
        let is_missing =
            |picture: &usize| !matches!(self.slots.get(picture), Some(Slot::There(_) | Slot::Failed(_)));
        self.visible.clone().find(is_missing)
    }

    /// Whether all is loaded that somebody waits for, but not its figures.
    fn is_to_count(&self) -> bool {
        !self.is_counted && self.next().is_none()
    }
}

struct Worker {
    shared: Arc<Shared>,
    way: Way,
    client: Option<Client>,
    asked: Option<Instant>,
    /// How often the service ended while it was asked for a picture.
    endings: HashMap<usize, u32>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let mut state = self.shared.lock();
            if state.next().is_none() && !state.ends {
                let waited = self.shared.changed.wait_timeout(state, ASKING);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.ends {
                return;
            }
            let next = state.next();
            let slot = next.and_then(|picture| state.slots.get(&picture).cloned());
            drop(state);
            let Some(client) = self.client() else { continue };
            if let Some(picture) = next {
                match self.load(&client, picture, slot) {
                    Some(slot) => self.put(picture, slot),
                    None => {
                        *self.endings.entry(picture).or_default() += 1;
                        self.client = None;
                    }
                }
            }
            let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= ASKING);
            if self.client.is_some() && (is_due || self.shared.lock().is_to_count()) {
                self.ask(&client);
            }
        }
    }

    /// The service, found again or started again when it ended. `None` after a pause without one.
    fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            match self.way.connect() {
                Ok(client) => {
                    self.client = Some(client);
                    let mut state = self.shared.lock();
                    state.trouble = None;
                    // What an earlier service had given it is for nobody to look after.
                    let old = std::mem::take(&mut state.slots);
                    state.news += 1;
                    drop(state);
                    drop(old);
                }
                Err(error) => self.pause(error.to_string()),
            }
        }
        self.client.clone()
    }

    fn pause(&self, trouble: String) {
        let mut state = self.shared.lock();
        state.trouble = Some(trouble);
        state.news += 1;
        let until = Instant::now() + PAUSE;
        while !state.ends && Instant::now() < until {
            let waited = self.shared.changed.wait_timeout(state, PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What becomes of a picture; `None` when the service is gone.
    fn load(&self, client: &Client, picture: usize, slot: Option<Slot>) -> Option<Slot> {
        if self.endings.get(&picture).is_some_and(|endings| *endings >= ENDINGS) {
            return Some(Slot::Failed("the service ended each time".to_owned()));
        }
        if let Some(Slot::Purged(bitmap)) = slot {
            match bitmap.pixels().map(drop) {
                Ok(()) => return Some(Slot::There(bitmap)),
                Err(error) if error.is_disconnected() => return None,
                // It has changed, or is of no use any more: another one is asked for.
                Err(_) => {}
            }
        }
        let path = &self.shared.pictures[picture];
        let mut result = client.bitmap(path, self.shared.size);
        if result.as_ref().is_err_and(|error| error.refusal() == Some(Refusal::Quota)) {
            self.forget_hidden();
            result = client.bitmap(path, self.shared.size);
        }
        match result {
            Ok(bitmap) => Some(Slot::There(Arc::new(bitmap))),
            Err(error) if error.is_disconnected() => None,
            Err(Error::Refused { refusal: Refusal::Quota, .. }) => {
                Some(Slot::Failed("more than our share".to_owned()))
            }
            Err(error) => Some(Slot::Failed(error.to_string())),
        }
    }

    /// Drops the bitmaps of what is not on the screen.
    fn forget_hidden(&self) {
        let mut state = self.shared.lock();
        let State { slots, visible, .. } = &mut *state;
        let (kept, hidden) =
            std::mem::take(slots).into_iter().partition(|(picture, _)| visible.contains(picture));
        *slots = kept;
        drop(state);
        let _: HashMap<usize, Slot> = hidden;
    }

    fn put(&self, picture: usize, slot: Slot) {
        let mut state = self.shared.lock();
        state.slots.insert(picture, slot);
        state.is_counted = false;
        state.news += 1;
        self.shared.changed.notify_all();
    }

    fn ask(&mut self, client: &Client) {
        self.asked = Some(Instant::now());
        match client.stats() {
            Ok(stats) => {
                let mut state = self.shared.lock();
                state.news += u64::from(state.stats != stats);
                state.stats = stats;
                state.is_counted = true;
                self.shared.changed.notify_all();
            }
            Err(_) => self.client = None,
        }
    }
}
