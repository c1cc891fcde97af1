//! Numbers of descriptors that are closed and used again.

use crate::harness::{LINKS, Link, compile, run};

#[test]
fn a_number_is_what_it_names_now() {
    for link in LINKS {
        let Some(program) = compile("descriptors.c", link, &[]) else { return };
        run(&program, &[if link == Link::Shared { "seen" } else { "unseen" }]);
    }
}
