//! `ashmem share`, `cat` and `services` as their users meet them: built programs in processes of their own.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use ashmem::{Protection, Region, page_size};
use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryBase, MemoryHeapBase, ServiceManager};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A directory of services for one test, and of files.
struct Place {
    directory: TempDir,
}

/// `ashmem share`, which has said that it serves. Killed on drop.
struct Share {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it has said.
    said: String,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn address(&self) -> String {
        format!("unix://{}/services", self.directory.path().display())
    }

    fn services(&self) -> ServiceManager {
        ServiceManager::at(&self.address()).unwrap()
    }

    fn ashmem(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
        command.args(arguments).env("ASHMEM_BINDER", self.address()).env("ASHMEM_DRIVER", "off");
        command.stdin(Stdio::null());
        command
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("file");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn share(&self, name: &str, file: &Path, options: &[&str]) -> Share {
        let mut command = self.ashmem(&["share", name]);
        Share::start(command.arg(file).args(options))
    }

    fn cat(&self, name: &str) -> Output {
        self.ashmem(&["cat", name]).output().unwrap()
    }
}

impl Share {
    fn start(command: &mut Command) -> Share {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        Share { child, stderr, said }
    }

    fn served(self) -> Share {
        assert!(self.said.contains("is shared"), "{}", self.said);
        self
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Bytes that differ from page to page.
fn numbered(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n / 7 + n / 4096 * 31 + size + 1) as u8).collect()
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn success(output: &Output) -> &[u8] {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    &output.stdout
}

/// What the program complained about, in one line.
fn trouble(output: &Output) -> &str {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("ashmem: ") && errors.lines().count() == 1, "{errors}");
    errors
}

fn heap(place: &Place, name: &str) -> BpMemoryHeap {
    BpMemoryHeap::from_binder(&place.services().get_service(name).unwrap()).unwrap()
}

#[test]
fn files_come_out_as_they_went_in() {
    let place = Place::new();
    let page = page_size() as usize;
    for size in [1, page - 1, page, page + 1, (10 << 20) + 3] {
        let bytes = numbered(size);
        let file = place.file(&bytes);
        for options in [&[][..], &["--read-only"], &["--purgeable"], &["--read-only", "--purgeable"]] {
            let mut share = place.share("some/file.txt", &file, options).served();
            let output = place.cat("some/file.txt");
            assert_eq!(sum(success(&output)), sum(&bytes), "{size} bytes, {options:?}");
            assert_eq!(output.stdout.len(), size);
            assert_eq!(share.end(Signal::TERM).code(), Some(0));
            let mut rest = String::new();
            share.stderr.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "");
            assert!(trouble(&place.cat("some/file.txt")).contains("no service some/file.txt"));
        }
    }
}

#[test]
fn standard_input_is_shared_as_it_comes() {
    let place = Place::new();
    for size in [1, 100_000, (10 << 20) + 3] {
        let bytes = numbered(size);
        for options in [&[][..], &["--read-only"]] {
            let mut command = place.ashmem(&["share", "piped", "-"]);
            let child = command.args(options).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let mut child = child.unwrap();
            let mut pipe = child.stdin.take().unwrap();
            let (first, second) = bytes.split_at(size / 3);
            pipe.write_all(first).unwrap();
            pipe.write_all(second).unwrap();
            drop(pipe);
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            let mut said = String::new();
            stderr.read_line(&mut said).unwrap();
            let mut share = Share { child, stderr, said }.served();
            assert_eq!(sum(success(&place.cat("piped"))), sum(&bytes), "{size} bytes, {options:?}");
            assert_eq!(share.end(Signal::INT).code(), Some(0));
        }
    }
    // A redirected file is read from where it is.
    let file = File::open(place.file(&numbered(5000))).unwrap();
    std::io::Seek::seek(&mut &file, std::io::SeekFrom::Start(1000)).unwrap();
    let _share = Share::start(place.ashmem(&["share", "redirected", "-"]).stdin(file)).served();
    assert_eq!(success(&place.cat("redirected")), &numbered(5000)[1000..]);
}

