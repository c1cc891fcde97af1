//! A reclaimer and a driver daemon: what is said, who looks after which region, and what happens when the daemon is gone, hangs or
//! talks nonsense. The daemon is the test's own.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake_daemon;

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ashmem::driver::protocol::{Reason, Reply, Request, VERSION};
use ashmem::pressure::ManualPressure;
use ashmem::{Contents, Policy, Reclaimer, Region, page_size};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use fake_daemon::*;

/// A client with a region that the daemon serves, and its number.
struct Served {
    daemon: Daemon,
    peer: Peer,
    reclaimer: Reclaimer,
    pressure: ManualPressure,
    region: Region,
    id: u64,
    dir: tempfile::TempDir,
}

fn served() -> Served {
    served_as(true)
}

fn served_as(sees_limits: bool) -> Served {
    let (dir, path) = place();
    let daemon = Daemon::listen(&path);
    let (reclaimer, pressure) = client(&path);
    let region = unpinned(&reclaimer);
    let peer = daemon.welcome_as(sees_limits);
    let (id, fd) = peer.registered(1).remove(0);
    assert!(is_same(&region, &fd));
    eventually("it is served", || reclaimer.served() == 1);
    assert_eq!(reclaimer.driver().as_deref(), Some(&*path));
    Served { daemon, peer, reclaimer, pressure, region, id, dir }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    match role.split_once(' ') {
        Some(("daemon", path)) => {
            let daemon = Daemon::listen(Path::new(path));
            loop {
                let _ = daemon.welcome().pong();
            }
        }
        None if role == "client" => {
            let region = unpinned(Reclaimer::global());
            // The daemon, if there is one, has to have the region before this ends.
            if std::env::var_os("WAIT").is_some() {
                eventually("it is served", || Reclaimer::global().served() == 1);
            }
            assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
        }
        _ => panic!("unknown role"),
    }
}

#[test]
fn a_region_is_registered_at_its_first_unpin_and_never_again() {
    let Served { peer, reclaimer, region, id, .. } = served();
    for _ in 0..1000 {
        assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
        region.unpin(..).expect("unpinned");
        region.unpin(page_size()..).expect("unpinned");
    }
    assert!(peer.is_silent(), "pins and unpins tell nobody");
    let pinned = filled(&reclaimer);
    assert!(peer.is_silent(), "what is pinned is nobody's business");
    pinned.unpin(..).expect("unpinned");
    // By the thread that unpins, so it is there already.
    assert!(!peer.is_silent() && reclaimer.served() == 2);
    let clone = region.clone();
    drop(region);
    assert!(peer.is_silent(), "a clone is left");
    drop(clone);
    assert_eq!(peer.hear(), Request::Release(vec![id]));
    assert_eq!(reclaimer.served(), 1);
}

#[test]
fn a_region_of_two_files_is_not_registered_and_is_looked_after_here() {
    let Served { peer, reclaimer, pressure, region, .. } = served();
    let contents = Region::options().never_purgeable().create("apart", size()).expect("a region");
    let contents = contents.into_fd().expect("a descriptor");
    let apart = Region::options().reclaimer(&reclaimer).with_state_apart(contents).expect("a region");
    apart.map().expect("mapped").fill(0, size(), 1).expect("inside");
    apart.unpin(..).expect("unpinned");
    assert!(peer.is_silent() && reclaimer.served() == 1);
    // The daemon may know the file, and has not heard of the other.
    pressure.set(short());
    eventually("it is purged here", || is_gone(&apart));
    assert!(!is_gone(&region), "that is the daemon's");
    assert_eq!(apart.pin(..).expect("pinned"), Contents::Purged);
    drop(apart);

    // Also where all that there is is made known to a daemon that has just come.
    let (dir, path) = place();
    let (reclaimer, _pressure) = client(&path);
    let contents = Region::options().never_purgeable().create("apart", size()).expect("a region");
    let contents = contents.into_fd().expect("a descriptor");
    let apart = Region::options().reclaimer(&reclaimer).with_state_apart(contents).expect("a region");
    apart.unpin(..).expect("unpinned");
    let region = unpinned(&reclaimer);
    let daemon = Daemon::listen(&path);
    let peer = daemon.welcome();
    assert!(is_same(&region, &peer.registered(1).remove(0).1));
    eventually("it is served", || reclaimer.served() == 1);
    drop((apart, dir));
}

