//! libcutils' functions.

use crate::harness::{Link, compile, run};

#[test]
fn basics_however_it_is_linked() {
    for link in [Link::Shared, Link::Unseen, Link::Static] {
        let Some(program) = compile("basics.c", link, &[]) else { return };
        run(&program, &[]);
    }
}
