//! What the tests share: databases, and providers as processes of their own.
#![allow(dead_code, reason = "not each test needs everything")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use content_provider::{ContentResolver, DEFAULT_AUTHORITY, Value, ValueRef};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Much longer than anything takes, also on a machine that is busy.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory with a database and services that nobody else uses.
pub struct Place {
    pub directory: TempDir,
    pub database: PathBuf,
    pub address: String,
}

impl Place {
    /// With a database that these statements make.
    pub fn new(sql: &str) -> Place {
        // In memory, if there is such a place: a provider waits for the disk at each change.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let database = directory.path().join("test.db");
        let connection = Connection::open(&database).unwrap();
        // The tests' databases need not survive the machine.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        connection.execute_batch(sql).unwrap();
        let address = format!("unix://{}/services", directory.path().display());
        Place { directory, database, address }
    }

    pub fn connection(&self) -> Connection {
        Connection::open(&self.database).unwrap()
    }

    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_content_provider"));
        command.env("ASHMEM_BINDER", &self.address).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    pub fn serve(&self, arguments: &[&str]) -> Process {
        let mut command = self.program();
        command.args(["serve", "--until-input-ends"]).args(arguments).arg("--").arg(&self.database);
        let mut process = Process::start(&mut command);
        assert_eq!(process.line(), "content_provider: ready");
        process
    }

    pub fn services(&self) -> ServiceManager {
        ServiceManager::at(&self.address).unwrap()
    }

    pub fn resolver(&self) -> ContentResolver {
        ContentResolver::open(&self.services(), DEFAULT_AUTHORITY).unwrap()
    }
}

/// Killed on drop.
pub struct Process {
    pub child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, output }
    }

    /// The next line of its output; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn kill(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Descriptors and threads.
    pub fn holds(&self) -> (usize, usize) {
        let count = |what| fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count();
        (count("fd"), count("task"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A value, with texts as bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(u64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Cell {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(integer) => Cell::Integer(integer),
            ValueRef::Real(real) => Cell::Real(real.to_bits()),
            ValueRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}

/// The same rows, by SQLite in this process.
pub fn direct(connection: &Connection, sql: &str, arguments: &[Value]) -> Vec<Vec<Cell>> {
    use rusqlite::types::{Value as SqlValue, ValueRef as SqlRef};
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let arguments = arguments.iter().map(|value| match value {
        Value::Null => SqlValue::Null,
        Value::Integer(integer) => SqlValue::Integer(*integer),
        Value::Real(real) => SqlValue::Real(*real),
        Value::Text(text) => SqlValue::Text(text.clone()),
        Value::Blob(blob) => SqlValue::Blob(blob.clone()),
    });
    let mut rows = statement.query(rusqlite::params_from_iter(arguments)).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |column| match row.get_ref(column).unwrap() {
            SqlRef::Null => Cell::Null,
            SqlRef::Integer(integer) => Cell::Integer(integer),
            SqlRef::Real(real) => Cell::Real(real.to_bits()),
            SqlRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            SqlRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        };
        found.push((0..columns).map(cell).collect());
    }
    found
}
