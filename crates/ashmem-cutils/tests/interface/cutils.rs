//! libcutils' and the NDK's functions.

use crate::harness::run_however_linked;

#[test]
fn basics_however_it_is_linked() {
    run_however_linked("basics.c", &[]);
}

#[test]
fn regions_are_made_with_names_and_sizes() {
    run_however_linked("creation.c", &[]);
}

#[test]
fn protection_is_only_taken_away() {
    run_however_linked("protection.c", &[]);
}

#[test]
fn processes_share_regions() {
    run_however_linked("sharing.c", &[]);
}

#[test]
fn regions_are_read_and_sought_as_files() {
    let (everything, reads_and_writes) = ("7", "3");
    run_however_linked("files.c", &[everything]);
    run_however_linked("files.c", &[reads_and_writes]);
}
