//! Services by name, among processes.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod service_common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use ashmem_binder::rsbinder::StatusCode;
use ashmem_binder::{Error, ServiceManager};
use rustix::process::Signal;

use self::service_common::{Deaths, LONG, Place, Worker, eventually, link, meet, outcome, subject, who};

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    service_common::work();
}

#[test]
fn services_are_added_found_listed_and_removed() {
    let place = Place::new();
    let services = place.manager();
    assert!(!services.is_kernel());
    assert_eq!(services.address(), place.address);
    assert_eq!(services.list_services().expect("listed"), Vec::<String>::new());
    assert!(services.check_service("a").expect("looked").is_none());
    assert!(!place.path().exists(), "looking makes nothing");

    let own = subject();
    services.add_service("here", &own).expect("added");
    assert_eq!(fs::metadata(place.path()).expect("made").permissions().mode() & 0o7777, 0o700);
    assert!(services.get_service("here").expect("found") == own, "the binder itself");

    let _worker = Worker::serve(&place.address, "b a");
    assert_eq!(services.list_services().expect("listed"), ["a", "b", "here"]);
    let remote = services.get_service("a").expect("found");
    assert_eq!(who(&remote).expect("answered"), _worker.id());
    let mut caller = Worker::start(&place.address, "call here");
    assert_eq!(caller.says(), std::process::id().to_string());

    assert!(matches!(services.remove_service("a"), Err(Error::NoSuchService { .. })), "another process's");
    services.remove_service("here").expect("ours");
    assert!(matches!(services.remove_service("here"), Err(Error::NoSuchService { .. })));
    assert_eq!(services.list_services().expect("listed"), ["a", "b"]);
    assert!(services.check_service("here").expect("looked").is_none());
    services.add_service("here", &own).expect("added again");
    caller.tell("again");
    assert_eq!(caller.says(), std::process::id().to_string());
}

#[test]
fn a_proxy_outlives_its_name_and_cannot_be_served_again() {
    let place = Place::new();
    let services = place.manager();
    let worker = Worker::serve(&place.address, "a");
    let remote = services.get_service("a").expect("found");
    let again = services.add_service("mine", &remote);
    let Err(Error::Binder { status: StatusCode::InvalidOperation, .. }) = again else { panic!("{again:?}") };
    assert_eq!(services.list_services().expect("listed"), ["a"]);
    fs::remove_file(place.path().join("a")).expect("removed");
    assert!(services.check_service("a").expect("looked").is_none());
    assert_eq!(who(&remote).expect("answered"), worker.id());
}

#[test]
fn names_that_android_refuses_are_refused() {
    let services = Place::new().manager();
    for name in ["", "a b", "ä", &"x".repeat(128)] {
        assert!(matches!(services.add_service(name, &subject()), Err(Error::InvalidServiceName { .. })));
        assert!(matches!(services.check_service(name), Err(Error::InvalidServiceName { .. })));
        assert!(matches!(services.get_service(name), Err(Error::InvalidServiceName { .. })));
        assert!(matches!(services.remove_service(name), Err(Error::InvalidServiceName { .. })));
    }
}