#[test]
fn nobody_wakes_up_while_all_is_served() {
    let Served { peer, reclaimer, region, .. } = served();
    // The thread may still be on its way to bed.
    eventually("it sleeps", || {
        let looks = reclaimer.metrics().looks;
        std::thread::sleep(Duration::from_millis(100));
        reclaimer.metrics().looks == looks
    });
    let looks = reclaimer.metrics().looks;
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let _ = region.pin(..).expect("pinned");
        region.unpin(..).expect("unpinned");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reclaimer.metrics().looks, looks);
    assert!(peer.is_silent() && reclaimer.is_running());
}

#[test]
fn whatever_ends_a_region_releases_it() {
    let Served { peer, reclaimer, region, id, .. } = served();
    let fd = region.into_fd().expect("a descriptor");
    assert_eq!(peer.hear(), Request::Release(vec![id]));
    let again = Region::from_fd_with(fd, Region::options().reclaimer(&reclaimer)).expect("a region");
    let (other, _) = peer.registered(1).remove(0);
    assert_ne!(id, other, "a number is never used again");
    drop(again);
    assert_eq!(peer.hear(), Request::Release(vec![other]));
}

#[test]
fn a_frozen_region_waits_for_the_daemon_s_mapping() {
    let Served { peer, reclaimer, region: _other, .. } = served();
    let region = unpinned(&reclaimer);
    let (id, fd) = peer.registered(1).remove(0);
    let adopted = Region::adopt(fd).expect("a region");
    let frozen = std::thread::spawn(move || region.freeze().map(|frozen| frozen.len()));
    assert_eq!(peer.hear(), Request::Release(vec![id]));
    drop(adopted);
    assert_eq!(frozen.join().expect("no panic").expect("frozen") as u64, size());
}

#[test]
fn served_regions_are_the_daemon_s_and_refused_ones_are_not() {
    let Served { peer, reclaimer, pressure, region, id, .. } = served();
    let other = unpinned(&reclaimer);
    let (refused, _) = peer.registered(1).remove(0);
    peer.say(&Reply::Refused { id: u64::MAX, reason: Reason::Quota });
    peer.say(&Reply::Refused { id: refused, reason: Reason::Quota });
    eventually("it is refused", || reclaimer.served() == 1);
    let daemon = std::thread::spawn(move || peer.pong());
    pressure.set(short());
    eventually("the refused one goes", || is_gone(&other));
    // It is unpinned again after the thread has gone to sleep, too, and not offered again.
    for _ in 0..3 {
        assert_eq!(other.pin(..).expect("pinned"), Contents::Purged);
        other.map().expect("mapped").fill(0, size(), 1).expect("inside");
        std::thread::sleep(Duration::from_millis(400));
        other.unpin(..).expect("unpinned");
        eventually("the refused one goes again", || is_gone(&other));
    }
    assert!(!is_gone(&region) && reclaimer.served() == 1);
    // What is called explicitly is done.
    assert_eq!(reclaimer.purge_all().bytes, size());
    assert!(is_gone(&region));
    drop(other);
    drop(region);
    // Nothing of the refused one.
    assert_eq!(daemon.join().expect("no panic"), [Request::Release(vec![id])]);
}

#[test]
fn a_daemon_that_does_not_see_all_limits_has_help() {
    let Served { peer, reclaimer, pressure, region, id, .. } = served_as(false);
    let daemon = std::thread::spawn(move || peer.pong());
    for round in 0..2 {
        pressure.set(short());
        eventually("it is purged here", || is_gone(&region));
        pressure.set(Default::default());
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged, "round {round}");
        region.map().expect("mapped").fill(0, size(), 1).expect("inside");
        // The thread sleeps meanwhile, until the next unpin.
        std::thread::sleep(Duration::from_millis(600));
        region.unpin(..).expect("unpinned");
    }
    assert_eq!(reclaimer.served(), 1);
    drop(region);
    assert_eq!(daemon.join().expect("no panic"), [Request::Release(vec![id])]);
}

