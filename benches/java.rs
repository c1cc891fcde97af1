//! The Java layer, called by a program in Java: against a direct buffer of Java's own, and against the same in Rust.
//!
//! The program is `java/Worker.java`, compiled here against `target/ashmem.jar`. It is told through its standard input what to do
//! how many times, and answers with the time it took; in between it sleeps. Before it is measured it has run long enough for
//! Java's compilers.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tempfile::TempDir;

use crate::binder;
use crate::contention::{on, two_cpus};
use crate::pair::Pair;
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

const MIB: u64 = 1 << 20;

/// Calls in a round, for one that is asked for: two virtual machines find their code in no cache after the other side's turn.
const LONGER: u64 = 16;

pub fn run(suite: &mut Suite) {
    if !jar().exists() {
        eprintln!("java: skipped, there is no {} (ci/build-jar makes it)", jar().display());
        return;
    }
    for tool in ["java", "javac"] {
        if jdk(tool).arg("-version").stderr(Stdio::null()).stdout(Stdio::null()).status().is_err() {
            eprintln!("java: skipped, there is no {tool}");
            return;
        }
    }
    suite.run_bytes(
        Case {
            id: ("java", "read_1MiB"),
            what: "Java: MemoryFile.readBytes of 1 MiB",
            reference: "ByteBuffer.get from a direct buffer",
            required: Required::Speed(0.9),
            slow: false,
        },
        MIB,
        || {
            let program = Rc::new(Program::compile());
            let mut worker = program.start(None);
            worker.warm_up(&[Task::MemoryFile, Task::Buffer]);
            let worker = Rc::new(RefCell::new(worker));
            let same = Rc::clone(&worker);
            Pair::new(
                move |count| worker.borrow_mut().run(Task::MemoryFile, count),
                move |count| same.borrow_mut().run(Task::Buffer, count),
            )
        },
    );
    let Some([cpu, _]) = two_cpus() else {
        eprintln!("java: calls skipped, there is one core");
        return;
    };
    suite.run(
        Case {
            id: ("java", "call"),
            what: "Java to Java: a small call",
            reference: "Rust to Rust",
            required: Required::Cost(1.5),
            slow: false,
        },
        || {
            let program = Rc::new(Program::compile());
            let server = program.serve(cpu);
            let mut client = program.start(Some(cpu));
            client.warm_up(&[Task::Call]);
            let ours = move |count| {
                // As long as the client calls it.
                let _server = &server;
                client.run(Task::Call, count * LONGER) / LONGER as u32
            };
            let mut calls = binder::calls();
            Pair::new(ours, move |count| calls(count * LONGER) / LONGER as u32)
        },
    );
}

/// What the worker does, as it numbers it itself.
#[derive(Clone, Copy)]
enum Task {
    MemoryFile,
    Buffer,
    Call,
}

/// The program in Java, with a directory for its services.
struct Program {
    directory: TempDir,
}

impl Program {
    fn compile() -> Program {
        let directory = ok(tempfile::tempdir());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Worker.java");
        let mut compiler = jdk("javac");
        compiler.arg("-cp").arg(jar()).arg("-d").arg(directory.path()).arg(source);
        if !ok(compiler.status()).success() {
            fail("the worker in Java cannot be compiled");
        }
        Program { directory }
    }

    /// Starts it, on a core if it is to stay on one: then the scheduler does not decide how long a call takes.
    fn start_with(self: &Rc<Program>, arguments: &[&str], cpu: Option<usize>) -> Worker {
        let mut java = jdk("java");
        java.arg("--class-path").arg(ok(std::env::join_paths([&jar(), self.directory.path()])));
        java.arg("Worker").args(arguments);
        java.env("ASHMEM_BINDER", format!("unix://{}", self.directory.path().join("services").display()));
        java.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = ok(match cpu {
            // It inherits the core.
            Some(cpu) => on(cpu, || java.spawn()),
            None => java.spawn(),
        });
        let (orders, Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            fail("the worker has no pipes");
        };
        Worker { orders, answers, process, _program: Rc::clone(self) }
    }

    fn start(self: &Rc<Program>, cpu: Option<usize>) -> Worker {
        self.start_with(&[], cpu)
    }

    /// A worker whose service can be found.
    fn serve(self: &Rc<Program>, cpu: usize) -> Worker {
        let mut server = self.start_with(&["server"], Some(cpu));
        ok(server.answers.read_exact(&mut [0]));
        server
    }
}

/// A process of the program. It ends with its standard input.
struct Worker {
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    process: Child,
    _program: Rc<Program>,
}

impl Worker {
    /// The first order of a task is answered after so many rounds that Java's compilers have done what they can.
    fn warm_up(&mut self, tasks: &[Task]) {
        for &task in tasks {
            self.run(task, 1);
        }
    }

    fn run(&mut self, task: Task, count: u64) -> Duration {
        let Some(orders) = &mut self.orders else { fail("the worker has ended") };
        let order = [&(task as u32).to_be_bytes()[..], &count.to_be_bytes()].concat();
        ok(orders.write_all(&order));
        let mut answer = [0; 8];
        ok(self.answers.read_exact(&mut answer));
        Duration::from_nanos(u64::from_be_bytes(answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        ok(self.process.wait());
    }
}

/// What `ci/build-jar` makes, in the directory that this program is in: `target/release/deps/ratios-…`.
fn jar() -> PathBuf {
    let program = ok(std::env::current_exe());
    program.ancestors().nth(3).unwrap_or(Path::new("target")).join("ashmem.jar")
}

/// A command of the JDK.
fn jdk(tool: &str) -> Command {
    match std::env::var_os("JAVA_HOME") {
        Some(home) => Command::new(Path::new(&home).join("bin").join(tool)),
        None => Command::new(tool),
    }
}
