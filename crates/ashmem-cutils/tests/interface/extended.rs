//! Pins, and the functions that libcutils has not.

use crate::harness::run_however_linked;

#[test]
fn pins_of_ranges() {
    run_however_linked("pins.c", &[]);
}

#[test]
fn what_is_no_region_is_refused() {
    run_however_linked("refused.c", &[]);
}

#[test]
fn regions_are_made_with_flags_and_asked() {
    run_however_linked("flags.c", &[]);
}

#[test]
fn leases_and_guards_keep_pages() {
    run_however_linked("holds.c", &[]);
}

#[test]
fn the_reclaimer_keeps_to_its_budget_and_tells() {
    run_however_linked("reclaim.c", &[]);
}