#[test]
fn what_cannot_be_shared_is_said() {
    let place = Place::new();
    let share = |arguments: &[&str]| place.ashmem(&[&["share"], arguments].concat()).output().unwrap();
    let file = place.file(b"full");
    let (file, directory) = (file.to_str().unwrap(), place.directory.path().to_str().unwrap());
    let empty = place.directory.path().join("empty");
    File::create(&empty).unwrap();

    assert!(trouble(&share(&["name", empty.to_str().unwrap()])).contains("empty"));
    assert!(trouble(&share(&["name", "-"])).contains("standard input is empty"));
    assert!(trouble(&share(&["name", "/no/such/file"])).contains("No such file"));
    assert!(trouble(&share(&["name", directory])).contains("directory"));
    assert!(trouble(&share(&["name", "-", "--purgeable"])).contains("read again"));
    assert!(trouble(&share(&["name", "/dev/null", "--purgeable"])).contains("read again"));
    let huge = place.directory.path().join("huge");
    File::create(&huge).unwrap().set_len(1 << 42).unwrap();
    assert!(trouble(&share(&["name", huge.to_str().unwrap()])).contains("memory"));
    for name in ["", "a b", "ä", "\x1b[31m", &"n".repeat(128)] {
        let error = share(&[name, file]);
        assert!(trouble(&error).contains("name"), "{name:?}");
        assert!(!trouble(&error).contains('\x1b'));
        assert!(trouble(&place.cat(name)).contains("name"), "{name:?}");
    }
    assert!(trouble(&share(&["name", file, "--at", "tcp://1.2.3.4"])).contains("tcp://1.2.3.4"));
    assert_eq!(share(&["name"]).status.code(), Some(2));
    assert!(success(&place.ashmem(&["services"]).output().unwrap()).starts_with(b"There are no services"));
}

#[test]
fn files_of_the_kernel_have_no_size_and_are_shared_all_the_same() {
    let place = Place::new();
    let _share = place.share("version", Path::new("/proc/version"), &[]).served();
    assert_eq!(success(&place.cat("version")), fs::read("/proc/version").unwrap());
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let place = Place::new();
    let services = place.directory.path().join("services");
    fs::create_dir(&services).unwrap();
    fs::set_permissions(&services, fs::Permissions::from_mode(0o777)).unwrap();
    let file = place.file(b"full");
    let output = place.ashmem(&["share", "name", file.to_str().unwrap()]).output().unwrap();
    assert!(trouble(&output).contains("services"));
    let nowhere = format!("unix://{}/no/such/services", place.directory.path().display());
    let output = place.ashmem(&["share", "name", file.to_str().unwrap(), "--at", &nowhere]).output().unwrap();
    assert!(trouble(&output).contains("No such file"));
}

#[test]
fn a_name_is_taken_while_its_process_lives() {
    let place = Place::new();
    let file = place.file(b"first");
    let mut first = place.share("name", &file, &[]).served();
    let other = place.ashmem(&["share", "name", file.to_str().unwrap()]).output().unwrap();
    assert!(trouble(&other).contains("taken"));

    let received = heap(&place, "name");
    assert_eq!(received.heap().unwrap().size(), 5);
    assert_eq!(first.end(Signal::KILL).signal(), Some(9));
    let mapping = received.heap().unwrap().mapping().unwrap();
    assert_eq!(mapping.read_vec(0, 5).unwrap(), b"first", "who has mapped it keeps it");
    assert!(trouble(&place.cat("name")).contains("no service name"));

    let file = place.file(b"second");
    let _second = place.share("name", &file, &[]).served();
    assert_eq!(success(&place.cat("name")), b"second");
}

#[test]
fn who_receives_a_read_only_heap_cannot_write() {
    let place = Place::new();
    let file = place.file(&numbered(20_000));
    let _plain = place.share("plain", &file, &[]).served();
    let _sealed = place.share("sealed", &file, &["--read-only"]).served();
    let _purgeable = place.share("purgeable", &file, &["--read-only", "--purgeable"]).served();

    let plain = heap(&place, "plain");
    assert!(plain.heap().unwrap().is_writable());
    plain.heap().unwrap().mapping().unwrap().write_at(3, b"written").unwrap();
    assert!(success(&place.cat("plain"))[3..].starts_with(b"written"));
    assert!(plain.heap().unwrap().unpin(..).is_err(), "nobody could build it again");

    for name in ["sealed", "purgeable"] {
        let received = heap(&place, name);
        let received = received.heap().unwrap();
        assert_eq!((received.flags(), received.is_writable()), (HeapFlags::READ_ONLY, false));
        assert!(received.region().unwrap().map().is_err());
        assert!(rustix::io::pwrite(received, b"x", 0).is_err());
        assert!(received.unpin(..).is_err());
    }
    // Not even through a descriptor of its own.
    let sealed = heap(&place, "sealed");
    let reopened = sealed.heap().unwrap().region().unwrap().share_read_write().map(Region::from_fd);
    let reopened = reopened.unwrap().unwrap();
    assert!(!reopened.protection().unwrap().contains(Protection::WRITE));
    assert!(reopened.map().is_err());
}

