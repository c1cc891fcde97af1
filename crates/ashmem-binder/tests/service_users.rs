//! Services and other users. Only root can be those: to anybody else, these tests show nothing.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod service_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ashmem_binder::ServiceManager;

use self::service_common::{Place, Worker, is_root, outcome, subject, who};

/// Users that this process is not.
const NOBODY: u32 = 65534;
const SOMEBODY: u32 = 65533;

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    service_common::work();
}

fn allowing(place: &Place, uids: &[u32]) -> ServiceManager {
    let options = ServiceManager::options();
    let options = uids.iter().fold(options, |options, uid| options.allow_uid(*uid));
    options.open_at(&place.address).expect("an address")
}

#[test]
fn only_allowed_users_are_served() {
    if !is_root() {
        return;
    }
    let place = Place::open();
    let services = allowing(&place, &[NOBODY]);
    services.add_service("a", &subject()).expect("added");
    let call = |user| Worker::start_as(&place.address, "call a", Some(user), &[]).says();
    assert_eq!(call(NOBODY), std::process::id().to_string());
    assert_eq!(call(SOMEBODY), "ConnectionRefused");
    // Another manager's services are not those users'.
    place.manager().add_service("mine", &subject()).expect("added");
    assert_eq!(Worker::start_as(&place.address, "call mine", Some(NOBODY), &[]).says(), "PermissionDenied");
    assert_eq!(call(NOBODY), std::process::id().to_string());
}

#[test]
fn without_an_allow_list_nobody_else_is_served() {
    if !is_root() {
        return;
    }
    let place = Place::open();
    let services = place.manager();
    services.add_service("a", &subject()).expect("added");
    let call = || Worker::start_as(&place.address, "call a", Some(NOBODY), &[]).says();
    assert_eq!(call(), "PermissionDenied");
    // Not even if the files let him.
    for entry in fs::read_dir(place.path().join(".servers")).expect("read") {
        fs::set_permissions(entry.expect("read").path(), fs::Permissions::from_mode(0o666)).expect("ours");
    }
    assert_eq!(call(), "ConnectionRefused");
}

#[test]
fn others_cannot_add_services() {
    if !is_root() {
        return;
    }
    let place = Place::open();
    let services = allowing(&place, &[NOBODY]);
    let serve = || Worker::start_as(&place.address, "serve b", Some(NOBODY), &[]).says();
    assert_eq!(serve(), "PermissionDenied");
    services.add_service("a", &subject()).expect("added");
    assert_eq!(serve(), "PermissionDenied");
    assert_eq!(services.list_services().expect("listed"), ["a"]);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    assert_eq!(Worker::start_as(&place.address, "call a", Some(NOBODY), &[]).says(), "PermissionDenied");
}

#[test]
fn another_users_directory_is_refused_unless_he_is_allowed() {
    if !is_root() {
        return;
    }
    let place = Place::open();
    std::os::unix::fs::chown(place.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut worker = Worker::start_as(&place.address, "serve a", Some(NOBODY), &[SOMEBODY]);
    assert_eq!(worker.says(), "ready");
    let refused = place.manager();
    assert_eq!(outcome(&refused.list_services()), "not private");
    assert_eq!(outcome(&refused.check_service("a")), "not private");
    assert_eq!(outcome(&refused.add_service("b", &subject())), "not private");
    let services = allowing(&place, &[NOBODY]);
    assert_eq!(services.list_services().expect("listed"), ["a"]);
    assert_eq!(who(&services.get_service("a").expect("found")), Ok(worker.id()));
    let call = |allowed: &[u32]| Worker::start_as(&place.address, "call a", Some(SOMEBODY), allowed).says();
    assert_eq!(call(&[]), "not private");
    assert_eq!(call(&[NOBODY]), worker.id().to_string());
}

/// A server of another user in a directory that is trusted: its owner let it in, the caller did not.
#[test]
fn another_users_server_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::open();
    // Nobody's directory of sockets is moved to where root has the links.
    let theirs = Place::open();
    std::os::unix::fs::chown(theirs.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut worker = Worker::start_as(&theirs.address, "serve a", Some(NOBODY), &[SOMEBODY]);
    assert_eq!(worker.says(), "ready");
    std::os::unix::fs::symlink(
        fs::read_link(theirs.path().join("a")).expect("a link"),
        place.path().join("a"),
    )
    .expect("new");
    fs::rename(theirs.path().join(".servers"), place.path().join(".servers")).expect("moved");
    std::os::unix::fs::chown(place.path().join(".servers"), Some(0), Some(0)).expect("root may");
    assert_eq!(place.manager().list_services().expect("listed"), ["a"]);
    assert_eq!(outcome(&place.manager().check_service("a")), "not private");
    assert_eq!(who(&allowing(&place, &[NOBODY]).get_service("a").expect("found")), Ok(worker.id()));
}
