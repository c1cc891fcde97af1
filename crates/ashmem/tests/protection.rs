//! The record of removed protection bits among processes: those that append a control block meanwhile, and those of other users.
//!
//! The other processes are this test binary again, running the ignored test `worker`, with the region as their standard input.
//! Users can be changed by root alone: to anybody else, the tests about them show nothing.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use ashmem::{Contents, Error, MapOptions, Protection, Reclaimer, Region, RegionOptions, page_size};
use rustix::fs::{Gid, Mode, Uid};

const ROLE: &str = "ASHMEM_TEST_ROLE";

/// A user and a group that this process is not.
const NOBODY: u32 = 65534;

const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);
const SIZE: u64 = 5000;

struct Worker(Child);

impl Worker {
    fn start(role: &str, region: &Region, user: Option<u32>) -> Worker {
        // By this name it is found also where others may not look.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::from(region.as_fd().try_clone_to_owned().expect("a duplicate")))
            .stdout(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user).current_dir("/");
        }
        Worker(command.spawn().expect("started"))
    }

    fn finish(mut self) {
        assert!(self.0.wait().expect("waited for").success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// With a reclaimer that has no thread: only tests purge.
fn quiet() -> RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn region() -> Region {
    quiet().create("protected", SIZE).expect("a region")
}

fn mask(region: &Region) -> Protection {
    region.protection().expect("a mask")
}

fn mode(region: &Region) -> Mode {
    Mode::from_raw_mode(rustix::fs::fstat(region).expect("a status").st_mode)
}

/// What a holder that comes now finds.
fn received(region: &Region) -> Region {
    Region::from_fd_with(region.as_fd().try_clone_to_owned().expect("a duplicate"), quiet())
        .expect("a region")
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let region = Region::from_fd_with(fd, quiet()).expect("a region");
    assert_eq!(region.size(), SIZE);
    match role.as_str() {
        "remove" => region.set_protection(READ_WRITE).expect("EXEC goes"),
        "unpin" => region.unpin(..).expect("unpinned"),
        "purge" => {
            region.unpin(..).expect("unpinned");
            assert_eq!(region.purge().expect("purged"), 2 * page_size());
            assert_eq!(mask(&region), READ_WRITE);
        }
        "outsider" => {
            region.set_protection(READ_WRITE).expect("EXEC goes");
            assert_eq!(mask(&region), READ_WRITE);
            region.set_protection(Protection::WRITE).expect("READ goes");
        }
        "outsider after others" => {
            assert!(matches!(region.unpin(..), Err(Error::NotPurgeable { .. })));
            assert!(matches!(region.set_protection(Protection::WRITE), Err(Error::NotPurgeable { .. })));
            assert_eq!(mask(&region), READ_WRITE);
        }
        role => panic!("no such role: {role}"),
    }
}

#[test]
fn removing_and_appending_in_two_processes_lose_nothing() {
    for _ in 0..20 {
        let region = region();
        let workers = ["remove", "unpin"].map(|role| Worker::start(role, &region, None));
        workers.into_iter().for_each(Worker::finish);
        assert_eq!((mask(&region), mask(&received(&region))), (READ_WRITE, READ_WRITE));
        assert_eq!(received(&region).stats().expect("counted").unpinned_pages, 2);
        assert_eq!(received(&region).size(), SIZE);
    }
}

/// The kernel takes set-group-ID off when somebody of another group punches holes.
#[test]
fn a_purge_by_another_user_leaves_the_record() {
    for unpinned_first in [true, false] {
        if !is_root() {
            return;
        }
        let region = region();
        region.map().expect("mapped").fill(0, SIZE, 1).expect("written");
        if unpinned_first {
            region.unpin(..).expect("unpinned");
        }
        region.set_protection(READ_WRITE).expect("EXEC goes");
        if !unpinned_first {
            region.unpin(..).expect("unpinned");
        }
        assert!(mode(&region).contains(Mode::SGID));
        Worker::start("purge", &region, Some(NOBODY)).finish();
        assert_eq!((mask(&region), mask(&received(&region))), (READ_WRITE, READ_WRITE));
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
        let code = MapOptions::new().protection(Protection::READ | Protection::EXEC);
        assert!(matches!(code.map(&received(&region)), Err(Error::ProtectionDenied { .. })));
    }
}

/// The kernel refuses set-group-ID without a word when the owner is not in the file's group.
#[test]
fn an_owner_outside_of_the_group_uses_the_control_block() {
    if !is_root() {
        return;
    }
    let owned = |region: &Region| {
        rustix::fs::fchown(region, Some(Uid::from_raw(NOBODY)), Some(Gid::ROOT)).expect("root may");
    };
    let fresh = region();
    owned(&fresh);
    let before = mode(&fresh);
    Worker::start("outsider", &fresh, Some(NOBODY)).finish();
    assert_eq!(mask(&received(&fresh)), Protection::WRITE);
    assert_eq!(mode(&fresh), before | Mode::SVTX, "what was tried was taken back");

    let recorded = region();
    owned(&recorded);
    recorded.set_protection(READ_WRITE).expect("EXEC goes");
    Worker::start("outsider after others", &recorded, Some(NOBODY)).finish();
    assert_eq!(mask(&received(&recorded)), READ_WRITE);
}
