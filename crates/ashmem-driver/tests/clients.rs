//! What clients that behave get from the daemon.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use ashmem::driver::protocol::{Question, Reason, Reply, Request, VERSION};
use ashmem::{Contents, page_size};
use ashmem_driver::Quota;
use common::{Client, Daemon, options, place, unpinned, until};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn daemon() {
    common::serve();
}

#[test]
fn regions_come_and_go() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    let before = daemon.descriptors();
    let (older, newer) = (unpinned("older", 1 << 20), unpinned("newer", 1 << 20));
    client.register(1, &older);
    client.register(2, &newer);
    assert!(client.settle().is_empty());
    assert_eq!(daemon.descriptors(), before + 2);
    assert_eq!(daemon.reclaim(1 << 20), 1 << 20);
    assert_eq!(older.pin(..).expect("pinned"), Contents::Purged);
    assert_eq!(newer.pin(..).expect("pinned"), Contents::Intact);

    newer.unpin(..).expect("unpinned");
    client.say(&Request::Release(vec![1, 2, 99]));
    assert!(client.settle().is_empty());
    daemon.settle(before);
    assert_eq!(daemon.reclaim(u64::MAX), 0);

    // A number may not come again while it is in use; afterwards the daemon does not mind.
    client.register(1, &newer);
    assert!(client.settle().is_empty());
    drop(client);
    daemon.settle(before - 1);
    assert_eq!(daemon.reclaim(u64::MAX), 0, "the end of the connection is the end of what it registered");
    daemon.stop();
    assert!(!path.exists());
}

#[test]
fn many_at_once() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    let regions: Vec<_> = (0..64).map(|_| unpinned("many", page_size())).collect();
    let files: Vec<_> = regions.iter().map(std::os::fd::AsFd::as_fd).collect();
    client.send(&Request::Register((0..64).collect()).encode(), &files);
    assert!(client.settle().is_empty());
    assert_eq!(daemon.reclaim(u64::MAX), 64 * page_size());
}

#[test]
fn one_region_registered_by_many_is_one() {
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let (a, b) = (Client::greeted(&path), Client::greeted(&path));
    let before = daemon.descriptors();
    let region = unpinned("shared", 1 << 20);
    a.register(1, &region);
    a.register(2, region.share_read_write().expect("reopened"));
    b.register(1, &region);
    assert!(a.settle().is_empty() && b.settle().is_empty());
    assert_eq!(daemon.descriptors(), before + 1);
    let snapshot = a.snapshot();
    assert_eq!((snapshot.regions.len(), snapshot.users[0].regions, snapshot.users[0].size), (1, 3, 1 << 20));
    assert_eq!(snapshot.regions[0].holders.len(), 1, "one process");
    a.say(&Request::Release(vec![1]));
    drop(b);
    until(|| a.snapshot().users[0].regions == 1, || "two registrations ended".to_owned());
    assert_eq!(a.snapshot().regions.len(), 1);
    a.say(&Request::Release(vec![2]));
    assert!(a.settle().is_empty());
    daemon.settle(before - 1);
}

#[test]
fn purges_are_told_to_those_who_listen() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let (a, b) = (Client::greeted(&path), Client::greeted(&path));
    let region = unpinned("told", 4 * page_size());
    a.say(&Request::Listen(true));
    for (client, id) in [(&a, 7), (&a, 8), (&b, 9)] {
        client.register(id, &region);
    }
    assert!(a.settle().is_empty() && b.settle().is_empty());
    let all = 4 * page_size();
    assert_eq!(daemon.reclaim(u64::MAX), all);
    let told = |id| Reply::Purged { id, range: 0..all, freed: all };
    // Soon, and not before anything else.
    assert_eq!([a.hear(), a.hear()], [told(7), told(8)]);
    assert!(a.settle().is_empty() && b.settle().is_empty());
    a.say(&Request::Listen(false));
    assert!(a.settle().is_empty());
    let _ = region.pin(..).expect("pinned");
    region.unpin(..).expect("unpinned");
    daemon.reclaim(u64::MAX);
    assert!(a.settle().is_empty());
}

