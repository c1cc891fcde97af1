//! What programs do around the library: exit, fork, threads, cancellation.

use crate::harness::{Link, compile, run, run_however_linked};

#[test]
fn callbacks_at_exit() {
    run_however_linked("at_exit.c", &[]);
}

#[test]
fn children_that_close_before_any_handler() {
    run_however_linked("child_handlers.c", &[]);
}

#[test]
fn what_is_closed_goes_when_others_are_done() {
    let Some(program) = compile("kept.c", Link::Shared, &[]) else { return };
    run(&program, &[]);
}

#[test]
fn threads_that_are_cancelled() {
    run_however_linked("cancelled.c", &[]);
}

#[test]
fn a_sandbox_that_comes_later() {
    let Some(program) = compile("sandbox.c", Link::Shared, &[]) else { return };
    run(&program, &[]);
}

#[test]
fn a_program_that_closes_all_descriptors() {
    let Some(program) = compile("closes_all.c", Link::Shared, &[]) else { return };
    run(&program, &[]);
}

#[test]
fn the_programs_own_handlers_of_fork() {
    run_however_linked("fork_handlers.c", &[]);
}
