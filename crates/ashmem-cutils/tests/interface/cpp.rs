//! `<ashmem.hpp>`: the wrapper in C++, in programs that check themselves.

use std::process::Command;

use crate::harness::{Link, compile, has, prefix, run, succeed};

const PROGRAMS: [&str; 3] = ["cpp_regions.cc", "cpp_holds.cc", "cpp_listeners.cc"];

const MORE_WARNINGS: [&str; 6] = [
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wold-style-cast",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
];

#[test]
fn programs_with_the_wrapper() {
    for source in PROGRAMS {
        let Some(program) = compile(source, Link::Shared, &[]) else { return };
        run(&program, &[]);
    }
    let Some(program) = compile("cpp_listeners.cc", Link::Static, &[]) else { return };
    run(&program, &[]);
}

#[test]
fn sanitizers_find_nothing() {
    for source in PROGRAMS {
        let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        let Some(program) = compile(source, Link::Shared, &flags) else { return };
        run(&program, &[]);
    }
}

#[test]
fn valgrind_finds_nothing() {
    if !has("valgrind") {
        return;
    }
    for source in PROGRAMS {
        // With an option, so that it is a file of its own.
        let Some(program) = compile(source, Link::Shared, &["-fno-omit-frame-pointer"]) else { return };
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--fair-sched=yes"]);
        // What the library keeps for good it finds by pointers into the middle, which is "possibly" lost.
        command.args(["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        let output = succeed(command.arg(program));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty() && said.is_empty(), "{said}");
    }
}

/// Each compiler that is there takes it without a warning, in C++17, C++20 and C++23.
#[test]
fn no_compiler_warns() {
    let Some(directory) = prefix() else { return };
    let source = directory.join("bin/all.cc");
    let everything = "#include <ashmem.hpp>\n\
        #include <ashmem.hpp>\n\
        template class ashmem::basic_mapping<std::byte>;\n\
        template class ashmem::basic_mapping<const std::byte>;\n\
        void all();\n\
        void all() { ashmem::purge_listener listener([](const ashmem_purge_event &) {}); }\n";
    std::fs::write(&source, everything).expect("written");
    if !has("c++") {
        return;
    }
    let exists = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    for compiler in ["c++", "g++", "clang++"].iter().filter(|program| exists(program)) {
        for standard in ["c++17", "c++20", "c++2b"] {
            let mut command = Command::new(compiler);
            command.arg(format!("-std={standard}")).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
            command.args(MORE_WARNINGS).arg("-fsyntax-only");
            succeed(command.arg("-I").arg(directory.join("prefix/include")).arg(&source));
        }
    }
}

/// The program at the top of the header, as whoever copies it compiles it.
#[test]
fn the_example_in_the_header() {
    let Some(directory) = prefix() else { return };
    let Some(options) = crate::harness::package(&["--cflags", "--libs"]) else { return };
    if !has("c++") {
        return;
    }
    let header = std::fs::read_to_string(directory.join("prefix/include/ashmem.hpp")).expect("installed");
    let comment = header.split(" */").next().expect("a comment");
    let lines = comment.lines().map(|line| line.strip_prefix(" *").unwrap_or(line));
    let example: String = lines
        .skip_while(|line| !line.starts_with("     #include"))
        .take_while(|line| line.starts_with("     ") || line.is_empty())
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(example.contains("int main()"), "{example}");
    let (source, program) = (directory.join("bin/cached.cc"), directory.join("bin/cached"));
    std::fs::write(&source, example).expect("written");
    let mut command = Command::new("c++");
    command.args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(MORE_WARNINGS);
    succeed(command.arg("-o").arg(&program).arg(&source).args(options));
    let output = succeed(&mut Command::new(&program));
    assert_eq!(output.stdout, b"1048576 bytes purged\nbuilt again\n1000000\n");
}
