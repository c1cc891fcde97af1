//! The daemon and processes that use the library as anybody does: found, lost, and found again.
//!
//! The other process is this test binary again, running the ignored test `user`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ashmem::driver::address::VARIABLE;
use ashmem::driver::protocol::Question;
use ashmem::{Region, page_size};
use common::{Client, Daemon, place, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const COUNT: &str = "ASHMEM_TEST_COUNT";

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn daemon() {
    common::serve();
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn user() {
    let Some(count) = std::env::var(COUNT).ok().and_then(|count| count.parse::<u64>().ok()) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("raised");
    let _regions: Vec<Region> = (0..count)
        .map(|_| {
            let region = Region::create("in use", page_size()).expect("a region");
            region.map().expect("mapped").fill(0, page_size(), 1).expect("filled");
            region.unpin(..).expect("unpinned");
            region
        })
        .collect();
    // Until the test ends.
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct User(Child);

impl User {
    fn start(path: &Path, count: u64) -> User {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "user", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(VARIABLE, path).env(COUNT, count.to_string());
        User(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Without a look at the regions, which takes a while.
fn registered(client: &Client) -> u64 {
    let metrics = client.ask(Question::Metrics);
    let of_users = metrics.lines().filter_map(|line| line.strip_prefix("ashmem_driver_regions{"));
    of_users.filter_map(|line| line.split(' ').next_back()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_daemon_that_is_killed_gets_all_regions_back() {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let count = if most > 12_000 { 10_000 } else { 200 };
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let _user = User::start(&path, count);
    let client = Client::greeted(&path);
    until(|| registered(&client) == count, || format!("{} regions", registered(&client)));
    for _ in 0..2 {
        daemon.kill();
        let started = Instant::now();
        daemon = Daemon::start(&path);
        let client = Client::greeted(&path);
        until(|| registered(&client) == count, || format!("{} regions", registered(&client)));
        println!("{count} regions are back {:?} after the end of the daemon", started.elapsed());
    }
    // They are all purged, in this process's stead.
    assert_eq!(daemon.reclaim(u64::MAX), count * page_size());
}

#[test]
fn the_end_of_a_process_is_the_end_of_its_regions() {
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    let before = daemon.descriptors();
    let user = User::start(&path, 100);
    until(|| registered(&client) == 100, || format!("{} regions", registered(&client)));
    drop(user);
    until(|| registered(&client) == 0, || format!("{} regions", registered(&client)));
    daemon.settle(before);
}
