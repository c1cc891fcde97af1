//! Callbacks that can be removed: afterwards they do not run any more.

use std::cell::RefCell;
use std::mem::{ManuallyDrop, take};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{ListenerId, PurgeEvent, Reclaimer};
use rustix::process::getpid;

thread_local! {
    /// The calls that this thread is in, by the address of what they count in. Without a destructor, as callbacks run and are removed
    /// also while the thread, or the process, ends.
    static RUNNING: RefCell<ManuallyDrop<Vec<usize>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// A listener of the global reclaimer.
pub(crate) struct Callback {
    id: ListenerId,
    calls: Arc<Calls>,
}

/// How many calls are under way. A child of `fork(2)` has none of its parent's.
#[derive(Default)]
struct Calls {
    /// The process in the upper half, their number in the lower.
    count: AtomicU64,
    removed: AtomicBool,
}

impl Callback {
    pub(crate) fn register(function: impl Fn(&PurgeEvent) + Send + Sync + 'static) -> Callback {
        let calls = Arc::new(Calls::default());
        let own = calls.clone();
        let id = Reclaimer::global().on_purge(move |event| own.run(|| function(event)));
        Callback { id, calls }
    }

    /// Ends it: no call begins any more, and those of other threads have ended. From within a call that one goes on.
    pub(crate) fn remove(self) {
        self.calls.removed.store(true, Ordering::SeqCst);
        Reclaimer::global().remove_listener(self.id);
        let address = Arc::as_ptr(&self.calls).addr();
        let own = RUNNING.with_borrow(|running| running.iter().filter(|other| **other == address).count());
        let own = own as u64;
        while self.calls.under_way() > own {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Calls {
    fn run(&self, function: impl FnOnce()) {
        let process = process();
        let begin = |count| Some(if count >> 32 == process >> 32 { count + 1 } else { process + 1 });
        let end = |count| (count >> 32 == process >> 32).then(|| count - 1);
        // Cannot fail: it always has an answer.
        let _ = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, begin);
        // One of this and the removal sees the other.
        if !self.removed.load(Ordering::SeqCst) {
            RUNNING.with_borrow_mut(|running| running.push(std::ptr::from_ref(self).addr()));
            function();
            RUNNING.with_borrow_mut(|running| {
                running.pop();
                if running.is_empty() {
                    drop(take(&mut **running));
                }
            });
        }
        // Fails in a child that was forked in the call: there it was never counted.
        let _ = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, end);
    }

    fn under_way(&self) -> u64 {
        let count = self.count.load(Ordering::SeqCst);
        if count >> 32 == process() >> 32 { count & u64::from(u32::MAX) } else { 0 }
    }
}

/// This process, in the upper half.
fn process() -> u64 {
    u64::from(getpid().as_raw_nonzero().get().unsigned_abs()) << 32
}
