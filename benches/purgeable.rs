//! Contents that are built again when they are gone, while they are there: against the bare pin state.

use std::hint::black_box;

use ashmem::{Purgeable, Region};

use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

const SIZE: u64 = 1 << 20;

pub fn run(suite: &mut Suite) {
    suite.run(
        Case {
            id: ("purgeable", "get"),
            what: "1 MiB, intact: get + drop of the guard",
            reference: "whole: unpin + pin",
            required: Required::Cost(2.0),
            slow: false,
        },
        get,
    );
}

fn get() -> Pair {
    let contents = ok(Purgeable::new("contents", SIZE, |part| part.fill(0, part.len(), 1)));
    // Built here, and afterwards only if memory is short: then the figures would be of something else.
    let _: ashmem::PurgeableGuard<'_> = ok(contents.get());
    let region = ok(Region::create("bare", SIZE));
    Pair::new(
        move |count| {
            time(count, || {
                let guard = ok(black_box(&contents).get());
                if guard.built_bytes() != 0 {
                    fail("the contents went while they were looked at: memory is short");
                }
            })
        },
        move |count| {
            time(count, || {
                ok(black_box(&region).unpin(..));
                ok(black_box(&region).pin(..))
            })
        },
    )
}
