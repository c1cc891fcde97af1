//! Without `/proc`, descriptors, address space or room for files: typed errors, no data lost, and all works again
//! afterwards.
//!
//! Each test runs in a process of its own, because limits and mounts are the process's: this test binary again,
//! running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "ignores a signal, closes a descriptor under its owner")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ashmem::pressure::ManualPressure;
use ashmem::{Contents, Error, MemoryFile, Policy, Reclaimer, Region, Result, page_size};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ROLE: &str = "ASHMEM_TEST_ROLE";

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure. (Counted, as
/// the clock goes on while a virtual machine stands still.)
const LOOKS: u32 = 60_000;
const LOOK: Duration = Duration::from_millis(1);

/// What the shell that prepares a mount namespace exits with when it may not.
const CANNOT: i32 = 77;

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `role` in a process of its own, started by `launcher` if there is one. Returns how it ended and what it wrote.
fn run(role: &str, launcher: &[&str]) -> (ExitStatus, String) {
    let program = std::env::current_exe().expect("this program");
    let mut command = match launcher {
        [] => Command::new(program),
        [launcher, arguments @ ..] => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(program);
            command
        }
    };
    command.args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    let mut output = tempfile::tempfile().expect("a file");
    let copy = |file: &File| Stdio::from(file.try_clone().expect("a descriptor"));
    command.stdin(Stdio::null()).stdout(copy(&output)).stderr(copy(&output));
    let mut worker = Worker(command.spawn().expect("started"));
    let mut ended = || {
        std::thread::sleep(LOOK);
        worker.0.try_wait().expect("a child")
    };
    let status = (0..LOOKS).find_map(|_| ended()).unwrap_or_else(|| panic!("{role}: hangs"));
    let mut text = String::new();
    std::io::Seek::rewind(&mut output).expect("a file");
    output.read_to_string(&mut text).expect("text");
    (status, text)
}

fn succeeds(role: &str) {
    let (status, output) = run(role, &[]);
    assert!(status.success(), "{role}: {status}\n{output}");
}

#[test]
fn more_than_there_is_is_not_populated() {
    let error = Region::options().populate().create("all", 1 << 50).expect_err("no system has so much");
    assert_eq!(error.raw_os_error(), libc::ENOMEM, "{error}");
}

/// Of a region whose pin state is apart: the file is as long as the contents, so what is mapped behind them is not there.
#[test]
fn nothing_is_behind_the_contents() {
    let (status, output) = run("past the end", &[]);
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}\n{output}");
}

#[test]
fn without_proc() {
    let script = format!("mount -t tmpfs none /proc || exit {CANNOT}; exec \"$@\"");
    let inside = ["sh", "-c", &script, "sh"];
    // As root, or else in a user namespace of its own.
    for unshare in [&["unshare", "--mount"][..], &["unshare", "--map-root-user", "--mount"]] {
        if Command::new(unshare[0]).args(&unshare[1..]).arg("true").stderr(Stdio::null()).status().is_err() {
            continue;
        }
        let (status, output) = run("without /proc", &[unshare, &inside].concat());
        if output.contains("in the worker") {
            assert!(status.success(), "{status}\n{output}");
            return;
        }
    }
    println!("SKIPPED: /proc cannot be covered here: no unshare(1), or no permission");
}

#[test]
fn without_descriptors() {
    succeeds("without descriptors");
}

#[test]
fn without_address_space() {
    succeeds("without address space");
}

#[test]
fn without_room_for_files() {
    succeeds("without room for files");
}

#[test]
fn with_a_descriptor_that_went_away() {
    succeeds("with a closed descriptor");
    succeeds("with a replaced descriptor");
    succeeds("with replaced contents");
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    println!("in the worker");
    match role.as_str() {
        "without /proc" => no_proc(),
        "without descriptors" => no_descriptors(),
        "without address space" => no_address_space(),
        "without room for files" => no_room(),
        "with a closed descriptor" => lost_descriptor(None),
        "with a replaced descriptor" => lost_descriptor(Some(File::open("/dev/null").expect("a device"))),
        "with replaced contents" => replaced_contents(),
        "past the end" => past_the_end(),
        role => panic!("unknown role {role}"),
    }
}

