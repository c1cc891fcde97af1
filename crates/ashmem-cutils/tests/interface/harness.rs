//! Installing the library, compiling programs with it, and running them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Programs are compiled without warnings.
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// How a program is linked with the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// As pkg-config says.
    Shared,
    /// With the shared library alone, so that closing is not seen.
    Unseen,
    /// With the static library.
    Static,
}

/// All ways of linking.
pub const LINKS: [Link; 3] = [Link::Shared, Link::Unseen, Link::Static];

struct Installed {
    directory: TempDir,
}

/// Where the library is installed: `prefix`, with `bin` beside it. `None`, after saying so, when there is no compiler.
pub fn prefix() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| has("cc").then(install));
    installed.as_ref().map(|installed| installed.directory.path())
}

fn install() -> Installed {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    succeed(Command::new(root.join("ci/install")).arg(directory.path().join("prefix")));
    fs::create_dir(directory.path().join("bin")).expect("a directory");
    Installed { directory }
}

/// Whether a program is there. If not, the test is to be left; in CI it fails.
pub fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().expect("a shell");
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(found.status.success() || !is_ci, "there is no {program}");
    if !found.status.success() {
        skipped(&format!("there is no {program}"));
    }
    found.status.success()
}

/// Says that a test is left, also when nobody asks for what tests print: that is kept from whoever runs them when they succeed.
pub fn skipped(reason: &str) {
    // There is nobody to tell.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Compiles `programs/SOURCE` (C11, or C++17 for `.cc`) and returns the program.
pub fn compile(source: &str, link: Link, flags: &[&str]) -> Option<PathBuf> {
    let directory = prefix()?;
    let is_cpp = source.ends_with(".cc");
    let (compiler, standard) = if is_cpp { ("c++", "-std=c++17") } else { ("cc", "-std=gnu11") };
    if !has(compiler) {
        return None;
    }
    let name = format!("{source}-{link:?}{}", flags.concat().replace(['/', '='], "_"));
    let program = directory.join("bin").join(name);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/programs");
    let mut command = Command::new(compiler);
    command.args([standard, "-g", "-O1", "-pthread"]).args(WARNINGS).args(flags);
    command.arg("-I").arg(&sources).arg(sources.join(source)).arg("-o").arg(&program);
    let (prefix, lib) = (directory.join("prefix"), directory.join("prefix/lib"));
    match link {
        Link::Shared => {
            command.args(package(&["--cflags", "--libs"])?);
        }
        Link::Unseen => {
            command.arg("-I").arg(prefix.join("include")).arg(lib.join("libashmem_cutils.so"));
            command.arg(format!("-Wl,-rpath,{}", lib.display()));
        }
        Link::Static => {
            command.arg("-I").arg(prefix.join("include")).arg(lib.join("libashmem_cutils.a"));
            command.args(["-lpthread", "-lm", "-ldl"]);
        }
    }
    succeed(&mut command);
    Some(program)
}

/// What pkg-config says of the installed library.
pub fn package(questions: &[&str]) -> Option<Vec<String>> {
    package_named("ashmem_cutils", questions)
}

/// As [`package`], of one of its two ways to be linked.
pub fn package_named(name: &str, questions: &[&str]) -> Option<Vec<String>> {
    let directory = prefix()?;
    if !has("pkg-config") {
        return None;
    }
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", directory.join("prefix/lib/pkgconfig")).args(questions).arg(name);
    let output = succeed(&mut command);
    let answer = String::from_utf8(output.stdout).expect("text");
    Some(answer.split_whitespace().map(String::from).collect())
}

/// Runs a command to its end; fails with all that it printed if that is not success.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// Runs a program that checks by itself and says nothing on success: also the library must not print.
pub fn run(program: &Path, arguments: &[&str]) {
    let output = succeed(Command::new(program).args(arguments));
    let said = [output.stdout, output.stderr].concat();
    assert!(said.is_empty(), "{program:?} {arguments:?} said: {}", String::from_utf8_lossy(&said));
}

/// Compiles a program in all ways of linking, and runs it.
pub fn run_however_linked(source: &str, arguments: &[&str]) {
    for link in LINKS {
        let Some(program) = compile(source, link, &[]) else { return };
        run(&program, arguments);
    }
}
