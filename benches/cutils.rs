//! The C library, called by a program in C that is linked with it as pkg-config says: against the same in Rust, and against the
//! system calls below it.
//!
//! The program is `cutils/worker.c`, compiled here against what `ci/install` places. It is told through its standard input
//! what to do how many times, and answers with the time it took; in between it sleeps.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use ashmem::Region;
use tempfile::TempDir;

use crate::contention::pin_whole;
use crate::pair::Pair;
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

pub fn run(suite: &mut Suite) {
    for tool in ["cc", "pkg-config"] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("cutils: skipped, there is no {tool}");
            return;
        }
    }
    suite.run(
        Case {
            id: ("cutils", "pin_4KiB"),
            what: "C, 4 KiB, whole: unpin + pin",
            reference: "the same in Rust",
            required: Required::Cost(1.5),
            slow: false,
        },
        || {
            let mut worker = Worker::start();
            let region = ok(Region::create("whole", 4096));
            Pair::new(move |count| worker.run(Task::Pins, count), move |count| pin_whole(&region, count))
        },
    );
    suite.run(
        Case {
            id: ("cutils", "create_close"),
            what: "C: create + close, never unpinned",
            reference: "the same system calls",
            required: Required::Cost(1.15),
            slow: false,
        },
        || {
            let worker = Rc::new(RefCell::new(Worker::start()));
            let same = worker.clone();
            Pair::new(
                move |count| worker.borrow_mut().run(Task::LibraryCreate, count),
                move |count| same.borrow_mut().run(Task::RawCreate, count),
            )
        },
    );
}

/// What the worker does, in the order of its own list.
#[derive(Clone, Copy)]
enum Task {
    Pins,
    LibraryCreate,
    RawCreate,
}

/// The program in C. It ends with its standard input.
struct Worker {
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    process: Child,
    /// It, and the library that it is linked with.
    _directory: TempDir,
}

impl Worker {
    fn start() -> Worker {
        let directory = ok(tempfile::tempdir());
        let program = build(directory.path());
        // Cargo lets its tests find libraries of its own; nobody else has that.
        let mut process = ok(Command::new(program)
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn());
        let (orders, Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            fail("the worker has no pipes");
        };
        Worker { orders, answers, process, _directory: directory }
    }

    fn run(&mut self, task: Task, count: u64) -> Duration {
        let Some(orders) = &mut self.orders else { fail("the worker has ended") };
        ok(orders.write_all([task as u64, count].map(u64::to_ne_bytes).as_flattened()));
        let mut answer = [0; 8];
        ok(self.answers.read_exact(&mut answer));
        Duration::from_nanos(u64::from_ne_bytes(answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        ok(self.process.wait());
    }
}

/// Installs the library below a directory, compiles the worker, and returns the program.
fn build(directory: &Path) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (prefix, program) = (directory.join("prefix"), directory.join("worker"));
    output(Command::new(workspace.join("ci/install")).arg(&prefix));
    let options =
        output(Command::new("pkg-config").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args([
            "--cflags",
            "--libs",
            "ashmem_cutils",
        ]));
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Wextra"]).arg(workspace.join("benches/cutils/worker.c"));
    output(compiler.arg("-o").arg(&program).args(options.split_whitespace()));
    program
}

/// What a command prints. Its errors go where those of this program go.
fn output(command: &mut Command) -> String {
    let output = ok(command.stderr(Stdio::inherit()).output());
    if !output.status.success() {
        fail(format!("{command:?}: {}", output.status));
    }
    ok(String::from_utf8(output.stdout))
}