/// The heap's region with a descriptor that may purge.
fn purger(place: &Place, name: &str) -> Region {
    let received = heap(place, name);
    Region::from_fd(received.heap().unwrap().region().unwrap().share_read_write().unwrap()).unwrap()
}

#[test]
fn what_was_purged_is_read_from_the_file_again() {
    let place = Place::new();
    let bytes = numbered((9 << 20) + 77);
    let file = place.file(&bytes);
    for options in [&["--purgeable"][..], &["--purgeable", "--read-only"]] {
        let mut share = place.share("tiles", &file, options).served();
        let region = purger(&place, "tiles");
        for round in 0..3 {
            assert!(region.purge().unwrap() > 0, "round {round}");
            assert_eq!(region.resident().unwrap(), 0);
            assert_eq!(sum(success(&place.cat("tiles"))), sum(&bytes));
        }
        // While it is read.
        let mut cat = place.ashmem(&["cat", "tiles"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = cat.stdout.take().unwrap();
        let mut all = vec![0; 1 << 20];
        out.read_exact(&mut all).unwrap();
        region.purge().unwrap();
        out.read_to_end(&mut all).unwrap();
        assert!(cat.wait().unwrap().success());
        assert_eq!(sum(&all), sum(&bytes));
        share.end(Signal::TERM);
    }
}

#[test]
fn readers_get_everything_however_often_it_is_purged() {
    let place = Place::new();
    let bytes = numbered((9 << 20) + 77);
    let file = place.file(&bytes);
    for options in [&["--purgeable"][..], &["--purgeable", "--read-only"]] {
        let _share = place.share("tiles", &file, options).served();
        let region = purger(&place, "tiles");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let purging = scope.spawn(|| {
                let mut purged = 0;
                while !done.load(Ordering::Relaxed) {
                    purged += region.purge().unwrap();
                }
                purged
            });
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            assert_eq!(sum(success(&place.cat("tiles"))), sum(&bytes));
                        }
                    })
                })
                .collect();
            let results: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            assert!(purging.join().unwrap() > 0);
            assert!(results.iter().all(Result::is_ok));
        });
    }
}

#[test]
fn a_file_that_has_changed_is_an_error_for_readers() {
    let place = Place::new();
    let bytes = numbered(5 << 20);
    let file = place.file(&bytes);
    let times = fs::metadata(&file).unwrap().modified().unwrap();
    let _share = place.share("tiles", &file, &["--purgeable"]).served();
    let region = purger(&place, "tiles");
    let write = |bytes: &[u8]| fs::write(&file, bytes).unwrap();
    let keep_times = || File::options().write(true).open(&file).unwrap().set_modified(times).unwrap();

    let mut other = bytes.clone();
    other[100] ^= 1;
    write(&other);
    assert_eq!(sum(success(&place.cat("tiles"))), sum(&bytes), "what is still there is right");
    region.purge().unwrap();
    assert!(trouble(&place.cat("tiles")).contains("has changed"));
    // Also when its times say that it has not.
    keep_times();
    assert!(trouble(&place.cat("tiles")).contains("has changed"));
    write(&bytes[..4000]);
    keep_times();
    assert!(trouble(&place.cat("tiles")).contains("has changed"));
    assert!(place.cat("tiles").stdout.is_empty());
    // As it was.
    write(&bytes);
    keep_times();
    assert_eq!(sum(success(&place.cat("tiles"))), sum(&bytes));

    // Another file of that name leaves this one as it is.
    region.purge().unwrap();
    let new = place.directory.path().join("new");
    fs::write(&new, b"new").unwrap();
    fs::rename(&new, &file).unwrap();
    assert_eq!(sum(success(&place.cat("tiles"))), sum(&bytes));
}