fn filled(name: &str) -> Region {
    let region = Region::create(name, 4 * page_size()).expect("a region");
    region.map().expect("mapped").fill(0, 4 * page_size(), 7).expect("inside");
    region
}

fn assert_intact(region: &Region) {
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
    let size = region.size();
    assert_eq!(region.map().expect("mapped").read_vec(0, size).expect("inside"), vec![7; size as usize]);
}

fn duplicate(region: &Region) -> OwnedFd {
    region.as_fd().try_clone_to_owned().expect("a descriptor")
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, errno: i32) {
    match result {
        Err(Error::System { operation, source }) => {
            assert!(!operation.is_empty());
            assert_eq!(source.raw_os_error(), Some(errno), "{operation}: {source}");
        }
        other => panic!("instead of a system error: {other:?}"),
    }
}

fn no_proc() {
    assert!(!std::path::Path::new("/proc/self").exists(), "/proc is there");
    let region = filled("made here");
    assert_eq!(region.name().expect("known"), "made here");
    assert_intact(&region);
    region.unpin(page_size()..).expect("a control block can be appended");
    assert_intact(&region);
    region.unpin(..).expect("unpinned");
    let received = Region::from_fd(duplicate(&region)).expect("received");
    assert_eq!(received.size(), region.size());
    fails(received.name(), libc::ENOENT);
    fails(region.purge(), libc::ENOENT);
    fails(region.share_read_only(), libc::ENOENT);
    fails(region.share_read_write(), libc::ENOENT);
    for region in [&region, &received] {
        for range in [0..region.size(), 0..page_size()] {
            fails(region.lease(range.clone()).map(drop), libc::ENOENT);
            fails(region.pin_guard(range).map(drop), libc::ENOENT);
        }
    }
    assert_intact(&received);

    let strict = Reclaimer::builder().policy(Policy::new().budget(0)).without_thread().build();
    let region = Region::options().reclaimer(&strict).purgeable().create("strict", page_size());
    let region = region.expect("a region");
    region.map().expect("mapped").fill(0, page_size(), 7).expect("inside");
    region.unpin(..).expect("unpinned");
    assert!(strict.run_once().is_some());
    assert_eq!((strict.purge_all().pages, strict.metrics().failures), (0, 2));
    assert_intact(&region);
    cannot_allow_purging(&memory_file(), libc::ENOENT);
    assert_eq!(&region.freeze().expect("frozen")[..4], [7; 4]);
}

fn memory_file() -> MemoryFile {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let file = MemoryFile::with_options(&options, "kept", 100).expect("a memory file");
    file.write_at(0, b"kept").expect("written");
    file
}

/// A memory file whose accesses could not hold anything stays as it is.
fn cannot_allow_purging(file: &MemoryFile, errno: i32) {
    fails(file.allow_purging(true), errno);
    assert!(!file.is_purging_allowed() && !file.allow_purging(false).expect("as it is"));
    file.write_at(4, b".").expect("written");
    let mut kept = [0; 5];
    file.read_at(0, &mut kept).expect("read");
    assert_eq!(&kept, b"kept.");
}

fn limit(resource: Resource, most: u64) -> Rlimit {
    let old = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(most), maximum: old.maximum }).expect("lowered");
    old
}

