//! The example in `examples/java/memory_service` as its users meet it: server and clients in JVMs, and either end in Rust.

mod process;
mod window;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{FIRST_CALL_TRANSACTION, Status};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};
use process::Process;
use tempfile::TempDir;

use super::harness::{Jdk, jdk};

/// The classes of the example.
struct Example {
    jdk: &'static Jdk,
    classes: TempDir,
}

/// What the original has.
const LISTINGS: [&str; 2] = ["IMemoryService.java", "MemoryService.java"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources() -> PathBuf {
    repository().join("examples/java/memory_service")
}

/// Compiled once. `None` where there is no JDK.
fn example() -> Option<&'static Example> {
    static EXAMPLE: OnceLock<Option<Example>> = OnceLock::new();
    EXAMPLE.get_or_init(|| jdk().map(Example::compile)).as_ref()
}

impl Example {
    fn compile(jdk: &'static Jdk) -> Example {
        let example = Example { jdk, classes: tempfile::tempdir().unwrap() };
        let ours = std::fs::read_dir(sources()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(".java") && !LISTINGS.contains(&name)
        });
        // The original's files are what they are, warnings and all.
        example.javac(&[], LISTINGS.map(|name| sources().join(name)));
        example.javac(&["-Xlint:all", "-Werror"], ours);
        example
    }

    fn javac(&self, options: &[&str], files: impl IntoIterator<Item = PathBuf>) {
        let mut javac = self.jdk.tool("javac");
        javac.args(["--release", "17", "-encoding", "UTF-8"]).args(options);
        javac.arg("-cp").arg(self.class_path()).arg("-d").arg(self.classes.path());
        let output = javac.args(files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn class_path(&self) -> std::ffi::OsString {
        std::env::join_paths([self.jdk.classes(), self.classes.path()]).unwrap()
    }

    /// A program of the example, whose services are in a directory of the test's own.
    fn java(&self, place: &Place, class: &str) -> Command {
        let mut java = self.jdk.java();
        java.arg("-cp").arg(self.class_path()).arg(format!("shy.luo.ashmem.{class}"));
        java.env("ASHMEM_BINDER", place.address()).stdin(Stdio::null());
        java
    }

    fn server(&self, place: &Place) -> Process {
        let mut server = Process::start(self.java(place, "Server").arg("--until-input-ends"));
        assert_eq!(server.line(), "server: ready");
        server
    }

    fn client(&self, place: &Place) -> Process {
        Process::start(&mut self.java(place, "Client"))
    }

    fn client_with(&self, place: &Place, arguments: &[&str]) -> Output {
        self.java(place, "Client").args(arguments).output().unwrap()
    }
}

/// A directory of services that nobody else uses.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn address(&self) -> String {
        format!("unix://{}/services", self.0.path().display())
    }

    /// The example in Rust.
    fn rust(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(rust_example());
        command.args(arguments).env("ASHMEM_BINDER", self.address()).stdin(Stdio::null());
        command
    }
}

/// Cargo has built it when the tests of all packages run, else it is told to.
fn rust_example() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let program = profile.join("examples/memory_service");
        if !program.exists() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args([
                "build",
                "--quiet",
                "--locked",
                "-p",
                "ashmem-examples",
                "--example",
                "memory_service",
            ]);
            build.arg("--target-dir").arg(profile.parent().unwrap());
            assert!(build.current_dir(repository()).status().unwrap().success());
        }
        program
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The listing below a line with its name.
fn listing<'text>(document: &'text str, name: &str) -> &'text str {
    let (_, after) = document.split_once(&format!("\n{name}\n")).unwrap();
    let (_, listing) = after.split_once("```java\n").unwrap();
    listing.split_once("```\n").unwrap().0
}

#[test]
fn the_listings_are_those_of_the_original() {
    let seed = repository().join("../shared/seeds/3-memoryfile-service-client.md");
    let Ok(document) = std::fs::read_to_string(&seed) else {
        eprintln!("skipped: the original is not beside the repository ({})", seed.display());
        return;
    };
    for name in LISTINGS {
        let source = std::fs::read_to_string(sources().join(name)).unwrap();
        let listing = listing(&document, name);
        let above = source.strip_suffix(listing).unwrap_or_else(|| panic!("{name} has been changed"));
        let is_head =
            |line: &str| line.is_empty() || line == "package shy.luo.ashmem;" || line.starts_with("import ");
        assert!(listing.lines().count() > 50 && above.lines().all(is_head), "{name}: {above}");
    }
}

