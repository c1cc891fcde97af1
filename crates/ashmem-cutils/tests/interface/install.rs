//! What `ci/install` places, and what others can build with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Link, compile, has, package, package_named, prefix, run, succeed};

const HEADERS: [&str; 3] = ["cutils/ashmem.h", "android/sharedmem.h", "ashmem.h"];

/// What `libashmem_close.so` says that it stands in front of, and its own function.
const CLOSE: [&str; 7] = ["ashmem_close_watch", "close", "close_range", "dup2", "dup3", "fclose", "freopen"];
/// More of these that there are with glibc.
const CLOSE_GNU: [&str; 2] = ["closefrom", "freopen64"];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(String::from).into()
}

/// The functions that a header declares.
fn declared(header: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(header).expect("installed");
    let mut code = String::new();
    for (number, part) in text.split("/*").enumerate() {
        code.push_str(if number == 0 { part } else { part.split_once("*/").expect("closed").1 });
    }
    let lines = code.lines().filter(|line| !line.starts_with('#')).map(|line| line.split("//").next());
    let code: String = lines.flatten().collect::<Vec<_>>().join(" ").replace("extern \"C\" {", "");
    let functions = code.split(';').filter(|part| part.contains('(') && !part.contains("typedef"));
    functions
        .map(|function| {
            let start = function.split('(').next().expect("a name");
            start.rsplit([' ', '*']).next().expect("a name").to_owned()
        })
        .collect()
}

fn all_declared() -> BTreeSet<String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    HEADERS.iter().flat_map(|header| declared(&include.join(header))).collect()
}

/// What `nm` prints of a library with such options: the last word of each line.
fn symbols(options: &[&str], library: &str) -> BTreeSet<String> {
    let library = prefix().expect("installed").join("prefix/lib").join(library);
    let output = succeed(Command::new("nm").args(options).arg("--defined-only").arg(library));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned())).collect()
}

/// Names of a kind in a library's or program's dynamic section: NEEDED, SONAME, RUNPATH.
fn dynamic(file: &Path, kind: &str) -> Vec<String> {
    let output = succeed(Command::new("readelf").env("LC_ALL", "C").arg("-dW").arg(file));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| line.contains(&format!("({kind})")));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

#[test]
fn headers_export_list_and_libraries_agree() {
    if prefix().is_none() || !has("nm") {
        return;
    }
    let functions = all_declared();
    assert!(functions.len() > 20 && functions.contains("ashmem_on_purge"), "{functions:?}");

    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("exports.map")).expect("read");
    let (versions, _) = map.split_once("local:").expect("a list");
    let (_, listed) = versions.split_once("global:").expect("a list");
    let lines = listed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let listed: BTreeSet<String> =
        lines.map(|line| line.strip_suffix(';').expect("one a line").to_owned()).collect();
    assert_eq!(listed, functions);

    let versioned: BTreeSet<String> =
        functions.iter().map(|name| format!("{name}@@ASHMEM_0.1")).chain(["ASHMEM_0.1".into()]).collect();
    assert_eq!(symbols(&["-D", "--with-symbol-versions"], "libashmem_cutils.so"), versioned);
    assert_eq!(symbols(&["-g"], "libashmem_cutils.a"), functions);
}

#[test]
fn libashmem_close_exports_what_it_says() {
    if prefix().is_none() || !has("nm") {
        return;
    }
    let mut expected = set(CLOSE);
    if cfg!(target_env = "gnu") {
        expected.append(&mut set(CLOSE_GNU));
    }
    assert_eq!(symbols(&["-D"], "libashmem_close.so"), expected);
    // Each is described, under its manual page's name.
    let source = workspace().join("crates/ashmem-close/src/exports.rs");
    let source = fs::read_to_string(source).expect("read");
    for name in expected.iter().filter(|name| *name != "ashmem_close_watch") {
        let is_described = |section| source.contains(&format!("/// `{name}({section})`"));
        assert!(is_described(2) || is_described(3) || name == "freopen64", "{name}");
    }
}