fn no_descriptors() {
    // Its reclaimer starts a thread, as soon as it can.
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().policy(Policy::new().budget(0)).pressure(pressure).build();
    let plain = filled("plain");
    // A thread that starts or ends would open and close descriptors meanwhile.
    let quiet = Region::options().reclaimer(&Reclaimer::builder().without_thread().build());
    let leased = quiet.clone().create("leased", 4 * page_size()).expect("a region");
    leased.map().expect("mapped").fill(0, 4 * page_size(), 7).expect("inside");
    drop(leased.pin_guard(..).expect("pinned"));
    let region =
        Region::options().reclaimer(&reclaimer).create("limited", 4 * page_size()).expect("a region");
    let mapping = region.map().expect("mapped");
    mapping.fill(0, 4 * page_size(), 7).expect("inside");
    let (kept, purged) = (memory_file(), memory_file());
    let _ = purged.allow_purging(true).expect("purgeable");
    let peer = Region::from_fd_with(purged.try_clone_fd().expect("a duplicate"), quiet).expect("a region");
    assert_eq!(peer.purge().expect("purged"), page_size());
    // All below the lowest free number are in use.
    let lowest = File::open("/dev/null").expect("a device").as_raw_fd() as u64;
    let old = limit(Resource::Nofile, lowest);
    fails(Region::create("one more", 1), libc::EMFILE);
    region.unpin(..).expect("appending needs no descriptor");
    assert!(!reclaimer.is_running(), "its thread needs one");
    assert_intact(&region);
    region.unpin(2 * page_size()..).expect("unpinned");
    plain.unpin(..).expect("unpinned");
    fails(region.purge(), libc::EMFILE);
    for range in [0..region.size(), 0..page_size()] {
        fails(region.lease(range.clone()).map(drop), libc::EMFILE);
        fails(region.pin_guard(range).map(drop), libc::EMFILE);
    }
    assert_eq!(leased.lease(page_size()..).expect("has its description").contents(), Contents::Intact);
    assert_eq!(leased.pin_guard(..).expect("has its description").contents(), Contents::Intact);
    fails(region.share_read_only(), libc::EMFILE);
    fails(reclaimer.purge_events(), libc::EMFILE);
    fails(ManualPressure::new(), libc::EMFILE);
    fails(region.clone().into_fd(), libc::EMFILE);
    assert_eq!(reclaimer.purge_all().pages, 0);
    assert_intact(&region);
    assert_intact(&plain);
    cannot_allow_purging(&kept, libc::EMFILE);
    // This one has what it needs.
    assert!(matches!(purged.read_at(0, &mut [0]), Err(Error::Purged { .. })));
    purged.write_at(0, b"anew").expect("written");
    for allow in [false, true, false] {
        assert_eq!(purged.allow_purging(allow).expect("switched"), !allow);
    }

    region.unpin(..).expect("unpinned");
    assert!(!reclaimer.is_running());
    setrlimit(Resource::Nofile, old).expect("raised");
    let lease = plain.lease(..).expect("leased");
    assert_eq!(plain.purge().expect("purged"), 0);
    drop(lease);
    let _other = Region::create("one more", 1).expect("a region");
    plain.unpin(..).expect("unpinned");
    assert_eq!(plain.purge().expect("purged"), plain.size());
    // The first unpin that can starts the thread, which then keeps its budget of nothing.
    region.unpin(..).expect("unpinned");
    assert!(reclaimer.is_running());
    let is_gone = || {
        std::thread::sleep(LOOK);
        region.resident().expect("a size") == 0
    };
    assert!((0..LOOKS / 2).any(|_| is_gone()), "nothing was reclaimed");
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

fn no_address_space() {
    const GIB: u64 = 1 << 30;
    let region = filled("small");
    let huge = Region::create("huge", 1 << 40).expect("a region");
    let old = limit(Resource::As, 2 * GIB);
    fails(huge.map(), libc::ENOMEM);
    assert_eq!(huge.pin(..).expect("pinned from the start"), Contents::Intact);
    // This one's control block alone takes more than there is.
    let vast = Region::create("vast", 1024 * GIB).expect("a region");
    fails(vast.unpin(..), libc::ENOMEM);
    assert_intact(&region);
    region.unpin(..).expect("unpinned");
    assert_intact(&region);
    setrlimit(Resource::As, old).expect("raised");
    huge.map().expect("mapped").write_at(1 << 39, b"far").expect("inside");
    huge.unpin(..).expect("unpinned");
    assert_eq!(huge.pin(..).expect("pinned"), Contents::Intact);
    assert_eq!(vast.pin(..).expect("pinned"), Contents::Intact);
    vast.unpin(..).expect("unpinned");
    assert_eq!(vast.pin(..).expect("pinned"), Contents::Intact);
}

fn no_room() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let region = filled("limited");
    let old = limit(Resource::Fsize, 2 * page_size());
    fails(Region::create("too large", 3 * page_size()), libc::EFBIG);
    fails(Region::options().purgeable().create("too large", 2 * page_size()), libc::EFBIG);
    assert!(Region::create("small", 2 * page_size()).is_ok());
    fails(region.unpin(..), libc::EFBIG);
    assert_intact(&region);
    setrlimit(Resource::Fsize, old).expect("raised");
    region.unpin(..).expect("unpinned");
    assert_intact(&region);
}