#[test]
fn any_name_is_just_a_name() {
    let place = Place::new();
    let services = place.manager();
    let names = [".", "..", "../../x", ".lock", ".servers", "/etc/passwd", "android.os.IFoo/default"];
    let _worker = Worker::serve(&place.address, &names.join(" "));
    assert_eq!(services.list_services().expect("listed"), names);
    for name in names {
        assert_eq!(
            who(&services.get_service(name).expect("found")).expect("answered"),
            _worker.id(),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(place.temporary.path()).expect("read").count(), 1);
}

#[test]
fn a_name_is_taken_as_long_as_its_process_lives() {
    let place = Place::new();
    let services = place.manager();
    let worker = Worker::serve(&place.address, "a");
    assert_eq!(outcome(&services.add_service("a", &subject())), "taken");
    // It lives, even if it does not answer.
    worker.signal(Signal::STOP);
    assert_eq!(outcome(&services.add_service("a", &subject())), "taken");
    assert_eq!(services.list_services().expect("listed"), ["a"]);
    worker.signal(Signal::CONT);
    assert_eq!(who(&services.get_service("a").expect("found")).expect("answered"), worker.id());
    worker.kill();
    services.add_service("a", &subject()).expect("taken over");
    assert_eq!(outcome(&services.add_service("a", &subject())), "taken");
    assert_eq!(Worker::start(&place.address, "call a").says(), std::process::id().to_string());
}

#[test]
fn a_stopped_server_is_not_waited_for_longer_than_said() {
    let place = Place::new();
    let worker = Worker::serve(&place.address, "a");
    let timeout = Some(Duration::from_secs(3));
    let services = ServiceManager::options().timeout(timeout).open_at(&place.address).expect("an address");
    for known in [false, true] {
        if known {
            assert_eq!(who(&services.get_service("a").expect("found")), Ok(worker.id()));
        }
        worker.signal(Signal::STOP);
        let answer = services.check_service("a");
        match answer {
            Err(Error::Binder { status: StatusCode::TimedOut, .. }) if known => {}
            Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::TimedOut && !known => {}
            answer => panic!("{answer:?}"),
        }
        assert_eq!(services.list_services().expect("listed"), ["a"]);
        worker.signal(Signal::CONT);
    }
    assert_eq!(who(&place.manager().get_service("a").expect("found")), Ok(worker.id()));
}

#[test]
fn what_dead_processes_leave_is_removed() {
    let place = Place::new();
    let services = place.manager();
    for remove in [false, true] {
        let worker = Worker::serve(&place.address, "a b c");
        assert_eq!(
            fs::read_dir(place.path().join(".servers")).expect("read").count(),
            2,
            "a socket and a lock"
        );
        worker.kill();
        assert!(place.path().join("a").symlink_metadata().is_ok(), "killed, so it left everything");
        if remove {
            assert_eq!(services.list_services().expect("listed"), Vec::<String>::new());
            assert!(place.path().join("a").symlink_metadata().is_err());
        } else {
            for name in ["a", "b", "c"] {
                assert!(services.check_service(name).expect("looked").is_none());
            }
        }
        let left = fs::read_dir(place.path()).expect("read").map(|entry| entry.expect("read").file_name());
        let left: Vec<_> = left.filter(|name| !name.as_encoded_bytes().starts_with(b".")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(fs::read_dir(place.path().join(".servers")).expect("read").count(), 0);
    }
}

#[test]
fn a_lock_that_is_kept_stops_nobody_for_long() {
    let place = Place::new();
    let services = place.manager();
    services.add_service("a", &subject()).expect("added");
    Worker::serve(&place.address, "dead").kill();
    let lock = place.path().join(".lock");
    let mut holder = Worker::start(&place.address, &format!("lock {}", lock.display()));
    assert_eq!(holder.says(), "ready");
    assert!(services.check_service("dead").expect("looked").is_none());
    assert_eq!(services.list_services().expect("listed"), ["a"]);
    services.add_service("b", &subject()).expect("it needs no lock");
    assert_eq!(outcome(&services.add_service("dead", &subject())), "WouldBlock");
    holder.kill();
    services.add_service("dead", &subject()).expect("taken over");
    assert_eq!(services.list_services().expect("listed"), ["a", "b", "dead"]);
}

/// Four processes with four threads each; over a name that is free, and over one that a dead process has.
#[test]
fn one_of_many_wins_a_name() {
    for stale in [false, true, true, true, true] {
        let place = Place::new();
        if stale {
            Worker::serve(&place.address, "a").kill();
        }
        let mut racers: Vec<_> = (0..4).map(|_| Worker::start(&place.address, "race a")).collect();
        for racer in &mut racers {
            assert_eq!(racer.says(), "ready");
        }
        for racer in &mut racers {
            racer.tell("go");
        }
        let won: Vec<u32> = racers.iter_mut().map(|racer| racer.says().parse().expect("a number")).collect();
        assert_eq!(won.iter().sum::<u32>(), 1, "{won:?}");
        let winner = racers.iter().zip(&won).find(|(_, won)| **won == 1).expect("one").0.id();
        assert_eq!(who(&place.manager().get_service("a").expect("found")).expect("answered"), winner);
    }
}

#[test]
fn waiting_ends_when_the_service_is_added() {
    let place = Place::new();
    let services = place.manager();
    assert_eq!(outcome(&services.wait_for_service("a", Some(Duration::from_millis(50)))), "none");
    assert_eq!(outcome(&services.wait_for_service("a", Some(Duration::ZERO))), "none");
    for _ in 0..10 {
        let mut worker = Worker::start(&place.address, "later a");
        assert_eq!(worker.says(), "ready");
        let waiting = services.clone();
        let waiter = std::thread::spawn(move || {
            who(&waiting.wait_for_service("a", Some(LONG))?)
                .map_err(|_| Error::NoSuchService { name: "a".to_owned() })
        });
        worker.tell("go");
        assert_eq!(waiter.join().expect("no panic").expect("found"), worker.id());
        worker.kill();
    }
}

#[test]
fn a_killed_server_is_noticed_and_its_successor_found() {
    let place = Place::new();
    let services = place.manager();
    for _ in 0..3 {
        let worker = Worker::serve(&place.address, "a b");
        let (a, b) = (services.get_service("a").expect("found"), services.get_service("b").expect("found"));
        let deaths = [Deaths::of(&a), Deaths::of(&b)];
        assert_eq!(who(&a).expect("answered"), worker.id());
        assert!(deaths.iter().all(|deaths| deaths.count() == 0));
        worker.kill();
        eventually("the death is told", || deaths.iter().all(|deaths| deaths.count() == 1));
        assert_eq!(who(&a).expect_err("it is dead"), StatusCode::DeadObject);
        assert!(services.check_service("a").expect("looked").is_none());
    }
}

#[test]
fn calls_do_not_wait_for_each_other() {
    let place = Place::new();
    let _worker = Worker::serve(&place.address, "a");
    let services =
        ServiceManager::options().timeout(Some(2 * LONG)).open_at(&place.address).expect("an address");
    std::thread::scope(|scope| {
        let call = || meet(&services.get_service("a").expect("found"));
        let other = scope.spawn(call);
        assert_eq!(call(), Ok(true));
        assert_eq!(other.join().expect("no panic"), Ok(true));
    });
}

#[test]
fn threads_that_find_a_service_at_once_share_a_session() {
    let place = Place::new();
    let worker = Worker::serve(&place.address, "a b");
    let services = place.manager();
    let before = worker.descriptors();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert_eq!(who(&services.get_service("a").expect("found")), Ok(worker.id())));
        }
    });
    assert_eq!(who(&services.get_service("b").expect("found")), Ok(worker.id()));
    // Four to call on, and one on which it calls. Those of slower threads are closed again.
    eventually("one session is left", || worker.descriptors() == before + 5);
}

