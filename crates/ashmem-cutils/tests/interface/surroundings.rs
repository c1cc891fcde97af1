//! What programs do around the library: exit, fork, threads, cancellation.

use crate::harness::run_however_linked;

#[test]
fn callbacks_at_exit() {
    run_however_linked("at_exit.c", &[]);
}

#[test]
fn children_that_close_before_any_handler() {
    run_however_linked("forks.c", &[]);
}