/// A filled region of 4 pages, whose pin state is in a file of its own.
fn filled_apart() -> Region {
    let contents = Region::options().never_purgeable().create("contents", 4 * page_size()).expect("a region");
    let region = Region::with_state_apart(contents.into_fd().expect("a descriptor")).expect("a region");
    region.map().expect("mapped").fill(0, 4 * page_size(), 7).expect("inside");
    region
}

/// The program has opened another region under the number of the contents, and of the pin state.
fn replaced_contents() {
    for is_state in [false, true] {
        let (region, other) = (filled_apart(), filled("other"));
        let mapping = other.map().expect("mapped");
        region.unpin(..).expect("unpinned");
        let fd = if is_state { region.state_fd().expect("apart") } else { region.as_fd() };
        // SAFETY: the number stays open, as another file.
        let answer = unsafe { libc::dup2(other.as_fd().as_raw_fd(), fd.as_raw_fd()) };
        assert_eq!(answer, fd.as_raw_fd());
        assert!(matches!(region.purge(), Err(Error::System { .. })));
        assert_eq!(region.stats().map(|stats| stats.purged_pages).unwrap_or(0), 0);
        assert_eq!(mapping.read_vec(0, 4 * page_size()).expect("inside"), vec![7; 4 * page_size() as usize]);
        assert_eq!(region.pin(..).expect("needs no descriptor"), Contents::Intact);
        // The thread of the reclaimer may have it.
        std::mem::forget(region);
    }
}

/// Maps a page more than there is, and reads it.
fn past_the_end() {
    let region = filled_apart();
    region.unpin(..).expect("unpinned");
    region.purge().expect("purged");
    let (page, prot) = (page_size() as usize, ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping, in a place that the kernel chooses.
    let map = unsafe { mmap(std::ptr::null_mut(), 5 * page, prot, MapFlags::SHARED, &region, 0) };
    let map: *const u8 = map.expect("mapped").cast();
    // SAFETY: mapped, and in the file.
    assert_eq!(unsafe { map.wrapping_add(4 * page - 1).read_volatile() }, 0);
    // SAFETY: mapped, and not in the file: this kills the process.
    let _ = unsafe { map.wrapping_add(4 * page).read_volatile() };
}

/// The program closed a region's descriptor behind its back, and perhaps opened something else in its place.
fn lost_descriptor(replacement: Option<File>) {
    let page = page_size();
    let [plain, purgeable] = [filled("plain"), filled("purgeable")];
    purgeable.unpin(page..).expect("unpinned");
    let mappings = [&plain, &purgeable].map(|region| region.map().expect("mapped"));
    for region in [&plain, &purgeable] {
        let fd = region.as_fd().as_raw_fd();
        match &replacement {
            // SAFETY: the region is leaked below, so nobody closes the number again.
            None => assert_eq!(unsafe { libc::close(fd) }, 0),
            // SAFETY: `fd` stays open, as another file.
            Some(file) => assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), fd) }, fd),
        }
    }
    let typed = |error: Option<Error>| match error {
        None | Some(Error::System { .. } | Error::NotARegion { .. } | Error::ReadOnly { .. }) => {}
        Some(other) => panic!("{other:?}"),
    };
    for region in [&plain, &purgeable] {
        assert!(region.map().is_err() || replacement.is_some());
        typed(region.map().err());
        typed(region.pin_status(..).err());
        typed(region.stats().err());
        typed(region.purge().err());
        typed(region.protection().err());
        typed(region.share_read_only().err());
        typed(region.unpin(..).err());
        typed(region.pin(..).err());
    }
    assert!(plain.unpin(..).is_err());
    // The control block was mapped before, and so was the data.
    let _ = purgeable.pin(..).expect("needs no descriptor");
    for mapping in mappings {
        assert_eq!(mapping.read_vec(0, 4 * page).expect("inside"), vec![7; 4 * page as usize]);
    }
    std::mem::forget((plain, purgeable));
}