#[test]
fn names_of_the_libraries() {
    let Some(directory) = prefix() else { return };
    if !has("readelf") {
        return;
    }
    let lib = directory.join("prefix/lib");
    assert_eq!(dynamic(&lib.join("libashmem_cutils.so"), "SONAME"), ["libashmem_cutils.so.0.1"]);
    assert_eq!(dynamic(&lib.join("libashmem_close.so"), "SONAME"), ["libashmem_close.so.1"]);
    let Some(program) = compile("closing.c", Link::Shared, &[]) else { return };
    let needed = dynamic(&program, "NEEDED");
    let place = |name: &str| needed.iter().position(|needed| needed == name);
    assert!(place("libashmem_cutils.so.0.1").is_some(), "{needed:?}");
    let close = place("libashmem_close.so.1").expect("linked");
    let libc = needed.iter().position(|name| name.starts_with("libc.")).expect("linked");
    assert!(close < libc, "{needed:?}");
}

/// Runs `closing.c` with `libashmem_close.so` loaded before all other libraries.
fn preloaded(program: &Path, arguments: &[&str]) {
    let library = prefix().expect("installed").join("prefix/lib/libashmem_close.so");
    // Also says on stderr when it cannot be loaded.
    let output = succeed(Command::new(program).args(arguments).env("LD_PRELOAD", library));
    assert!(output.stderr.is_empty());
}

#[test]
fn closing_is_seen_where_it_can_be() {
    for (link, seen) in [(Link::Shared, "seen"), (Link::Unseen, "unseen"), (Link::Static, "unseen")] {
        // With an option, so that it is a file of its own.
        let Some(program) = compile("closing.c", link, &["-DCLOSING"]) else { return };
        run(&program, &[seen]);
        preloaded(&program, &["seen"]);
    }
}

#[test]
fn opened_by_a_program_that_is_not_linked_with_it() {
    let Some(directory) = prefix() else { return };
    let (program, lib) = (directory.join("bin/opened"), directory.join("prefix/lib"));
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/programs");
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-DNOT_LINKED"]);
    command.arg("-I").arg(directory.join("prefix/include")).arg("-o").arg(&program);
    succeed(command.arg(programs.join("closing.c")).arg("-ldl"));
    let library = lib.join("libashmem_cutils.so");
    let library = library.to_str().expect("text");
    run(&program, &["unseen", library]);
    preloaded(&program, &["seen", library]);
}

/// As a user at a shell does it, and without a variable that says where libraries are.
#[test]
fn a_program_is_built_with_pkg_config_and_finds_the_library() {
    let Some(options) = package(&["--cflags", "--libs"]) else { return };
    let directory = prefix().expect("installed");
    let program = directory.join("bin/demo-installed");
    let source = workspace().join("examples/c/demo.c");
    succeed(Command::new("cc").arg(source).arg("-o").arg(&program).args(options));
    let output = succeed(Command::new(&program).env_remove("LD_LIBRARY_PATH"));
    assert!(output.stdout.ends_with(b"built again: 1000000\n"));
    assert_eq!(package(&["--modversion"]).expect("there"), [env!("CARGO_PKG_VERSION")]);

    // The static library, in a program that is linked as others are and in one that needs nothing.
    for (name, kind) in [("demo-static", None), ("demo-alone", Some("-static"))] {
        let program = directory.join("bin").join(name);
        let mut command = Command::new("cc");
        command.args(kind).arg(workspace().join("examples/c/demo.c")).arg("-o").arg(&program);
        succeed(command.args(package_named("ashmem_cutils-static", &["--cflags", "--libs"]).expect("there")));
        let output = succeed(Command::new(&program).env_remove("LD_LIBRARY_PATH"));
        assert!(output.stdout.ends_with(b"built again: 1000000\n"));
        if has("readelf") {
            let needed = dynamic(&program, "NEEDED");
            assert!(!needed.iter().any(|name| name.contains("ashmem")), "{needed:?}");
            assert!(kind.is_none() || needed.is_empty(), "{needed:?}");
        }
    }
}

/// All files and links below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("known").is_dir() {
                left.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(directory).expect("below it").to_path_buf());
            }
        }
    }
    found
}