#[test]
fn pings_are_answered_or_the_daemon_is_gone() {
    let Served { peer, reclaimer, pressure, region, .. } = served();
    pressure.stall();
    match peer.hear() {
        Request::Ping(number) => peer.say(&Reply::Pong(number)),
        other => panic!("{other:?}"),
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(reclaimer.served(), 1);
    pressure.set(short());
    assert!(matches!(peer.hear(), Request::Ping(_)));
    // Another answer is none.
    peer.say(&Reply::Pong(u64::MAX));
    eventually("it is purged here", || is_gone(&region));
    assert_eq!((reclaimer.served(), reclaimer.driver()), (0, None));
    peer.ends();
}

#[test]
fn a_daemon_that_is_too_late_is_not_waited_for() {
    let Served { peer, reclaimer, pressure, region, .. } = served();
    let daemon = std::thread::spawn(move || peer.pong());
    pressure.set(short());
    let looks = reclaimer.metrics().looks;
    eventually("it is on its guard", || reclaimer.metrics().looks > looks + 5);
    assert!(!is_gone(&region));
    pressure.set(dire());
    eventually("it is purged here", || is_gone(&region));
    assert_eq!(reclaimer.served(), 1, "it is the daemon's all the same");
    pressure.set(Default::default());
    eventually("it sleeps again", || {
        let looks = reclaimer.metrics().looks;
        std::thread::sleep(Duration::from_millis(100));
        reclaimer.metrics().looks == looks
    });
    drop(region);
    daemon.join().expect("no panic");
}

#[test]
fn a_killed_daemon_s_work_is_done_at_once_and_its_successor_gets_all_back() {
    let (_dir, path) = place();
    let start = || Worker::start(&format!("daemon {}", path.display()), |_| ());
    let mut daemon = start();
    eventually("it listens", || path.exists());
    let (reclaimer, pressure) = client(&path);
    let regions: Vec<Region> = (0..100).map(|_| unpinned(&reclaimer)).collect();
    eventually("all are served", || reclaimer.served() == 100);
    for _ in 0..3 {
        drop(std::mem::replace(&mut daemon, start()));
        eventually("all are served again", || reclaimer.served() == 100);
    }
    pressure.set(short());
    assert!(regions.iter().all(|region| !is_gone(region)));
    drop(daemon);
    eventually("all are purged", || regions.iter().all(is_gone));
    assert_eq!(reclaimer.driver(), None);
}

#[test]
fn a_daemon_that_comes_later_is_found() {
    let (dir, _) = place();
    // Without a directory to watch, too.
    for (place, is_there) in [("there", true), ("made later", false)] {
        let (path, directory) = (dir.path().join(place).join("driver"), dir.path().join(place));
        if is_there {
            std::fs::create_dir(&directory).expect("made");
        }
        let (reclaimer, _) = client(&path);
        let _region = unpinned(&reclaimer);
        assert!(reclaimer.is_running());
        if !is_there {
            std::fs::create_dir(&directory).expect("made");
        }
        let daemon = Daemon::listen(&path);
        let peer = daemon.welcome();
        assert_eq!(peer.registered(1).len(), 1);
        eventually("it is served", || reclaimer.served() == 1);
    }
}

/// Room for so many descriptors, and as many as the process's other tests need. Returns for how many there is.
fn descriptors_for(wanted: u64) -> usize {
    const OTHERS: u64 = 6_000;
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX).min(10_000 + OTHERS);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limits.maximum }).expect("raised");
    wanted.min(most.saturating_sub(OTHERS)) as usize
}

