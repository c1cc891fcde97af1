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

/// Those that fork: what a child leaves behind was lost with its parent's threads, so only errors count.
const FORKING: [&str; 5] = ["protection.c", "sharing.c", "refused.c", "holds.c", "forks.c"];

fn under_valgrind(source: &str, program: &Path, arguments: &[&str]) {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--fair-sched=yes"]);
    if !FORKING.contains(&source) {
        command.args(["--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]);
    }
    succeed(command.arg(program).args(arguments));
}

#[test]
fn valgrind_finds_nothing() {
    if !has("valgrind") {
        return;
    }
    // One executes itself, which is valgrind then.
    for (source, arguments) in PROGRAMS.into_iter().filter(|(source, _)| *source != "creation.c") {
        let Some(program) = compile(source, Link::Shared, &[]) else { return };
        under_valgrind(source, &program, arguments);
    }
}

#[test]
fn sanitizers_find_nothing() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    // A child that is forked while another thread allocates finds the sanitizer's allocator locked for ever.
    for (source, arguments) in PROGRAMS.into_iter().filter(|(source, _)| *source != "forks.c") {
        let Some(program) = compile(source, Link::Shared, &flags) else { return };
        run(&program, arguments);
    }
}