#[test]
fn for_a_package_in_directories_of_its_choice() {
    if !has("cc") {
        return;
    }
    let staging = tempfile::tempdir().expect("a directory");
    let install = |prefix: &str, lib: &str| {
        let mut command = Command::new(workspace().join("ci/install"));
        command.arg(prefix).env("DESTDIR", staging.path()).env("LIBDIR", lib);
        command
    };
    succeed(&mut install("/usr/", "lib/x86_64-linux-gnu"));
    let lib = Path::new("usr/lib/x86_64-linux-gnu");
    let version = env!("CARGO_PKG_VERSION");
    let expected: BTreeSet<PathBuf> = [
        "usr/include/android/sharedmem.h".into(),
        "usr/include/android/sharedmem_jni.h".into(),
        "usr/include/ashmem.h".into(),
        "usr/include/ashmem.hpp".into(),
        "usr/include/cutils/ashmem.h".into(),
        lib.join("cmake/ashmem_cutils/ashmem_cutils-config-version.cmake"),
        lib.join("cmake/ashmem_cutils/ashmem_cutils-config.cmake"),
        lib.join("libashmem_close.so"),
        lib.join("libashmem_close.so.1"),
        lib.join("libashmem_cutils.a"),
        lib.join("libashmem_cutils.so"),
        lib.join("libashmem_cutils.so.0.1"),
        lib.join(format!("libashmem_cutils.so.{version}")),
        lib.join("pkgconfig/ashmem_cutils-static.pc"),
        lib.join("pkgconfig/ashmem_cutils.pc"),
    ]
    .into();
    assert_eq!(files(staging.path()), expected);
    // Nothing says where it was staged, and where the system looks by itself programs need not be told.
    let read = |file: &str| fs::read_to_string(staging.path().join(lib).join(file)).expect("read");
    let directory = staging.path().to_str().expect("text");
    let (package, config) =
        (read("pkgconfig/ashmem_cutils.pc"), read("cmake/ashmem_cutils/ashmem_cutils-config.cmake"));
    for text in [&package, &config] {
        assert!(!text.contains(directory) && !text.contains('@'), "{text}");
        assert!(text.contains("/usr/lib/x86_64-linux-gnu"), "{text}");
    }
    assert!(package.contains("prefix=/usr\n") && !package.contains("rpath"), "{package}");
    // Links stay what they are when the tree is moved.
    let target = |name: &str| fs::read_link(staging.path().join(lib).join(name)).expect("a link");
    assert_eq!(target("libashmem_cutils.so"), Path::new("libashmem_cutils.so.0.1"));
    assert_eq!(target("libashmem_cutils.so.0.1"), Path::new(&format!("libashmem_cutils.so.{version}")));
    assert_eq!(target("libashmem_close.so"), Path::new("libashmem_close.so.1"));

    // Elsewhere they are told. And again over what is there.
    for _ in 0..2 {
        succeed(&mut install("/opt/ashmem", "lib"));
    }
    let package = staging.path().join("opt/ashmem/lib/pkgconfig/ashmem_cutils.pc");
    let package = fs::read_to_string(package).expect("read");
    assert!(package.contains("-Wl,-rpath,/opt/ashmem/lib "), "{package}");

    for refused in ["relative/path", ""] {
        let output = install(refused, "lib").output().expect("started");
        assert_eq!(output.status.code(), Some(2));
    }
}

