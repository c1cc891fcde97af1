//! What programs do around the library: exit, fork, threads, cancellation.

use crate::harness::run_however_linked;

#[test]
fn callbacks_at_exit() {
    run_however_linked("at_exit.c", &[]);
}