#[test]
fn hostile_entries_lead_nowhere() {
    let place = Place::new();
    let services = place.manager();
    let worker = Worker::serve(&place.address, "real");
    let socket = fs::read_link(place.path().join("real")).expect("a link");
    // A service that lives, in a directory that is not this one.
    let outside = place.temporary.path().join("outside");
    let _outside = Worker::serve(&format!("unix://{}", outside.display()), "a");
    let theirs = fs::read_link(outside.join("a")).expect("a link");
    let theirs = theirs.to_str().expect("UTF-8");
    let absolute = outside.join(theirs);
    for (name, target) in [
        ("a", "/etc/passwd"),
        ("b", "../../x"),
        ("c", &format!("../outside/{theirs}")),
        ("d", &format!(".servers/../../outside/{theirs}")),
        ("e", absolute.to_str().expect("UTF-8")),
        ("f", ".servers/1-0123456789abcdef"),
        ("g", ".servers/"),
        ("h", "real"),
        ("i", &format!("./{}", socket.display())),
    ] {
        link(target, &place, name);
    }
    fs::write(place.path().join("file"), "x").expect("written");
    fs::create_dir(place.path().join("directory")).expect("made");
    assert!(std::process::Command::new("mkfifo").arg(place.path().join("fifo")).status().is_ok());
    let long_name = "x".repeat(200);
    fs::write(place.path().join(&long_name), "x").expect("written");

    assert_eq!(services.list_services().expect("listed"), ["real"]);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "file", "directory", "fifo"] {
        assert!(services.check_service(name).expect("looked").is_none(), "{name}");
    }
    for name in ["a", "c", "d", "e", "f", "h"] {
        services.add_service(name, &subject()).expect("added in its place");
        assert_eq!(
            Worker::start(&place.address, &format!("call {name}")).says(),
            std::process::id().to_string()
        );
    }
    for name in ["file", "directory", "fifo"] {
        assert_eq!(outcome(&services.add_service(name, &subject())), "AlreadyExists", "nobody's to remove");
        assert!(services.check_service(name).expect("looked").is_none());
    }
    assert_eq!(fs::read(place.path().join("file")).expect("still there"), b"x");
    assert_eq!(who(&services.get_service("real").expect("found")).expect("answered"), worker.id());
}

