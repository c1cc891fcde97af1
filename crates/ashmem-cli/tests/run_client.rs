//! Programs that talk raw ioctl to `/dev/ashmem`, one in C and one in Rust, under `ashmem run`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "run/ioctl.rs"]
mod ioctl;
mod run;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use ashmem::driver::socket::send;
use run::{ASHMEM, Place, Running, client, is_root, outcome, pair, receive, skipped};
use rustix::io::Errno;

/// What the Rust program is to do.
const PART: &str = "ASHMEM_TEST_PART";

/// The C program does this with a shared device, and with one of its own.
fn does(what: &str) {
    let Some(client) = client() else { return };
    let place = Place::new();
    let ended = outcome(place.program(&client).arg(what));
    if ended.status.code() == Some(77) {
        skipped(&format!("{what}: not on this system"));
        return;
    }
    ended.success();
    outcome(Command::new(ASHMEM).args(["run", "--private", "--"]).arg(&client).arg(what)).success();
    // With the driver of Android, everything here is the same.
    outcome(Command::new(ASHMEM).args(["run", "--android", "--"]).arg(&client).arg(what)).success();
}

#[test]
fn what_libcutils_checks() {
    does("libcutils");
}

#[test]
fn duplicates() {
    does("duplicates");
}

#[test]
fn exec_keeps_descriptors() {
    does("execute");
}

#[test]
fn a_forking_server_passes_descriptors() {
    does("fork-server");
}

#[test]
fn threads() {
    does("threads");
}

#[test]
fn a_descriptor_outlives_its_maker() {
    does("orphan");
}

#[test]
fn system_calls_of_32_bits() {
    does("compat");
}

#[test]
fn memfds_answer_too() {
    does("shim");
}

#[test]
fn without_root() {
    does("unprivileged");
}

/// Somebody else has the area that a program made, which has ended.
fn given(place: &Place, client: &std::path::Path) -> OwnedFd {
    let (own, other) = pair();
    let giving = Running::start(place.program(client).arg("give"), Some(Stdio::from(other)));
    let area = receive(&own).unwrap().descriptors.pop().unwrap();
    giving.end().success();
    area
}

#[test]
fn another_run_has_the_same_device() {
    let Some(client) = client() else { return };
    let place = Place::new();
    let area = given(&place, &client);
    // Passed over a socket.
    let (own, other) = pair();
    send(&own, b"f", &[area.as_fd()]).unwrap();
    Running::start(place.program(&client).arg("take"), Some(Stdio::from(other))).end().success();
    // Inherited.
    Running::start(place.program(&client).arg("inherit"), Some(Stdio::from(area))).end().success();
}

#[test]
fn the_server_stays_for_who_has_an_area() {
    let Some(client) = client() else { return };
    let place = Place::new();
    let area = given(&place, &client);
    let server = place.server().unwrap();
    // Longer than a server without programs stays where there are no areas.
    std::thread::sleep(std::time::Duration::from_secs(7));
    let ended = Running::start(place.program(&client).arg("inherit"), Some(Stdio::from(area))).end();
    ended.success();
    assert_eq!(place.server(), Some(server));
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn raw_client() {
    if std::env::var(PART).is_err() {
        return;
    }
    let fd = ioctl::open().unwrap();
    assert_eq!(ioctl::name(&fd).unwrap(), b"dev/ashmem");
    assert_eq!(ioctl::set_name(&fd, b"from Rust"), Ok(0));
    assert_eq!(ioctl::name(&fd).unwrap(), b"from Rust");
    assert_eq!(ioctl::set_size(&fd, 8192), Ok(0));
    assert_eq!(ioctl::size(&fd), Ok(8192));
    assert_eq!(ioctl::unpin(&fd, 0, 0), Err(Errno::INVAL));
    let metadata = std::fs::File::from(fd.try_clone().unwrap()).metadata().unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type()));
    let memory = ioctl::Memory::map(&fd, 8192).unwrap();
    memory.fill(9);
    assert_eq!(memory.read(8191), 9);
    assert_eq!(ioctl::unpin(&fd, 4096, 0), Ok(0));
    assert_eq!(ioctl::pin_status(&fd, 0, 0), Ok(0));
    assert_eq!(ioctl::pin(&fd, 0, 0), Ok(0));
    // The library's own memory works beside it.
    let region = ashmem::Region::create("of the library", 4096).unwrap();
    region.unpin(..).unwrap();
    assert!(!region.pin(..).unwrap().is_purged());
    for (offset, length, error) in [(1, 0, Errno::INVAL), (0, 12_288, Errno::INVAL)] {
        assert_eq!(ioctl::pin(&fd, offset, length), Err(error));
    }
    if is_root() {
        assert_eq!(ioctl::purge_all(&fd), Ok(0));
    }
    println!("Rust is done");
}

#[test]
fn a_program_in_rust() {
    let place = Place::new();
    let mut command = place.program(std::env::current_exe().unwrap());
    command
        .args(["--exact", "raw_client", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PART, "client");
    let said = outcome(&mut command).success();
    assert!(said.contains("Rust is done"), "{said}");
}