#[test]
fn quotas_hold_for_a_user_and_change_with_the_policy() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    daemon.set_quota(&Quota { regions: 3, connections: 2, size: Some(10 << 20) });
    let region = unpinned("small", 4 << 20);
    client.register(1, &region);
    client.register(2, unpinned("large", 7 << 20));
    let refused = |id| Reply::Refused { id, reason: Reason::Quota };
    assert_eq!(client.settle(), [refused(2)]);
    // Of a region's size no more than once.
    client.register(3, &region);
    client.register(4, unpinned("small", 6 << 20));
    client.register(5, &region);
    assert_eq!(client.settle(), [refused(5)]);
    let snapshot = client.snapshot();
    let user = &snapshot.users[0];
    assert_eq!((user.regions, user.size, user.refused), (3, 10 << 20, 2));
    client.say(&Request::Release(vec![4]));
    client.register(6, unpinned("small", 6 << 20));
    assert!(client.settle().is_empty());

    let second = Client::greeted(&path);
    Client::connect(&path).expect_end();
    drop(second);
    daemon.set_quota(&Quota::default());
    Client::greeted(&path).register(1, &region);
}

#[test]
fn descriptors_run_out_for_regions_and_not_for_the_daemon() {
    let (_dir, path) = place();
    let daemon = Daemon::with_descriptors(&path, Some(1024));
    let client = Client::greeted(&path);
    let regions: Vec<_> = (0..100).map(|_| options().create("many", 1).expect("a region")).collect();
    let mut refused = 0;
    'all: for round in 0.. {
        // Copies would be the same regions.
        let fresh: Vec<_> = (0..100).map(|_| options().create("many", 1).expect("a region")).collect();
        for (place, region) in fresh.iter().enumerate() {
            client.register(round * 100 + place as u64, region);
        }
        for reply in client.settle() {
            assert!(matches!(reply, Reply::Refused { reason: Reason::Exhausted, .. }), "{reply:?}");
            refused += 1;
        }
        if refused > 100 {
            break 'all;
        }
        assert!(round < 20);
    }
    until(|| daemon.descriptors() < 600, || format!("{} descriptors", daemon.descriptors()));
    // Those who are served stay so, and there is room again when some are released.
    client.say(&Request::Release((0..50).collect()));
    assert!(client.settle().is_empty());
    until(
        || {
            client.register(1_000_000, &regions[0]);
            let is_refused = !client.settle().is_empty();
            !is_refused
        },
        || "room".to_owned(),
    );
    assert!(client.snapshot().regions.len() > 300);
}

/// Voluntary context switches of the thread that serves.
fn wakes(daemon: &Daemon) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("a process");
    let read =
        |path: &std::path::Path, file: &str| std::fs::read_to_string(path.join(file)).expect("a thread");
    let mut paths = tasks.map(|task| task.expect("a thread").path());
    let serving = paths.find(|path| read(path, "comm").trim() == "serving").expect("a thread");
    let status = read(&serving, "status");
    let line =
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a field");
    line.trim().parse().expect("a number")
}