const PROJECT: &str = "\
cmake_minimum_required(VERSION 3.13)
project(closing C CXX)
foreach(version IN ITEMS 0.0.9 0.2 1 0.1.99 2.0.0)
    find_package(ashmem_cutils ${version} QUIET)
    if(ashmem_cutils_FOUND)
        message(FATAL_ERROR \"found as ${version}\")
    endif()
endforeach()
find_package(ashmem_cutils 0.1 REQUIRED)
find_package(ashmem_cutils 0.1.0 EXACT REQUIRED)
find_package(ashmem_cutils REQUIRED)
add_executable(shared ${PROGRAMS}/closing.c)
target_link_libraries(shared PRIVATE ashmem::cutils)
add_executable(static ${PROGRAMS}/closing.c)
target_link_libraries(static PRIVATE ashmem::cutils_static)
add_executable(wrapper ${PROGRAMS}/cpp_holds.cc)
target_compile_features(wrapper PRIVATE cxx_std_17)
target_link_libraries(wrapper PRIVATE ashmem::cutils)
install(TARGETS shared DESTINATION bin)
";

#[test]
fn a_project_with_cmake() {
    let Some(directory) = prefix() else { return };
    if !has("cmake") || !has("c++") || !has("make") {
        return;
    }
    let work = tempfile::tempdir().expect("a directory");
    fs::write(work.path().join("CMakeLists.txt"), PROJECT).expect("written");
    let build = work.path().join("build");
    let option = |name: &str, value: &Path| format!("-D{name}={}", value.display());
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/programs");
    let mut configure = Command::new("cmake");
    configure.args(["-Werror=dev", "-G", "Unix Makefiles", "-S"]).arg(work.path()).arg("-B").arg(&build);
    configure.arg(option("CMAKE_PREFIX_PATH", &directory.join("prefix")));
    configure.arg(option("PROGRAMS", &programs)).arg("-DCMAKE_C_FLAGS=-Wall -Wextra -Werror");
    configure.arg(option("CMAKE_INSTALL_PREFIX", &work.path().join("installed")));
    let output = succeed(&mut configure);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Warning"), "{said}");
    succeed(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", "2"]));
    succeed(Command::new("cmake").arg("--install").arg(&build));
    run(&build.join("shared"), &["seen"]);
    run(&build.join("static"), &["unseen"]);
    run(&build.join("wrapper"), &[]);
    // Also when CMake has taken its own paths out of it.
    succeed(Command::new(work.path().join("installed/bin/shared")).arg("seen").env_remove("LD_LIBRARY_PATH"));
}

#[test]
fn headers_by_themselves_and_in_any_order() {
    let Some(directory) = prefix() else { return };
    if !has("c++") {
        return;
    }
    let [first, second, third] = HEADERS;
    let orders = [
        vec![first],
        vec![second],
        vec![third],
        vec![first, second, third],
        vec![first, third, second],
        vec![second, first, third],
        vec![second, third, first],
        vec![third, first, second],
        vec![third, second, first],
        vec![third, third, second, second, first, first],
    ];
    let work = tempfile::tempdir().expect("a directory");
    let mut sources = Vec::new();
    for (number, order) in orders.iter().enumerate() {
        let lines: String = order.iter().map(|header| format!("#include <{header}>\n")).collect();
        // An empty file is none, by the letter of the standard.
        sources.push(work.path().join(format!("order{number}.c")));
        fs::write(&sources[number], lines + "extern int something;\n").expect("written");
    }
    sources.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/programs/same_macros.c"));
    let standards: [&[&str]; 5] = [
        &["-std=c89", "-pedantic", "-Wstrict-prototypes"],
        &["-std=c99", "-pedantic", "-Wstrict-prototypes"],
        &["-std=c11", "-pedantic", "-Wstrict-prototypes"],
        &["-std=c17", "-pedantic", "-Wstrict-prototypes"],
        &["-x", "c++", "-std=c++17", "-pedantic"],
    ];
    for standard in standards {
        let mut command = Command::new("cc");
        command.args(standard).args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
        succeed(command.arg("-I").arg(directory.join("prefix/include")).args(&sources));
    }
}

#[test]
fn beside_another_library_in_rust() {
    let Some(directory) = prefix() else { return };
    if !has("rustc") {
        return;
    }
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/programs");
    let other = directory.join("bin/libother.a");
    let mut command = Command::new("rustc");
    command.args(["--edition", "2021", "--crate-type", "staticlib", "--crate-name", "other", "-o"]);
    succeed(command.arg(&other).arg(programs.join("other_library.rs")));
    let ours = directory.join("prefix/lib/libashmem_cutils.a");
    for (number, libraries) in [[&ours, &other], [&other, &ours]].iter().enumerate() {
        let program = directory.join(format!("bin/two_libraries{number}"));
        let mut command = Command::new("cc");
        command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror"]).arg(programs.join("two_libraries.c"));
        command.arg("-I").arg(directory.join("prefix/include")).arg("-o").arg(&program);
        succeed(command.args(libraries).args(["-lpthread", "-lm", "-ldl"]));
        run(&program, &[]);
    }
}