#[test]
fn a_file_that_says_of_nobody_that_he_lives() {
    let place = Place::new();
    let services = place.manager();
    services.add_service("mine", &subject()).expect("added");
    let servers = place.path().join(".servers");
    link(".servers/1-0123456789abcdef", &place, "dead");
    fs::write(servers.join("1-0123456789abcdef.alive"), "").expect("written");
    link(".servers/2-0123456789abcdef", &place, "loop");
    std::os::unix::fs::symlink("2-0123456789abcdef.alive", servers.join("2-0123456789abcdef.alive"))
        .expect("new");
    link(".servers/3-0123456789abcdef", &place, "fifo");
    assert!(Command::new("mkfifo").arg(servers.join("3-0123456789abcdef.alive")).status().is_ok());
    assert_eq!(services.list_services().expect("listed"), ["mine"]);
    for name in ["dead", "loop", "fifo"] {
        assert!(services.check_service(name).expect("looked").is_none(), "{name}");
        services.add_service(name, &subject()).expect("added");
    }
}

/// As those of another copy of the library in this process, or of a process that had the same id.
#[test]
fn sockets_with_the_id_of_this_process_are_asked() {
    let place = Place::new();
    let services = place.manager();
    services.add_service("mine", &subject()).expect("added");
    let file = format!(".servers/{}-0123456789abcdef", std::process::id());
    link(&file, &place, "other");
    let lock = fs::File::create(place.path().join(format!("{file}.alive"))).expect("made");
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    let listener = std::os::unix::net::UnixListener::bind(place.path().join(&file)).expect("bound");
    for _ in 0..2 {
        assert_eq!(services.list_services().expect("listed"), ["mine", "other"]);
        // Its lock is as it was.
        let mut seen = Worker::start(&place.address, "list");
        assert_eq!(seen.says(), "mine other");
    }
    assert_eq!(outcome(&services.add_service("other", &subject())), "taken");
    drop((listener, lock));
    assert_eq!(services.list_services().expect("listed"), ["mine"]);
    services.add_service("other", &subject()).expect("taken over");
}

#[test]
fn a_directory_of_any_length_will_do() {
    let place = Place::new();
    let mut path = place.temporary.path().to_owned();
    for _ in 0..4 {
        path.push("x".repeat(60));
        fs::create_dir(&path).expect("new");
    }
    let address = format!("unix://{}/services", path.display());
    let services = ServiceManager::at(&address).expect("an address");
    let _worker = Worker::serve(&address, "a");
    assert_eq!(who(&services.get_service("a").expect("found")), Ok(_worker.id()));
    services.add_service("b", &subject()).expect("added");
    assert_eq!(Worker::start(&address, "call b").says(), std::process::id().to_string());
}

#[test]
fn a_directory_that_is_not_private_is_refused() {
    let refused = |place: &Place, manager: &ServiceManager| {
        let _ = place;
        for outcome in [
            outcome(&manager.list_services()),
            outcome(&manager.check_service("a")),
            outcome(&manager.add_service("a", &subject())),
            outcome(&manager.wait_for_service("a", Some(LONG))),
        ] {
            assert_eq!(outcome, "not private");
        }
    };
    for mode in [0o770, 0o702, 0o1777] {
        let place = Place::new();
        fs::create_dir(place.path()).expect("new");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("ours");
        refused(&place, &place.manager());
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("ours");
        place.manager().add_service("a", &subject()).expect("added");
        fs::set_permissions(place.path().join(".servers"), fs::Permissions::from_mode(mode)).expect("ours");
        assert_eq!(
            outcome(&place.manager().add_service("b", &subject())),
            "ok",
            "by the server that is there"
        );
        assert_eq!(Worker::start(&place.address, "serve c").says(), "not private");
    }

    let place = Place::new();
    fs::create_dir(place.temporary.path().join("elsewhere")).expect("new");
    std::os::unix::fs::symlink("elsewhere", place.path()).expect("new");
    refused(&place, &place.manager());

    let place = Place::new();
    fs::write(place.path(), "").expect("new");
    refused(&place, &place.manager());
    let below = ServiceManager::at(&format!("{}/below", place.address)).expect("an address");
    assert_eq!(outcome(&below.add_service("a", &subject())), "NotADirectory");
}

