//! The classes of shared memory. Some tests ask this process for the other side of it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ashmem::{Protection, Region};
use rustix::fs::MemfdFlags;

use crate::harness::{Jdk, assert_success, jdk, library};

#[test]
fn memory_file() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("MemoryFileTest");
}

#[test]
fn shared_memory() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("SharedMemoryTest");
}

#[test]
fn parcel_file_descriptor() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelFileDescriptorTest");
}

#[test]
fn constants_and_errors() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("OsConstantsTest");
}

#[test]
fn log() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("LogTest");
}

#[test]
fn closed_while_others_use_it() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("MemoryCloseTest");
}

#[test]
fn buffers_after_unmap() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("SharedMemoryUnmapTest");
}

#[test]
fn nothing_is_left() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("MemoryLeakTest");
}

#[test]
fn few_descriptors() {
    let Some(jdk) = jdk() else { return };
    let java = jdk.java();
    let mut shell = Command::new("sh");
    // The JVM raises its limit as far as it may.
    shell.args(["-c", "ulimit -n 200 && exec \"$@\"", "sh"]).arg(java.get_program()).args(java.get_args());
    shell.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
    jdk.run_tests_in(&mut shell, "MemoryDescriptorsTest");
}

#[test]
fn class_loaders_are_unloaded() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("MemoryUnloadTest");
}

#[test]
fn purges_and_memory_of_another_process() {
    let Some(jdk) = jdk() else { return };
    run_as_peer(jdk, "MemoryPeerTest");
}

#[test]
fn descriptors_for_the_ndk() {
    let Some(jdk) = jdk() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(ndk) = compile(jdk, "ndk.c", directory.path()) else { return };
    let mut java = jdk.java();
    jdk.run_tests_in(java.arg(format!("-Dashmem.test.ndk={}", ndk.display())), "SharedMemoryNdkTest");
}

/// Runs the tests of a class, and does what they ask for in lines that begin with a question mark.
fn run_as_peer(jdk: &Jdk, class: &str) {
    let errors = tempfile::NamedTempFile::new().unwrap();
    let mut java = jdk.java();
    java.args(["ashmem.test.Runner", &format!("ashmem.test.{class}")]);
    java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.reopen().unwrap());
    let mut java = java.spawn().unwrap();
    let mut answers = java.stdin.take().unwrap();
    let mut memory = Vec::new();
    let mut output = String::new();
    for line in BufReader::new(java.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(request) = line.strip_prefix("? ") {
            let answer = answer(request, &mut memory);
            // Who is gone is found by its status.
            let _ = writeln!(answers, "{answer}");
        } else {
            output += &line;
            output.push('\n');
        }
    }
    drop(answers);
    let status = java.wait().unwrap();
    let stderr = std::fs::read(errors.path()).unwrap();
    assert_success(&Output { status, stdout: output.into_bytes(), stderr });
}

/// Requests are words: what to do, the size or the path of a descriptor, and more numbers. What this process makes it keeps, and
/// answers with a path to it.
fn answer(request: &str, memory: &mut Vec<OwnedFd>) -> String {
    let words: Vec<&str> = request.split(' ').collect();
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(words[1]).unwrap();
    let region = || Region::from_fd(open().into()).unwrap();
    let mut keep = |fd: OwnedFd| {
        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        memory.push(fd);
        path
    };
    let mut raw = |flags, size| {
        let file = File::from(rustix::fs::memfd_create("raw", flags | MemfdFlags::CLOEXEC).unwrap());
        file.set_len(size).unwrap();
        keep(file.into())
    };
    match words[0] {
        "memfd" => raw(MemfdFlags::ALLOW_SEALING, number(1)),
        "unsealable" => raw(MemfdFlags::empty(), number(1)),
        "region" => keep(Region::create("the peer's", number(1)).unwrap().into_fd().unwrap()),
        "tmpfs" => {
            let file = tempfile::tempfile_in("/dev/shm").unwrap();
            file.set_len(number(1)).unwrap();
            keep(file.into())
        }
        "truncate" => said(open().set_len(number(2)).map_err(|error| error.raw_os_error().unwrap())),
        "purge" => region().purge().unwrap().to_string(),
        "map" => said(region().map().map(drop).map_err(|error| error.raw_os_error())),
        "protect" => said(region().set_protection(Protection::READ).map_err(|error| error.raw_os_error())),
        "read" => {
            let region = region();
            let bytes = region.map_read_only().unwrap().read_vec(number(2), number(3)).unwrap();
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("{} {}", region.size(), bytes.join(" "))
        }
        "write" => {
            let bytes: Vec<u8> = words[3..].iter().map(|word| word.parse().unwrap()).collect();
            region().map().unwrap().write_at(number(2), &bytes).unwrap();
            "ok".to_owned()
        }
        _ => panic!("{request}"),
    }
}

fn said(result: Result<(), i32>) -> String {
    result.map_or_else(|errno| format!("errno {errno}"), |()| "ok".to_owned())
}

/// Compiles a program of tests/native as a library for the JVM, linked against ours. Says so where there is no compiler.
///
/// # Panics
/// In CI when there is none.
pub fn compile(jdk: &Jdk, source: &str, into: &Path) -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library_of_test = into.join(format!("lib{}.so", source.trim_end_matches(".c")));
    let include = home(jdk).join("include");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I"]).arg(&include);
    cc.arg("-I").arg(include.join("linux"));
    cc.arg("-I").arg(package.join("../../crates/ashmem-cutils/include"));
    cc.arg("-o").arg(&library_of_test).arg(package.join("tests/native").join(source));
    if source == "ndk.c" {
        cc.arg("-L").arg(library().parent().unwrap()).arg("-lashmem_jni");
    }
    match cc.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library_of_test)
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "there is no C compiler: {error}");
            eprintln!("skipped: there is no C compiler (cc)");
            None
        }
    }
}

/// Where the JDK is.
fn home(jdk: &Jdk) -> PathBuf {
    let output = jdk.tool("java").args(["-XshowSettings:properties", "-version"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let home = text.lines().find_map(|line| line.trim().strip_prefix("java.home = "));
    PathBuf::from(home.unwrap())
}
