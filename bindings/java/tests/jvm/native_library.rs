//! Where the native library is taken from, and what is said when it cannot be had.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Jdk, assert_success, jdk, library};
use crate::memory::compile;

/// A JVM without a native library.
fn java(jdk: &Jdk, classes: &[&Path]) -> Command {
    let mut java = jdk.tool("java");
    java.arg("-cp").arg(std::env::join_paths(classes).unwrap()).arg("-Xcheck:jni");
    java.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
    java
}

/// Every use fails and says so, each time.
fn refused(java: &mut Command, jdk: &Jdk, expected: &str) {
    jdk.run_tests_in(java.arg(format!("-Dashmem.test.expected={expected}")), "UseLibraryTest");
}

fn refused_file(jdk: &Jdk, path: impl AsRef<OsStr>, expected: &str) {
    let mut java = java(jdk, &[jdk.classes()]);
    let mut property = std::ffi::OsString::from("-Dashmem.library.path=");
    property.push(path);
    refused(java.arg(property), jdk, expected);
}

#[test]
fn named_by_the_property() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("UseLibraryTest");
}

#[test]
fn missing() {
    let Some(jdk) = jdk() else { return };
    let directory = tempfile::tempdir().unwrap();
    refused_file(
        jdk,
        directory.path().join("missing.so"),
        "missing.so: there is no such file (ashmem.library.path)",
    );
    refused_file(jdk, directory.path(), "there is no such file");
    refused_file(jdk, "", "there is no such file");
}

#[test]
fn no_library_at_all() {
    let Some(jdk) = jdk() else { return };
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read(library()).unwrap();
    let mut other_class = whole.clone();
    other_class[4] = 1;
    let mut far = whole.clone();
    far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut huge = whole.clone();
    huge[54..58].copy_from_slice(&[0xFF; 4]);
    let cases: [(&str, &[u8], &str); 7] = [
        (
            "text.so",
            b"This is no library, and has more than the bytes of a header of one.",
            "it has no ELF header",
        ),
        ("empty.so", b"", "the file ends too early"),
        ("start.so", &whole[..5000], "the file ends too early"),
        ("middle.so", &whole[..100_000], "the file ends too early"),
        ("other_class.so", &other_class, "it has no ELF header"),
        ("far.so", &far, "the file ends too early"),
        ("huge.so", &huge, "its program headers have another size"),
    ];
    for (name, bytes, expected) in cases {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        refused_file(jdk, &path, expected);
    }
}

#[test]
fn of_something_else() {
    let Some(jdk) = jdk() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(stranger) = compile(jdk, "stranger.c", directory.path()) else { return };
    refused_file(jdk, stranger, "libstranger.so is not the native library of ashmem.jar");
}

#[test]
fn of_another_version() {
    let Some(jdk) = jdk() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(other) = compile(jdk, "other_version.c", directory.path()) else { return };
    refused_file(jdk, other, concat!("has version 9.9.9, ashmem.jar has ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn not_in_the_jar() {
    let Some(jdk) = jdk() else { return };
    refused(&mut java(jdk, &[jdk.classes()]), jdk, "ashmem.jar has no native library for Linux");
}

/// A directory on the class path as the jar has it.
fn with_library(from: &Path) -> tempfile::TempDir {
    let resources = tempfile::tempdir().unwrap();
    let directory = resources.path().join(format!("native/linux-{}", std::env::consts::ARCH));
    fs::create_dir_all(&directory).unwrap();
    fs::copy(from, directory.join("libashmem_jni.so")).unwrap();
    resources
}

#[test]
fn unpacked_and_gone_again() {
    let Some(jdk) = jdk() else { return };
    let resources = with_library(&library());
    let temporary = tempfile::tempdir().unwrap();
    let mut java = java(jdk, &[jdk.classes(), resources.path()]);
    java.arg(format!("-Djava.io.tmpdir={}", temporary.path().display()));
    jdk.run_tests_in(&mut java, "UseLibraryTest");
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nowhere_to_unpack_it() {
    let Some(jdk) = jdk() else { return };
    let resources = with_library(&library());
    for temporary in ["/nonexistent/directory", "/proc"] {
        let mut java = java(jdk, &[jdk.classes(), resources.path()]);
        java.arg(format!("-Djava.io.tmpdir={temporary}"));
        refused(&mut java, jdk, "the native library of ashmem.jar cannot be unpacked");
    }
}

#[test]
fn unpacked_into_the_current_directory() {
    let Some(jdk) = jdk() else { return };
    let resources = with_library(&library());
    let current = tempfile::tempdir().unwrap();
    let mut java = java(jdk, &[jdk.classes(), resources.path()]);
    jdk.run_tests_in(java.arg("-Djava.io.tmpdir=").current_dir(&current), "UseLibraryTest");
    assert_eq!(fs::read_dir(current.path()).unwrap().count(), 0);
}

#[test]
fn unpacked_where_nothing_may_be_executed() {
    let Some(jdk) = jdk() else { return };
    let resources = with_library(&library());
    let temporary = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o noexec tmpfs {}", temporary.path().display());
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    if !shell.arg(&mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let java = java(jdk, &[jdk.classes(), resources.path()]);
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    shell.arg(format!("{mount} && exec \"$@\"")).arg("sh").arg(java.get_program()).args(java.get_args());
    shell.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
    shell.arg(format!("-Djava.io.tmpdir={}", temporary.path().display()));
    refused(&mut shell, jdk, "java.io.tmpdir, which must allow executing; the property ashmem.library.path");
}

/// As the JDK will do by default once.
#[test]
fn native_access_denied() {
    const DENY: &str = "--illegal-native-access=deny";
    let Some(jdk) = jdk() else { return };
    if !jdk.tool("java").args([DENY, "-version"]).output().unwrap().status.success() {
        eprintln!("skipped: a JDK before 24 does not deny it");
        return;
    }
    let resources = with_library(&library());
    let mut from_jar = java(jdk, &[jdk.classes(), resources.path()]);
    refused(from_jar.arg(DENY), jdk, "--enable-native-access=ALL-UNNAMED");
    let mut granted = java(jdk, &[jdk.classes(), resources.path()]);
    jdk.run_tests_in(granted.args([DENY, "--enable-native-access=ALL-UNNAMED"]), "UseLibraryTest");
}

#[test]
fn a_broken_one_in_the_jar() {
    let Some(jdk) = jdk() else { return };
    let text = tempfile::NamedTempFile::new().unwrap();
    fs::write(text.path(), "This is no library.").unwrap();
    let resources = with_library(text.path());
    refused(&mut java(jdk, &[jdk.classes(), resources.path()]), jdk, "libashmem_jni.so");
}

#[test]
fn errors_and_constants_need_none() {
    let Some(jdk) = jdk() else { return };
    let mut java = java(jdk, &[jdk.classes()]);
    let output = java.args(["ashmem.test.Runner", "ashmem.test.OsConstantsTest"]).output().unwrap();
    assert_success(&output);
}
