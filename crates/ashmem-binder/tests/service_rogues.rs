//! Servers that say nothing, or nonsense: an error, in time, and no descriptor is lost.
//!
//! One test alone, as it counts the descriptors of its process.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod service_common;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use rustix::process::Signal;

use self::service_common::{LONG, Place, Worker, eventually, link, outcome};

const ROGUE: &str = "ASHMEM_TEST_ROGUE";

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    if let Some(place) = std::env::var_os(ROGUE) {
        rogue(PathBuf::from(place));
    }
}

fn own_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("ours").count()
}

/// Serves `a`, and speaks no Binder. The file that says that it lives is locked as the library does.
fn rogue(place: PathBuf) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let servers = place.join(".servers");
    fs::create_dir_all(&servers).expect("made");
    let alive = fs::File::create(servers.join("1-0123456789abcdef.alive")).expect("made");
    rustix::fs::fcntl_lock(&alive, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    let listener = UnixListener::bind(servers.join("1-0123456789abcdef")).expect("bound");
    let role = std::env::var("ASHMEM_TEST_ROLE").expect("a role");
    println!("@ready");
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        match role.as_str() {
            "closes" => {}
            "silent" => kept.push(stream),
            "garbage" => {
                let _ = stream.write_all(&[0xee; 4096]);
                kept.push(stream);
            }
            "version" => {
                // What a server answers first, and then nonsense.
                let _ = stream
                    .write_all(&[2, 0, 0, 0, 0, 0, 0, 0])
                    .and_then(|()| stream.write_all(&[0xee; 4096]));
                kept.push(stream);
            }
            "drips" => {
                // The start of a long answer, and then a byte at a time.
                let mut answer = vec![2, 0, 0, 0, 0, 0, 0, 0];
                answer.extend([1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                let _ = std::thread::spawn(move || {
                    while stream.write_all(&answer).is_ok() {
                        answer = vec![0];
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
            }
            _ => panic!("{role}?"),
        }
    }
}

#[test]
fn a_server_that_speaks_no_binder_is_an_error() {
    for role in ["closes", "silent", "garbage", "version", "drips"] {
        let place = Place::new();
        let mut command = std::process::Command::new("/proc/self/exe");
        command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROGUE, place.path())
            .env("ASHMEM_TEST_ROLE", role)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        fs::create_dir(place.path()).expect("new");
        rustix::fs::chmod(place.path(), rustix::fs::Mode::RWXU).expect("ours");
        let mut rogue = Worker::spawn(&mut command);
        assert_eq!(rogue.says(), "ready");
        link(".servers/1-0123456789abcdef", &place, "a");
        let options = ServiceManager::options().timeout(Some(Duration::from_millis(500)));
        let services = options.open_at(&place.address).expect("an address");
        let before = own_descriptors();
        for _ in 0..3 {
            let began = Instant::now();
            let answer = outcome(&services.check_service("a"));
            assert!(began.elapsed() < LONG, "{role}");
            if role == "closes" {
                assert_eq!(answer, "ConnectionRefused");
            } else {
                assert!(answer.starts_with("Binder") || answer == "TimedOut", "{role}: {answer}");
            }
            eventually("no descriptor is left", || own_descriptors() == before);
        }
        assert_eq!(services.list_services().expect("listed"), ["a"], "it lives");
        rogue.kill();
        assert!(services.check_service("a").expect("looked").is_none());
    }
}