#[test]
fn ten_thousand_regions_are_lost_and_regained() {
    let count = descriptors_for(10_000);
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let (reclaimer, _) = client(&path);
    let regions = many(&reclaimer, count);
    let peer = daemon.welcome();
    let mut first: Vec<u64> = Vec::new();
    while first.len() < count {
        first.extend(peer.registered_some().iter().map(|(id, _)| *id));
    }
    eventually("all are served", || reclaimer.served() == count);
    drop((peer, daemon));
    let started = Instant::now();
    let daemon = Daemon::listen(&path);
    let peer = daemon.welcome();
    let mut again: Vec<u64> = Vec::new();
    while again.len() < count {
        again.extend(peer.registered_some().iter().map(|(id, _)| *id));
    }
    println!("{count} regions were registered again in {:?}", started.elapsed());
    let ids: HashSet<u64> = again.iter().copied().collect();
    assert_eq!((again.len(), ids.len()), (count, count), "each once");
    assert_eq!(ids, first.into_iter().collect());
    eventually("all are served again", || reclaimer.served() == count);
    // Nobody reads for now.
    let started = Instant::now();
    drop(regions);
    println!("and dropped in {:?}, while nobody read", started.elapsed());
    let mut released = HashSet::new();
    while released.len() < count {
        match peer.hear() {
            Request::Release(ids) => released.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(released, ids);
}

/// Figures for people: nothing is asserted about time.
#[test]
fn the_first_unpin_is_timed() {
    const COUNT: usize = 200;
    let time = |reclaimer: &Reclaimer| {
        let options = Region::options().purgeable().reclaimer(reclaimer);
        let regions: Vec<Region> =
            (0..COUNT).map(|_| options.create("timed", page_size()).expect("a region")).collect();
        let unpin = |region: &Region| {
            let started = Instant::now();
            region.unpin(..).expect("unpinned");
            started.elapsed()
        };
        let first = unpin(&regions[0]);
        std::thread::sleep(Duration::from_millis(20));
        let mut rest: Vec<Duration> = regions[1..].iter().map(unpin).collect();
        rest.sort();
        (regions, first, rest[COUNT / 2])
    };
    let (_dir, path) = place();
    // The first descriptor with a high number makes the kernel enlarge a table, which takes milliseconds.
    let _ = time(&client(&path.with_extension("none")).0);
    let (without, _) = client(&path.with_extension("none"));
    let (_regions, first, rest) = time(&without);
    println!("without a daemon: the first region {first:?}, each other {rest:?}");
    let daemon = Daemon::listen(&path);
    let answers = std::thread::spawn(move || daemon.welcome().registered(COUNT).len());
    let (with, _) = client(&path);
    let (regions, first, rest) = time(&with);
    println!("with a daemon: the first region {first:?}, each other {rest:?}");
    assert_eq!(answers.join().expect("no panic"), COUNT);
    assert_eq!(regions.len(), COUNT);
}

#[test]
fn what_there_is_no_room_for_is_sent_later() {
    const COUNT: usize = 1000;
    descriptors_for(0);
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let (reclaimer, pressure) = client(&path);
    pressure.set(short());
    let first = unpinned(&reclaimer);
    eventually("it is purged here, before anybody is there", || is_gone(&first));
    let _ = first.pin(..).expect("pinned");
    first.unpin(..).expect("unpinned");
    let peer = (0..3).map(|_| daemon.accept()).find(Peer::is_wanted).expect("it connects, perhaps again");
    peer.registered(1);
    eventually("it is served", || reclaimer.served() == 1);
    // Nobody reads for now.
    let regions = many(&reclaimer, COUNT);
    let served = reclaimer.served();
    assert!(served < COUNT, "the socket has room for {served}");
    // Those that are not served are looked after here.
    let other = unpinned(&reclaimer);
    eventually("it is purged here", || is_gone(&other));
    assert_eq!(peer.registered(COUNT + 1).len(), COUNT + 1);
    eventually("all are served", || reclaimer.served() == COUNT + 2);
    drop(regions);
}

fn daemon_again(daemon: &Daemon, peer: &mut Peer) -> Peer {
    // A daemon that is found wanting is tried again when its socket appears anew.
    std::fs::rename(&daemon.path, daemon.path.with_extension("old")).expect("renamed");
    std::fs::rename(daemon.path.with_extension("old"), &daemon.path).expect("renamed");
    std::mem::replace(peer, daemon.welcome())
}

#[test]
fn a_daemon_that_never_answers_serves_nothing() {
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let (reclaimer, pressure) = client(&path);
    let region = unpinned(&reclaimer);
    let peer = daemon.accept();
    assert_eq!(peer.hear(), Request::Hello { version: VERSION });
    pressure.set(short());
    eventually("it is purged here", || is_gone(&region));
    assert!(peer.is_silent() && reclaimer.driver().is_none());
}

#[test]
fn nonsense_ends_the_connection() {
    let wrong = |say: &dyn Fn(&Peer)| {
        let Served { peer, reclaimer, pressure, region, .. } = served();
        say(&peer);
        peer.ends();
        pressure.set(short());
        eventually("it is purged here", || is_gone(&region));
        assert_eq!((reclaimer.served(), reclaimer.driver()), (0, None));
    };
    wrong(&|peer| peer.say_bytes(b"nonsense"));
    wrong(&|peer| peer.say_bytes(&[0; 8000]));
    wrong(&|peer| peer.say(&Reply::Answer(1)));
    wrong(&|peer| peer.say(&Reply::Welcome { version: VERSION, sees_limits: true }));
    wrong(&|peer| {
        let fd = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let packet = Reply::Pong(1).encode();
        ashmem::driver::socket::send(&peer.socket, &packet, &[std::os::fd::AsFd::as_fd(&fd)]).expect("sent");
    });
}

#[test]
fn another_version_is_not_talked_to() {
    let welcome = Reply::Welcome { version: VERSION + 1, sees_limits: true };
    for first in [welcome, Reply::Pong(1), Reply::Refused { id: 1, reason: Reason::Busy }] {
        let (_dir, path) = place();
        let daemon = Daemon::listen(&path);
        let (reclaimer, pressure) = client(&path);
        let region = unpinned(&reclaimer);
        let peer = daemon.accept();
        assert_eq!(peer.hear(), Request::Hello { version: VERSION });
        peer.say(&first);
        peer.ends();
        pressure.set(short());
        eventually("it is purged here", || is_gone(&region));
        assert_eq!(reclaimer.driver(), None);
        // It is left in peace until a new socket appears.
        assert!(daemon.try_accept().is_none());
        let mut peer = peer;
        drop(daemon_again(&daemon, &mut peer));
        peer.registered(1);
    }
}

#[test]
fn another_user_s_daemon_sees_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("not checked: it takes root to be somebody else");
        return;
    }
    let (_dir, path) = place();
    std::fs::set_permissions(
        path.parent().expect("a directory"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .expect("permitted");
    let place = path.clone();
    let daemon = std::thread::spawn(move || {
        // This thread alone.
        rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(65534)).expect("somebody else");
        Daemon::listen(&place)
    })
    .join()
    .expect("listens");
    let (reclaimer, pressure) = client(&path);
    let region = unpinned(&reclaimer);
    let peer = daemon.accept();
    assert!(peer.receive().is_none(), "not even greeted");
    pressure.set(short());
    eventually("it is purged here", || is_gone(&region));
    assert_eq!(reclaimer.driver(), None);
}

#[test]
fn purges_by_the_daemon_are_told() {
    let Served { peer, reclaimer, region, id, .. } = served();
    let events = reclaimer.purge_events().expect("an eventfd");
    assert_eq!(peer.hear(), Request::Listen(true));
    let (sender, heard) = mpsc::channel();
    let listener = reclaimer.on_purge(move |event| {
        let _ = sender.send((event.region.file_id().expect("a file"), event.range.clone(), event.freed));
    });
    let page = page_size();
    let purged = |id, range, freed| peer.say(&Reply::Purged { id, range, freed });
    purged(u64::MAX, 0..page, page);
    purged(id, 1..page, page);
    purged(id, 0..u64::MAX / page * page, page);
    purged(id, 0..page, page);
    purged(id, page..3 * page, u64::MAX);
    let inode = region.file_id().expect("a file");
    let next = || heard.recv_timeout(Duration::from_secs(30)).expect("told");
    assert_eq!(next(), (inode, 0..page, page));
    assert_eq!(next(), (inode, page..3 * page, 2 * page));
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&events, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 2, "the others are no purges of regions here");
    drop(events);
    assert!(reclaimer.remove_listener(listener));
    assert_eq!(peer.hear(), Request::Listen(false));
    assert_eq!(reclaimer.served(), 1);
}