#[test]
fn without_a_free_descriptor_connections_wait_and_nothing_spins() {
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let old = Client::greeted(&path);
    let id = rustix::process::Pid::from_raw(daemon.id() as i32);
    let set = |current| {
        let limit = Rlimit { current: Some(current), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(id, Resource::Nofile, limit).expect("set").current
    };
    // What is open stays open.
    let most = set(3).expect("a limit");
    let before = wakes(&daemon);
    let new = Client::connect(&path);
    new.say(&Request::Hello { version: VERSION });
    for _ in 0..100 {
        assert!(old.settle().is_empty(), "who is there is served");
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let woken = wakes(&daemon) - before;
    assert!((1..500).contains(&woken), "{woken}");
    assert!(!new.is_ended());
    set(most);
    assert!(matches!(new.hear(), Reply::Welcome { .. }));
}

#[test]
fn a_snapshot_says_what_there_is() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    let page = page_size();
    let region = unpinned("looked at", 10 * page);
    client.register(1, &region);
    assert!(client.settle().is_empty());
    assert_eq!(daemon.reclaim(1), 10 * page);
    let _ = region.pin(..4 * page).expect("pinned");
    region.map().expect("mapped").fill(0, 4 * page, 1).expect("filled");
    region.unpin(..page).expect("unpinned");
    let snapshot = client.snapshot();
    assert_eq!(snapshot.process, daemon.id());
    assert_eq!(snapshot.regions.len(), 1);
    let seen = &snapshot.regions[0];
    assert_eq!((seen.name.as_str(), seen.inode), ("looked at", region.file_id().expect("an inode")));
    assert_eq!((seen.size, seen.resident), (10 * page, 4 * page));
    assert_eq!((seen.pinned, seen.unpinned, seen.purged), (3 * page, page, 6 * page));
    assert!(seen.unpinned_for_seconds.is_some());
    assert_eq!(seen.holders[0].process, std::process::id());
    assert_eq!(seen.holders[0].user, rustix::process::geteuid().as_raw());
    assert!(!seen.holders[0].command.is_empty());
    let purge = &snapshot.purges[0];
    assert_eq!((purge.number, purge.name.as_str(), purge.start, purge.end), (1, "looked at", 0, 10 * page));
    assert_eq!((purge.inode, purge.freed), (seen.inode, 10 * page));
    let counters = &snapshot.counters;
    assert_eq!((counters.registered, counters.connections, counters.freed_bytes), (1, 1, 10 * page));
    let text = client.ask(Question::Metrics);
    let user = rustix::process::geteuid().as_raw();
    let line = format!("ashmem_driver_regions{{user=\"{user}\"}} 1");
    assert!(text.lines().any(|other| other == line), "{text}");
    assert!(text.contains(&format!("\nashmem_driver_purged_bytes_total {}\n", 10 * page)));
}

/// Becomes another user in one thread; only root may.
#[test]
fn users_see_what_is_theirs() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("needs root");
        return;
    }
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let root = Client::greeted(&path);
    let own = unpinned("root's", page_size());
    root.register(1, &own);
    assert!(root.settle().is_empty());
    let as_user = |number: u32| {
        let path = path.clone();
        std::thread::spawn(move || {
            let user = rustix::process::Uid::from_raw(number);
            rustix::thread::set_thread_res_uid(Some(user), Some(user), Some(user)).expect("root may");
            let client = Client::greeted(&path);
            let region = unpinned("a user's", page_size());
            client.register(1, &region);
            assert!(client.settle().is_empty());
            (client, region)
        })
        .join()
        .expect("no panic")
    };
    let (alice, _hers) = as_user(40_001);
    let (bob, _his) = as_user(40_002);
    bob.register(2, &own);
    assert!(bob.settle().is_empty());
    assert_eq!(daemon.reclaim(u64::MAX), 3 * page_size());
    let seen = |client: &Client| {
        let snapshot = client.snapshot();
        let mut users: Vec<_> = snapshot.users.iter().map(|user| user.user).collect();
        users.sort_unstable();
        (snapshot.regions.len(), snapshot.purges.len(), users)
    };
    assert_eq!(seen(&alice), (1, 1, vec![40_001]));
    assert_eq!(seen(&bob), (2, 2, vec![40_002]));
    assert_eq!(seen(&root), (3, 3, vec![0, 40_001, 40_002]));
    assert!(!alice.ask(Question::Metrics).contains("40002"));
}

#[test]
fn other_versions_are_told_and_left() {
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let before = daemon.descriptors();
    let client = Client::connect(&path);
    client.say(&Request::Hello { version: VERSION + 1 });
    assert!(matches!(client.hear(), Reply::Welcome { version: VERSION, .. }));
    client.expect_end();
    drop(client);
    daemon.settle(before);
}