#[test]
fn a_directory_that_is_not_there_has_no_services() {
    let place = Place::new();
    let services = ServiceManager::at(&format!("{}/a/b", place.address)).expect("an address");
    assert_eq!(services.list_services().expect("listed"), Vec::<String>::new());
    assert!(services.check_service("a").expect("looked").is_none());
    assert_eq!(outcome(&services.remove_service("a")), "none");
    assert_eq!(outcome(&services.add_service("a", &subject())), "NotFound", "only the last one is made");
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let place = Place::new();
    let services = place.manager();
    let names = ["a", "b", "c"];
    for (number, name) in names.into_iter().enumerate() {
        services.add_service(name, &subject()).expect("added");
        // What was served before is found again, too.
        for name in &names[..=number] {
            let answer = Worker::start(&place.address, &format!("call {name}")).says();
            assert_eq!(answer, std::process::id().to_string(), "{name}");
        }
        assert_eq!(services.list_services().expect("listed"), names[..=number]);
        fs::remove_dir_all(place.path()).expect("removed");
        assert!(services.check_service("a").expect("looked").is_none());
    }
    // By now it may be somebody else's.
    let other = Worker::serve(&place.address, "b");
    services.add_service("d", &subject()).expect("added");
    assert_eq!(services.list_services().expect("listed"), ["a", "b", "c", "d"]);
    assert_eq!(who(&services.get_service("b").expect("found")), Ok(other.id()));
    assert_eq!(outcome(&services.remove_service("b")), "none");
    services.remove_service("a").expect("ours");
    assert_eq!(services.list_services().expect("listed"), ["b", "c", "d"]);
}

#[test]
fn the_users_own_directory_is_below_the_runtime_directory() {
    let place = Place::new();
    let environment = |variable: &str, value: &str| {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env("ASHMEM_TEST_ROLE", "serve a")
            .env("ASHMEM_TEST_ADDRESS", "")
            .env_remove("ASHMEM_BINDER")
            .env(variable, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Worker::spawn(&mut command)
    };
    let runtime = place.temporary.path().to_str().expect("UTF-8");
    let mut worker = environment("XDG_RUNTIME_DIR", runtime);
    assert_eq!(worker.says(), "ready");
    let own = ServiceManager::at(&format!("unix://{runtime}/ashmem/services")).expect("an address");
    assert_eq!(who(&own.get_service("a").expect("found")), Ok(worker.id()));

    let mut worker = environment("ASHMEM_BINDER", &place.address);
    assert_eq!(worker.says(), "ready");
    assert_eq!(who(&place.manager().get_service("a").expect("found")), Ok(worker.id()));

    fs::set_permissions(place.temporary.path().join("ashmem"), fs::Permissions::from_mode(0o777))
        .expect("ours");
    assert_eq!(environment("XDG_RUNTIME_DIR", runtime).says(), "not private", "the one above as well");
}

#[test]
fn without_a_driver_the_kernels_binder_says_so() {
    let place = Place::new();
    let driver = place.temporary.path().join("binder");
    let services = ServiceManager::at(&format!("binder://?driver={}", driver.display())).expect("an address");
    assert!(services.is_kernel());
    assert_eq!(ServiceManager::at(&services.address()).expect("an address").address(), services.address());
    assert_eq!(outcome(&services.list_services()), "NotFound");
    assert_eq!(outcome(&services.add_service("a", &subject())), "NotFound");
    fs::write(&driver, "").expect("written");
    let answer = services.check_service("a");
    let Err(Error::Binder { status: StatusCode::NoInit, .. }) = answer else { panic!("{answer:?}") };
}
