//! The library in C programs: linked, preloaded, opened late, and behind others that stand in front of it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod programs;

use std::process::Command;

use programs::{Bench, text};

/// What a listener hears in `calls.c`, and where: before which line of the program's own. The state is that of the first
/// descriptor of the range when it hears of it.
const HEARD: &[(&str, &[&str])] = &[
    ("close(200) = 0", &["200 200 open", "200 200 closed"]),
    ("close(200) = -1", &["200 200 closed", "200 200 closed"]),
    ("close(INT_MAX) = -1", &["2147483647 2147483647 closed", "2147483647 2147483647 closed"]),
    ("dup2(200, 201) = 201", &["201 201 open", "201 201 open"]),
    ("dup2(200, 202) = 202", &["202 202 closed", "202 202 open"]),
    ("dup2(203, 201) = -1", &["201 201 open", "201 201 open"]),
    ("dup2(-1, 201) = -1", &["201 201 open", "201 201 open"]),
    ("dup2(200, INT_MAX) = -1", &["2147483647 2147483647 closed", "2147483647 2147483647 closed"]),
    ("dup3(200, 201, O_CLOEXEC) = 201", &["201 201 open", "201 201 open"]),
    ("dup3(200, 201, O_APPEND) = -1", &["201 201 open", "201 201 open"]),
    ("dup3(203, 201, 0) = -1", &["201 201 open", "201 201 open"]),
    ("close_range(200, 201, 0) = 0", &["200 201 open", "200 201 closed"]),
    ("close_range(202, ~0U, 2", &["202 2147483647 open", "202 2147483647 closed"]),
    ("close_range(200, 201, 1 << 20) = -1", &["200 201 closed", "200 201 closed"]),
    ("(closefrom(300), 0) = 0", &["300 2147483647 open", "300 2147483647 closed"]),
    ("(closefrom(INT_MAX), 0) = 0", &["2147483647 2147483647 closed", "2147483647 2147483647 closed"]),
    ("fclose(stream) = 0", &["200 200 open", "200 200 closed"]),
    ("fclose(stream) = -1", &["200 200 closed", "200 200 closed"]),
    ("freopen(\"/dev/zero\", \"r\", stdin) = expected", &["0 0 open", "0 0 open"]),
    ("freopen64(\"/dev/null\", \"r\", stdin) = expected", &["0 0 open", "0 0 open"]),
    ("freopen(\"/nonexistent/file\", \"r\", stdin) = expected", &["0 0 open", "0 0 closed"]),
];

/// Compares a run of `calls.c` with one without the library.
fn check_calls(with: &str, without: &str) {
    let own = |line: &&str| !line.starts_with("heard ");
    assert!(without.lines().all(|line| own(&line)) && without.contains("is_open(200) = 1"), "{without}");
    let answers: Vec<&str> = with.lines().filter(own).collect();
    assert_eq!(answers, without.lines().collect::<Vec<_>>(), "answers and errno differ");

    assert!(with.contains("heard effective 1 1 1 errno 18\n"), "{with}");
    let mut expected = HEARD.iter();
    let mut next = expected.next();
    let mut heard = Vec::new();
    for line in with.lines() {
        match line.strip_prefix("heard ") {
            Some(effective) if effective.starts_with("effective") => {}
            Some(range) => heard.push(range),
            None => {
                let wanted = next.filter(|(call, _)| line.starts_with(call));
                assert_eq!(heard, wanted.map_or(&[][..], |(_, ranges)| ranges), "{line}\n{with}");
                if wanted.is_some() {
                    next = expected.next();
                }
                heard.clear();
            }
        }
    }
    assert_eq!(next, None, "never heard\n{with}");
    // In the last call, which closes the output.
    assert_eq!(heard, ["0 2147483647 open"], "{with}");
}

#[test]
fn linked() {
    let Some(bench) = Bench::new() else { return };
    let without = text(&mut Command::new(bench.compile("calls", &[])));
    check_calls(&text(&mut Command::new(bench.compile_linked("calls", &[]))), &without);
}

#[test]
fn preloaded() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile("calls", &[]);
    let without = text(&mut Command::new(&program));
    check_calls(&text(Command::new(&program).env("LD_PRELOAD", bench.library())), &without);
}

#[test]
fn with_the_address_sanitizer() {
    let Some(bench) = Bench::new() else { return };
    if !bench.compiles(&["-fsanitize=address"]) {
        programs::skip("the compiler has no address sanitizer");
        return;
    }
    let without = text(&mut Command::new(bench.compile("calls", &["-fsanitize=address"])));
    let linked = bench.compile_linked("calls", &["-fsanitize=address"]);
    check_calls(&text(&mut Command::new(&linked)), &without);
    let balance = bench.compile_linked("balance", &["-fsanitize=address", "-pthread"]);
    text(Command::new(&balance).arg("threads"));
}