#[test]
fn a_policy_of_its_own_asks_no_daemon() {
    let Served { daemon, peer, reclaimer, region, dir: _dir, .. } = served();
    reclaimer.set_policy(Policy::new().budget(0));
    peer.ends();
    eventually("it is purged here", || is_gone(&region));
    assert_eq!((reclaimer.served(), reclaimer.driver()), (0, None));
    region.unpin(..).expect("unpinned");
    assert!(daemon.try_accept().is_none());
    reclaimer.set_policy(Policy::new());
    eventually("the old thread ends, or has asked", || {
        let _ = region.pin(..);
        region.map().expect("mapped").fill(0, size(), 1).expect("inside");
        region.unpin(..).expect("unpinned");
        reclaimer.is_running()
    });
    daemon.welcome().registered(1);
}

#[test]
fn without_regions_there_is_no_connection() {
    let Served { daemon, peer, reclaimer, region, dir: _dir, .. } = served();
    drop(region);
    peer.ends();
    eventually("the thread ends", || !reclaimer.is_running());
    let _again = unpinned(&reclaimer);
    daemon.welcome().registered(1);
}

#[test]
fn a_panicking_listener_ends_the_connection_and_the_next_unpin_makes_another() {
    struct Broken;
    impl ashmem::pressure::PressureSource for Broken {
        fn read_into(&mut self, _: &mut ashmem::pressure::Reading) {}

        fn wait(
            &mut self,
            wake: std::os::fd::BorrowedFd<'_>,
            _: Option<Duration>,
        ) -> ashmem::pressure::Woken {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(wake, rustix::event::PollFlags::IN)];
            while rustix::event::poll(&mut fds, None).is_err() {}
            panic!("on purpose");
        }
    }
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let reclaimer = Reclaimer::builder().driver(&path).pressure(Broken).build();
    let region = unpinned(&reclaimer);
    let break_it = || {
        // Whatever wakes the thread ends it: the welcome, unless that was there before it slept, or what is said then.
        let peer = daemon.welcome();
        if peer.receive().is_some() {
            peer.say(&Reply::Pong(0));
            peer.ends();
        }
    };
    break_it();
    eventually("the thread ends", || !reclaimer.is_running());
    region.unpin(..).expect("unpinned");
    assert!(reclaimer.is_running());
    break_it();
}

#[test]
fn the_environment_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("ashmem")).expect("made");
    let own = Daemon::listen(&dir.path().join("ashmem/driver"));
    let named = Daemon::listen(&dir.path().join("named"));
    let start = |driver: Option<&str>| {
        Worker::start("client", |command| {
            command.env("XDG_RUNTIME_DIR", dir.path()).env_remove("ASHMEM_DRIVER").env_remove("WAIT");
            if let Some(driver) = driver {
                command.env("ASHMEM_DRIVER", driver);
            }
            if driver != Some("off") {
                command.env("WAIT", "1");
            }
        })
    };
    start(Some("off")).succeeds();
    assert!(own.try_accept().is_none() && named.try_accept().is_none());
    for (daemon, driver) in [(&own, None), (&named, named.path.to_str())] {
        let worker = start(driver);
        let peer = daemon.welcome();
        peer.registered(1);
        worker.succeeds();
        peer.ends();
    }
    assert!(own.try_accept().is_none() && named.try_accept().is_none());
}