#[test]
fn purged_contents_without_a_server_are_an_error() {
    let place = Place::new();
    let file = place.file(&numbered(9 << 20));
    let mut share = place.share("tiles", &file, &["--purgeable"]).served();
    let region = purger(&place, "tiles");
    let mut cat = place.ashmem(&["cat", "tiles"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let cat = cat.as_mut().unwrap();
    let mut out = cat.stdout.take().unwrap();
    let mut all = vec![0; 1000];
    out.read_exact(&mut all).unwrap();
    share.end(Signal::KILL);
    region.purge().unwrap();
    out.read_to_end(&mut all).unwrap();
    let mut error = String::new();
    cat.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((cat.wait().unwrap().code(), error.lines().count()), (Some(2), 1), "{error}");
    assert_eq!(all, numbered(9 << 20)[..all.len()], "and never zeros");
}

#[test]
fn a_reader_goes_on_when_the_server_ends() {
    let place = Place::new();
    let bytes = numbered(9 << 20);
    for options in [&[][..], &["--read-only"]] {
        let mut share = place.share("name", &place.file(&bytes), options).served();
        let mut cat = place.ashmem(&["cat", "name"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = cat.stdout.take().unwrap();
        let mut all = vec![0; 1000];
        out.read_exact(&mut all).unwrap();
        share.end(Signal::KILL);
        out.read_to_end(&mut all).unwrap();
        assert!(cat.wait().unwrap().success());
        assert_eq!(sum(&all), sum(&bytes));
    }
}

#[test]
fn output_goes_to_files_and_sockets_and_ends_quietly() {
    let place = Place::new();
    let bytes = numbered(3 << 20);
    let file = place.file(&bytes);
    for options in [&[][..], &["--read-only"]] {
        let mut share = place.share("name", &file, options).served();
        let path = place.directory.path().join("out");
        assert!(
            place.ashmem(&["cat", "name"]).stdout(File::create(&path).unwrap()).status().unwrap().success()
        );
        assert_eq!(sum(&fs::read(&path).unwrap()), sum(&bytes));
        let append = File::options().append(true).open(&path).unwrap();
        assert!(place.ashmem(&["cat", "name"]).stdout(append).status().unwrap().success());
        assert_eq!(fs::read(&path).unwrap().len(), 2 * bytes.len());

        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        // So that it would block.
        writer.set_nonblocking(true).unwrap();
        let mut command = place.ashmem(&["cat", "name"]);
        let mut cat = command.stdout(std::os::fd::OwnedFd::from(writer)).spawn().unwrap();
        drop(command);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(cat.wait().unwrap().success());
        assert_eq!(sum(&all), sum(&bytes));

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(success(&place.ashmem(&["cat", "name"]).stdout(writer).output().unwrap()), b"");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = place.ashmem(&["cat", "name"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        assert!(trouble(&output.wait_with_output().unwrap()).contains("standard output"));
        share.end(Signal::TERM);
    }
}

#[test]
fn services_are_listed_by_kind() {
    let place = Place::new();
    let file = place.file(&numbered(20_000));
    let share = place.share("b/heap", &file, &["--read-only"]).served();
    // This process serves as well.
    let services = place.services();
    let own = MemoryHeapBase::create("own", 2 * page_size(), HeapFlags::NO_CACHING).unwrap();
    let window = MemoryBase::new(&own, 1000, 5000).unwrap();
    window.view().unwrap().write_at(0, b"window").unwrap();
    services.add_service("window", &window.binder()).unwrap();
    services.add_service("other", &other::binder()).unwrap();

    let list = |at: &[&str]| -> Value {
        let output = place.ashmem(&[&["services", "--json"], at].concat()).output().unwrap();
        serde_json::from_str(text(success(&output))).unwrap()
    };
    let lines = list(&[]);
    let field = |key: &str| -> Vec<Value> {
        lines.as_array().unwrap().iter().map(|line| line[key].clone()).collect()
    };
    assert_eq!(field("name"), ["b/heap", "other", "window"]);
    assert_eq!(field("kind"), ["heap", "other", "window"]);
    assert_eq!(field("size"), [Value::from(20_000), Value::Null, Value::from(5000)]);
    assert_eq!(field("offset"), [Value::Null, Value::Null, Value::from(1000)]);
    assert_eq!(lines[0]["flags"][0], "read_only");
    assert_eq!(lines[2]["flags"][0], "no_caching");
    assert_eq!(lines[1]["interface"], "test.I\u{fffd}[31mOther");
    let own_process = u64::from(std::process::id());
    assert_eq!(field("process"), [u64::from(share.child.id()), own_process, own_process]);
    assert!(field("trouble").iter().all(Value::is_null));

    let table = place.ashmem(&["services"]).output().unwrap();
    let table = text(success(&table));
    assert!(table.contains("b/heap") && table.contains("19.5 KiB") && !table.contains('\x1b'), "{table}");

    let output = place.cat("window");
    assert_eq!((&output.stdout[..6], output.stdout.len()), (&b"window"[..], 5000));
    assert!(trouble(&place.cat("other")).contains("no heap"));

    // Another directory, by option.
    let elsewhere = Place::new();
    assert_eq!(list(&["--at", &elsewhere.address()]), Value::Array(Vec::new()));
}

#[test]
fn a_window_of_a_heap_that_was_purged_is_built_again() {
    let place = Place::new();
    let page = page_size();
    let quiet = Region::options().reclaimer(&ashmem::Reclaimer::builder().without_thread().build());
    let options = ashmem::Purgeable::<ashmem::Error>::options().region(quiet).parts(2 * page);
    let number = move |part: &ashmem::View<'_>| part.fill(0, part.len(), (part.offset() / page) as u8 + 1);
    let tiles = options.create("tiles", 10 * page, number).unwrap();
    let heap = MemoryHeapBase::from_region(tiles.region().clone(), HeapFlags::empty()).unwrap();
    let window = MemoryBase::new(&heap, 3 * page + 5, 2 * page).unwrap();
    let services = place.services();
    services.add_service("window", &window.binder()).unwrap();

    assert!(trouble(&place.cat("window")).contains("no builder"));
    heap.set_rebuild(move |range| tiles.build(range).map(drop).map_err(|error| error.to_string())).unwrap();
    let bytes = [vec![3; page as usize - 5], vec![5; page as usize + 5]].concat();
    for _ in 0..2 {
        assert_eq!(success(&place.cat("window")), bytes);
        assert_eq!(heap.region().unwrap().purge().unwrap(), 4 * page, "only what was asked for was built");
    }
    heap.set_rebuild(|_| Err("the source is\n gone".to_owned())).unwrap();
    assert!(trouble(&place.cat("window")).contains("the source is\u{fffd} gone"));
}

#[test]
fn a_service_that_does_not_answer_is_listed_as_silent() {
    let place = Place::new();
    let file = place.file(b"full");
    let _lively = place.share("lively", &file, &[]).served();
    let stopped = place.share("stopped", &file, &[]).served();
    kill_process(Pid::from_child(&stopped.child), Signal::STOP).unwrap();
    // Its threads stop one after the other.
    waitpid(Some(Pid::from_child(&stopped.child)), WaitOptions::UNTRACED).unwrap();
    let output = place.ashmem(&["services", "--json"]).output().unwrap();
    let lines: Value = serde_json::from_str(text(success(&output))).unwrap();
    assert_eq!((&lines[0]["kind"], &lines[1]["kind"]), (&"heap".into(), &"silent".into()));
    assert_eq!(lines[1]["trouble"], "does not answer");
    assert!(text(&place.ashmem(&["services"]).output().unwrap().stdout).contains("does not answer"));
}

#[test]
fn many_services_of_one_process_are_listed() {
    let place = Place::new();
    let services = place.services();
    let heap = MemoryHeapBase::create("many", 1, HeapFlags::empty()).unwrap();
    for number in 0..100 {
        services.add_service(&number.to_string(), &heap.binder()).unwrap();
    }
    for _ in 0..10 {
        let output = place.ashmem(&["services", "--json"]).output().unwrap();
        let lines: Value = serde_json::from_str(text(success(&output))).unwrap();
        assert_eq!(lines.as_array().unwrap().len(), 100);
        let other = lines.as_array().unwrap().iter().find(|line| line["kind"] != "heap");
        assert!(other.is_none(), "{other:?}");
    }
}

/// A service that has nothing to do with memory.
mod other {
    use std::io::Write;

    use ashmem_binder::rsbinder::{
        Binder, Interface, Parcel, Remotable, Result, SIBinder, StatusCode, TransactionCode,
    };

    struct Other;

    impl Remotable for Other {
        fn descriptor() -> &'static str {
            "test.I\x1b[31mOther"
        }

        fn on_transact(&self, _: TransactionCode, _: &mut Parcel, _: &mut Parcel) -> Result<()> {
            Err(StatusCode::UnknownTransaction)
        }

        fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> Result<()> {
            Ok(())
        }
    }

    pub fn binder() -> SIBinder {
        Binder::new(Other).as_binder()
    }
}
