//! The same programs under valgrind and with sanitizers: nothing is lost, overrun or used after it was freed.

use std::path::Path;
use std::process::Command;

use crate::harness::{Link, compile, has, run, succeed};

/// Each with its arguments, and less of everything than the other tests do.
const PROGRAMS: [(&str, &[&str]); 14] = [
    ("basics.c", &[]),
    ("creation.c", &[]),
    ("protection.c", &[]),
    ("sharing.c", &[]),
    ("files.c", &["7"]),
    ("pins.c", &[]),
    ("refused.c", &[]),
    ("flags.c", &[]),
    ("holds.c", &[]),
    ("reclaim.c", &[]),
    ("garbage.c", &["3000"]),
    ("threads.c", &["300"]),
    ("signals.c", &["200", "100"]),
    ("forks.c", &["5"]),
];

fn under_valgrind(program: &Path, arguments: &[&str]) {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    command.args(["--show-leak-kinds=definite", "--child-silent-after-fork=yes", "--fair-sched=yes"]);
    succeed(command.arg(program).args(arguments));
}

#[test]
fn valgrind_finds_nothing() {
    if !has("valgrind") {
        return;
    }
    for (source, arguments) in PROGRAMS {
        let Some(program) = compile(source, Link::Shared, &[]) else { return };
        under_valgrind(&program, arguments);
    }
}

#[test]
fn sanitizers_find_nothing() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for (source, arguments) in PROGRAMS {
        let Some(program) = compile(source, Link::Shared, &flags) else { return };
        run(&program, arguments);
    }
}
