//! Builds the library and C programs for it, and runs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

/// A directory with the library as it is installed, for programs of one test.
pub(crate) struct Bench(TempDir);

impl Bench {
    /// None, with a message, if there is no C compiler.
    pub(crate) fn new() -> Option<Bench> {
        if !is_there("cc") {
            skip("there is no C compiler `cc`");
            return None;
        }
        let bench = Bench(tempfile::tempdir().expect("a directory"));
        // Once for all tests of the process.
        static BUILT: LazyLock<PathBuf> = LazyLock::new(build);
        std::fs::copy(&*BUILT, bench.library()).expect("copied");
        // What the linker looks for.
        std::os::unix::fs::symlink("libashmem_close.so.1", bench.path("libashmem_close.so")).expect("a link");
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.path("libashmem_close.so.1")
    }

    /// Whether the compiler knows these options, and has what they need.
    pub(crate) fn compiles(&self, options: &[&str]) -> bool {
        let mut cc = self.cc("nothing", &self.path("nothing"), options);
        cc.stderr(Stdio::null()).status().expect("started").success()
    }

    fn cc(&self, name: &str, output: &Path, options: &[&str]) -> Command {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name).with_extension("c");
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]).args(options);
        cc.arg("-o").arg(output).arg(source);
        cc
    }

    /// The program without the library.
    pub(crate) fn compile(&self, name: &str, options: &[&str]) -> PathBuf {
        let output = self.path(&format!("{name}-alone"));
        text(self.cc(name, &output, options).arg("-ldl"));
        output
    }

    /// The program with the library.
    pub(crate) fn compile_linked(&self, name: &str, options: &[&str]) -> PathBuf {
        let output = self.path(&format!("{name}-linked"));
        let mut cc = self.cc(name, &output, options);
        cc.arg("-L").arg(self.0.path()).arg(format!("-Wl,-rpath,{}", self.0.path().display()));
        text(cc.args(["-Wl,--no-as-needed", "-lashmem_close", "-ldl"]));
        output
    }

    pub(crate) fn compile_library(&self, name: &str, options: &[&str]) -> PathBuf {
        let output = self.path(&format!("lib{name}.so"));
        text(self.cc(name, &output, options).args(["-shared", "-fPIC", "-ldl"]));
        output
    }
}

/// Cargo builds libraries for programs in C only when it is asked to, so this asks; it takes what is there if it is not older
/// than the source. The profile is that of this test.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let profile_directory = program.ancestors().nth(2).expect("target/PROFILE/deps/PROGRAM");
    let target = profile_directory.parent().expect("target");
    let profile = match profile_directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is no profile", profile_directory.display()),
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--lib", "--package", "ashmem-close"]);
    cargo.args(["--profile", profile]).arg("--target-dir").arg(target);
    text(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
    let library = profile_directory.join("libashmem_close.so");
    assert!(library.exists(), "{} was not built", library.display());
    library
}

pub(crate) fn is_there(command: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(command).is_file())
}

/// Says why a test checks nothing. Where everything is expected to be there, it fails.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    // Not by what the test harness keeps to itself; there is nobody to tell if it fails.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// What it writes, of a program that succeeds.
pub(crate) fn text(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}
