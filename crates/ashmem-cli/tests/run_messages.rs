//! Areas that programs of `ashmem run` send each other: they arrive with high numbers, so they are the driver's in every respect, and
//! nothing else about messages changes.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod run;

use std::path::{Path, PathBuf};

use run::{Place, Running, compile, outcome};

fn client() -> Option<PathBuf> {
    compile(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/messages.c"))
}

#[track_caller]
fn does(what: &[&str]) {
    let Some(client) = client() else { return };
    let place = Place::new();
    outcome(place.program(client).args(what)).success();
}

#[test]
fn an_area_is_the_driver_s_where_it_arrives() {
    does(&["same_process"]);
}

#[test]
fn who_waits_already_has_it_so_too() {
    does(&["blocked"]);
    does(&["threads"]);
}

#[test]
fn who_waits_otherwise_has_it_so_too() {
    does(&["polled"]);
}

#[test]
fn other_files_come_along() {
    does(&["mixed"]);
}

#[test]
fn what_finds_no_room_is_left_out_as_by_the_kernel() {
    does(&["cut"]);
}

#[test]
fn streams_end_where_they_do() {
    does(&["stream"]);
}

#[test]
fn senders_are_named() {
    does(&["credentials"]);
    does(&["named"]);
}

#[test]
fn signals_interrupt_as_they_do() {
    does(&["interrupted"]);
    does(&["stormy"]);
    does(&["stopped"]);
}

#[test]
fn receivers_are_killed() {
    does(&["killed"]);
}

#[test]
fn ordinary_messages_stay_as_they_are() {
    does(&["ordinary", "3000"]);
}

#[test]
fn one_run_sends_to_another() {
    let Some(client) = client() else { return };
    let place = Place::new();
    let socket = place.path().join("between");
    let mut listens = Running::start(place.program(&client).arg("listens").arg(&socket), None);
    listens.until_said("listens");
    outcome(place.program(&client).arg("connects").arg(&socket)).success();
    listens.end().success();
}
