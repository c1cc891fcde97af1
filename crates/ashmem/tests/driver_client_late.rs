//! What a program says to the driver daemon while the reclaimer's thread is about to sleep, and what cannot be sent just then.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake_daemon;

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ashmem::driver::protocol::{Reason, Reply, Request};
use ashmem::driver::socket;
use ashmem::pressure::ManualPressure;
use ashmem::{Clock, Reclaimer, Region, page_size};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{Uid, set_thread_uid};

use fake_daemon::*;

/// Descriptors that this process may have, and that may be on their way.
const DESCRIPTORS: usize = 320;

const COUNT: usize = 5;

type Hook = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

/// Does something whenever the time is asked for; then more of it has passed than the thread waits for before it sleeps.
struct Hooked {
    now: Mutex<Duration>,
    hook: Hook,
}

impl Clock for Hooked {
    fn now(&self) -> Duration {
        if let Some(hook) = &mut *self.hook.lock().expect("no panic") {
            hook();
        }
        let mut now = self.now.lock().expect("no panic");
        *now += Duration::from_secs(1);
        *now
    }
}

/// So many descriptors on their way that the kernel passes no more of them on for this user, but for who may do anything.
fn too_many() -> impl Sized {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (sender, receiver) = pair.expect("sockets");
    let file = std::fs::File::open("/dev/null").expect("opened");
    while socket::send(&sender, b"x", &[file.as_fd(); 64]).is_ok() {}
    (sender, receiver)
}

#[test]
fn what_the_system_is_too_short_of_something_for_is_sent_later() {
    let limit = Rlimit { current: Some(DESCRIPTORS as u64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("less than before");
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let hook = Hook::default();
    let clock = Hooked { now: Mutex::default(), hook: hook.clone() };
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().driver(&path).pressure(pressure).clock(clock).build();
    let mut served = many(&reclaimer, COUNT);
    let peer = daemon.welcome();
    peer.registered(COUNT);
    // One that is looked after here, for which the thread waits before it sleeps.
    let own = unpinned(&reclaimer);
    let (refused, _) = peer.registered(1).remove(0);
    peer.say(&Reply::Refused { id: refused, reason: Reason::Quota });
    eventually("it is refused", || reclaimer.served() == COUNT);

    let make = |_| {
        let options = Region::options().purgeable().reclaimer(&reclaimer);
        options.create("late", page_size()).expect("a region")
    };
    let kept: Vec<Region> = (0..COUNT).map(make).collect();
    let (mut late, client) = (kept.clone(), reclaimer.clone());
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let in_hook = move || {
        let (Some(region), Some(late)) = (served.pop(), late.pop()) else { return };
        let before = client.served();
        let speak = || {
            if rustix::process::geteuid().is_root() {
                // This thread alone.
                set_thread_uid(Uid::from_raw(65534)).expect("somebody else");
            }
            let _many = too_many();
            late.unpin(..).expect("unpinned");
            assert_eq!(client.served(), before, "it cannot be registered");
            let _ = late.pin(..).expect("pinned");
            drop(region);
            count.fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| scope.spawn(speak).join().expect("no panic"));
    };
    *hook.lock().expect("no panic") = Some(Box::new(in_hook));
    let _ = own.pin(..).expect("pinned");

    eventually("the thread asks for the time", || dropped.load(Ordering::Relaxed) > 0);
    eventually("it sleeps", || {
        let looks = reclaimer.metrics().looks;
        std::thread::sleep(Duration::from_millis(500));
        reclaimer.metrics().looks == looks
    });
    let dropped = dropped.load(Ordering::Relaxed);
    let mut released = HashSet::new();
    while released.len() < dropped {
        match peer.receive().expect("not the end") {
            (Request::Register(_), _) => {}
            (Request::Release(ids), _) => released.extend(ids),
            (other, _) => panic!("{other:?}"),
        }
    }
    drop(kept);
}