#[test]
fn clients_see_each_others_values() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let _server = example.server(&place);
    let (mut reader, mut writer) = (example.client(&place), example.client(&place));
    assert_eq!(reader.ask("read"), "0");
    for value in ["5", "-1", "2147483647", "-2147483648"] {
        // Its answer to `read` says that the value was written.
        writer.tell(&format!("write {value}"));
        assert_eq!(writer.ask("read"), value);
        assert_eq!(reader.ask("read"), value);
    }
    writer.tell("clear");
    assert_eq!(writer.ask("write"), "client: \"\" is not an integer of 32 bits");
    assert_eq!(writer.ask("write 2147483648"), "client: \"2147483648\" is not an integer of 32 bits");
    assert_eq!(writer.ask("write 1 2"), "client: \"1 2\" is not an integer of 32 bits");
    assert_eq!(reader.ask("read"), "-2147483648");
    assert_eq!(reader.ask("what"), "client: read, write [VALUE], clear, quit");
    reader.tell("  write   6 ");
    assert_eq!(reader.ask("read"), "6");
    reader.tell("quit");
    assert_eq!(reader.ended(), Some(1), "one command failed");

    let output = example.client_with(&place, &["7", "-8"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    let expected = ["client: the value is 6", "client: wrote 7, read 7", "client: wrote -8, read -8"];
    assert_eq!(lines[..3], expected);
    assert!(lines[3].starts_with("client: writing to the memory itself is refused: "), "{lines:?}");
    let output = example.client_with(&place, &["read", "write", "42", "clear", "read"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "-8\n42\n"), "{output:?}");
}

#[test]
fn the_value_stays_readable_and_a_restarted_server_is_found() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let mut client = example.client(&place);
    assert_eq!(client.ask("read"), "client: there is no service AnonymousSharedMemory");
    let server = example.server(&place);
    client.tell("write 5");
    assert_eq!(client.ask("read"), "5");
    server.kill();
    assert_eq!(client.ask("read"), "5");
    assert!(client.ask("write 6").starts_with("client: "), "there is nobody");
    assert_eq!(client.ask("read"), "5");
    let _server = example.server(&place);
    client.tell("write 7");
    assert_eq!(client.ask("read"), "7");
    assert_eq!(example.client(&place).ask("read"), "7");
    client.close_input();
    assert_eq!(client.ended(), Some(1), "two commands failed");
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let server = example.server(&place);
    let output = example.java(&place, "Server").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("the name is taken"), "{output:?}");
    assert_eq!(example.java(&place, "Server").arg("what").output().unwrap().status.code(), Some(2));
    for arguments in [&["write"][..], &["write", "1.5"], &["write", "1", "what"], &["3", "read"], &["--what"]]
    {
        let output = example.client_with(&place, arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{output:?}");
        assert!(text(&output.stderr).contains("usage: Client"), "{output:?}");
    }
    let output = example.client_with(&place, &["read"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "0\n"), "{output:?}");

    drop(server);
    for arguments in [&["read"][..], &["7"]] {
        let output = example.client_with(&place, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(text(&said).contains("client: there is no service AnonymousSharedMemory"), "{}", text(&said));
    }
    let mut windowless = example.java(&place, "Client");
    let output = windowless.arg("--window").env_remove("DISPLAY").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("client: a window cannot be shown: "), "{output:?}");
}

/// The server ends with its input, as who starts it wants; a killed one is another test's.
#[test]
fn a_server_that_is_told_to_end_leaves_nothing() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let mut server = example.server(&place);
    server.close_input();
    assert_eq!(server.ended(), Some(0));
    let _next = example.server(&place);
    assert_eq!(example.client(&place).ask("read"), "0");
}

#[test]
fn a_client_in_rust() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let _server = example.server(&place);
    let mut java = example.client(&place);
    java.tell("write 5");
    assert_eq!(java.ask("read"), "5");
    let mut rust = Process::start(&mut place.rust(&["client"]));
    assert_eq!(rust.ask("read"), "5");
    rust.tell("write -6");
    assert_eq!(rust.ask("read"), "-6");
    assert_eq!(java.ask("read"), "-6");
    // The Java server has no second service, so that is where this one ends.
    let output = place.rust(&["client", "42", "-7"]).output().unwrap();
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    let expected = ["client: the value is -6", "client: wrote 42, read 42", "client: wrote -7, read -7"];
    assert_eq!(lines[..3], expected, "{output:?}");
    assert!(lines[3].starts_with("client: writing to the memory itself is refused: "), "{output:?}");
    assert!(text(&output.stderr).contains("MyService"), "{output:?}");
    assert_eq!(java.ask("read"), "-7");
}

/// The original's service closes no descriptor that it hands out.
#[test]
fn a_service_does_not_run_out_of_descriptors() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let java = example.java(&place, "Server");
    let mut shell = Command::new("sh");
    // The JVM raises its limit as far as it may.
    shell.args(["-c", "ulimit -n 200 && exec \"$@\"", "sh"]).arg(java.get_program()).args(java.get_args());
    shell.arg("--until-input-ends").env("ASHMEM_BINDER", place.address());
    let mut server = Process::start(&mut shell);
    assert_eq!(server.line(), "server: ready");
    let services = ServiceManager::at(&place.address()).unwrap();
    let service = services.get_service("AnonymousSharedMemory").unwrap();
    let proxy = service.as_any().downcast_ref::<RpcProxy>().unwrap();
    for call in 0..1000 {
        let request = proxy.build_request("shy.luo.ashmem.IMemoryService").unwrap();
        let mut reply = proxy.transact(FIRST_CALL_TRANSACTION, &request, 0).unwrap().unwrap();
        let status: Status = reply.read().unwrap();
        assert!(status.is_ok(), "{call}: {status:?}");
        let memory: Option<ParcelFileDescriptor> = reply.read().unwrap();
        assert!(memory.is_some(), "{call}");
    }
}

#[test]
fn a_server_in_rust() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    let mut server = Process::start(&mut place.rust(&["server", "--until-input-ends"]));
    assert_eq!(server.line(), "server: ready");
    let mut java = example.client(&place);
    assert_eq!(java.ask("read"), "0");
    for value in ["5", "-1", "-2147483648"] {
        java.tell(&format!("write {value}"));
        assert_eq!(java.ask("read"), value);
    }
    server.kill();
    assert!(java.ask("write 6").starts_with("client: "), "there is nobody");
    assert_eq!(java.ask("read"), "-2147483648");
    // The next one may be of another language.
    let _server = example.server(&place);
    java.tell("write 8");
    assert_eq!(java.ask("read"), "8");
}
