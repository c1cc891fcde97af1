//! Whatever happens around them, calls end, and say nothing but their answer.

use rustix::process::geteuid;

use crate::harness::{run_however_linked, skipped};

#[test]
fn success_leaves_errno_alone() {
    run_however_linked("errno.c", &[]);
}

#[test]
fn any_numbers_are_answered() {
    run_however_linked("garbage.c", &["100000"]);
}

#[test]
fn without_descriptors_and_without_proc() {
    let empty = tempfile::tempdir().expect("a directory");
    if geteuid().is_root() {
        run_however_linked("limits.c", &[empty.path().to_str().expect("a path of letters")]);
    } else {
        skipped("without /proc, as only root may change its root directory");
        run_however_linked("limits.c", &["with-proc"]);
    }
}

#[test]
fn threads_use_the_same_numbers() {
    run_however_linked("threads.c", &["20000"]);
}

#[test]
fn signals_break_nothing_off() {
    let (a_second, in_all) = ("10000", "5000");
    run_however_linked("signals.c", &[a_second, in_all]);
}

#[test]
fn children_of_a_process_under_load_use_everything() {
    run_however_linked("forks.c", &["100"]);
}