#[test]
fn behind_a_library_that_passes_on() {
    let Some(bench) = Bench::new() else { return };
    let front = bench.compile_library("front", &[]);
    let without = text(&mut Command::new(bench.compile("calls", &[])));
    let linked = bench.compile_linked("calls", &[]);
    check_calls(&text(Command::new(&linked).env("LD_PRELOAD", front)), &without);
}

/// Checks a run of `calls.c` that the library takes no part in.
fn check_passed_by(with: &str, without: &str) {
    let (heard, answers): (Vec<&str>, Vec<&str>) = with.lines().partition(|line| line.starts_with("heard "));
    assert_eq!(heard, ["heard effective 0 0 0 errno 18"]);
    assert_eq!(answers, without.lines().collect::<Vec<_>>());
}

#[test]
fn behind_a_library_that_swallows() {
    let Some(bench) = Bench::new() else { return };
    let front = bench.compile_library("front", &["-DSWALLOW"]);
    let without = text(&mut Command::new(bench.compile("calls", &[])));
    let linked = bench.compile_linked("calls", &[]);
    check_passed_by(&text(Command::new(&linked).env("LD_PRELOAD", front)), &without);
}

#[test]
fn behind_the_c_library() {
    let Some(bench) = Bench::new() else { return };
    let without = text(&mut Command::new(bench.compile("calls", &[])));
    let linked = bench.compile_linked("calls", &["-Wl,--no-as-needed", "-lc"]);
    check_passed_by(&text(&mut Command::new(&linked)), &without);
}

/// The dynamic linker's own account. The program uses no such function; what it does not look up at the start, it might have to in a
/// signal handler.
#[test]
fn looks_everything_up_when_it_is_loaded() {
    if !cfg!(target_env = "gnu") {
        return;
    }
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile_linked("nothing", &[]);
    let output = Command::new(program).env("LD_DEBUG", "symbols").output().expect("started");
    let account = String::from_utf8(output.stderr).expect("text");
    let functions = "close dup2 dup3 close_range closefrom fclose freopen freopen64";
    for function in functions.split(' ') {
        assert!(account.contains(&format!("symbol={function};  lookup in file=")), "{function}\n{account}");
    }
}

#[test]
fn opened_late() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile("dlopened", &[]);
    for how in ["local", "global", "deepbind", "namespace"] {
        let said = text(Command::new(&program).arg(bench.library()).arg(how));
        assert_eq!(said, "passed by\n", "{how}");
    }
}

#[test]
fn closes_in_signal_handlers() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile_linked("balance", &["-pthread"]);
    text(Command::new(&program).arg("signals"));
}

#[test]
fn closes_in_several_threads() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile_linked("balance", &["-pthread"]);
    for _ in 0..10 {
        text(Command::new(&program).arg("threads"));
    }
}

#[test]
fn children_and_cancelled_threads() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile_linked("children", &["-pthread"]);
    assert_eq!(text(&mut Command::new(&program)), "all well\n");
}

#[test]
fn valgrind_has_nothing_to_say() {
    let Some(bench) = Bench::new() else { return };
    if !programs::is_there("valgrind") {
        programs::skip("there is no valgrind");
        return;
    }
    for (name, argument) in [("calls", ""), ("balance", "threads"), ("children", "copied")] {
        let program = bench.compile_linked(name, &["-pthread", "-g"]);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite"]);
        let said = text(valgrind.arg(&program).arg(argument));
        assert!(name != "calls" || said.contains("heard effective 1 1 1"), "{said}");
    }
}

#[test]
fn exports_nothing_else() {
    let Some(bench) = Bench::new() else { return };
    let symbols = text(Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(bench.library()));
    let names: Vec<&str> = symbols.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut expected =
        vec!["ashmem_close_watch", "close", "close_range", "dup2", "dup3", "fclose", "freopen"];
    if cfg!(target_env = "gnu") {
        expected.extend(["closefrom", "freopen64"]);
    }
    expected.sort_unstable();
    assert_eq!(names, expected);
    let dynamic = text(Command::new("readelf").args(["-d", "-W"]).arg(bench.library()));
    assert!(dynamic.contains("[libashmem_close.so.1]") && dynamic.contains("NODELETE"), "{dynamic}");
}
