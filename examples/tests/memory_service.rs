//! The example `memory_service` as its users meet it: the built program, in one go and in several processes, and what peers can send
//! that mean no good.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use ashmem::{MemoryFile, Region};
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{self, Parcel, SIBinder, StatusCode, TransactionCode};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager, memory_file_descriptor};
use tempfile::TempDir;

const TEXT: &str = "落霞与孤鹜齐飞，秋水共长天一色。";
const MEMORY_SERVICE: (&str, &str) = ("AnonymousSharedMemory", "shy.luo.ashmem.IMemoryService");
const MY_SERVICE: (&str, &str) = ("MyService", "ashmem.example.MyService");

const GET_FILE_DESCRIPTOR: TransactionCode = 1;
const SET_VALUE: TransactionCode = 2;
const MY_TRANSACT_CODE: TransactionCode = 920511;

/// A directory of services that nobody else uses.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn address(&self) -> String {
        format!("unix://{}/services", self.0.path().display())
    }

    /// The program; cargo builds examples for the tests of their package, into a directory next to that of the tests.
    fn program(&self) -> Command {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().and_then(Path::parent).unwrap().join("examples/memory_service");
        assert!(path.is_file(), "{} is missing: cargo build -p ashmem-examples --examples", path.display());
        let mut command = Command::new(path);
        command.env("ASHMEM_BINDER", self.address()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    fn server(&self) -> Process {
        let mut server = Process::start(self.program().args(["server", "--until-input-ends"]));
        assert_eq!(server.line(), "server: ready");
        server
    }

    fn client(&self) -> Process {
        Process::start(self.program().arg("client"))
    }

    fn service(&self, (name, _): (&str, &str)) -> SIBinder {
        ServiceManager::at(&self.address()).unwrap().get_service(name).unwrap()
    }
}

/// One that is talked to. Killed on drop; it ends by itself when this process does, as its input ends then.
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Process { child, input, output: BufReader::new(output).lines() }
    }

    fn line(&mut self) -> String {
        self.output.next().unwrap().unwrap()
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.line()
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn answer(text: &str) -> String {
    format!("服务从共享内存中读到：「{text}」")
}

#[test]
fn both_in_one_go() {
    let output = Place::new().run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines[..3], ["server: ready", "client: the value is 0", "client: wrote 42, read 42"]);
    assert_eq!(lines[4], "client: wrote -2147483648, read -2147483648");
    assert!(lines[5].starts_with("client: writing to the memory itself is refused: "));
    assert_eq!(lines[6..], [format!("client: the answer is: {}", answer(TEXT))]);
}

#[test]
fn clients_see_each_others_values() {
    let place = Place::new();
    let _server = place.server();
    let (mut reader, mut writer) = (place.client(), place.client());
    assert_eq!(reader.ask("read"), "0");
    for value in ["5", "-1", "2147483647"] {
        // Its answer to `read` says that the value was written.
        writer.tell(&format!("write {value}"));
        assert_eq!(writer.ask("read"), value);
        assert_eq!(reader.ask("read"), value);
    }
    writer.tell("clear");
    assert_eq!(writer.ask("write"), "client: \"\" is not an integer of 32 bits");
    assert_eq!(writer.ask("write 2147483648"), "client: \"2147483648\" is not an integer of 32 bits");
    assert_eq!(reader.ask("send"), answer(TEXT));
    assert_eq!(reader.ask("send  two words "), answer("two words"));
    assert_eq!(reader.ask("send \u{1b}[31mred"), answer("\u{fffd}[31mred"), "shown as it is");
    assert!(reader.ask("what").starts_with("client: read, write"));

    let output = place.run(&["client", "7", "-8"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines: Vec<_> = text(&output.stdout).lines().take(3).collect();
    let expected =
        ["client: the value is 2147483647", "client: wrote 7, read 7", "client: wrote -8, read -8"];
    assert_eq!(lines, expected);
    assert_eq!(reader.ask("read"), "-8");
}

#[test]
fn the_value_stays_readable_and_a_restarted_server_is_found() {
    let place = Place::new();
    let server = place.server();
    let mut client = place.client();
    client.tell("write 5");
    assert_eq!(client.ask("read"), "5");
    drop(server);
    assert_eq!(client.ask("read"), "5");
    assert!(client.ask("write 6").starts_with("client: "), "there is nobody");
    assert_eq!(client.ask("read"), "5");
    let _server = place.server();
    client.tell("write 7");
    assert_eq!(client.ask("read"), "7");
    assert_eq!(place.client().ask("read"), "7");
}

#[test]
fn a_second_server_is_refused() {
    let place = Place::new();
    let _server = place.server();
    let output = place.run(&["server"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "memory_service: add service AnonymousSharedMemory: the name is taken\n"
    );
    assert_eq!(place.client().ask("read"), "0");
    assert_eq!(place.run(&["client", "1.5"]).status.code(), Some(2));
}

/// A request as any peer can write it.
fn send(
    binder: &SIBinder,
    token: &str,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(token)?;
    write(&mut request)?;
    Ok(proxy.transact(code, &request, 0)?.unwrap())
}

fn is_as_the_java_stub_writes_it(memory: &SIBinder) {
    let mut reply = send(memory, MEMORY_SERVICE.1, GET_FILE_DESCRIPTOR, |_| Ok(())).unwrap();
    assert_eq!(reply.read_i32().unwrap(), 0, "no exception");
    let position = reply.data_position();
    assert_eq!(reply.read_i32().unwrap(), 1, "a descriptor comes");
    reply.set_data_position(position);
    let descriptor: ParcelFileDescriptor = reply.read().unwrap();
    assert_eq!(reply.data_avail(), 0);
    let region = Region::from_fd(descriptor.into()).unwrap();
    assert_eq!((region.size(), region.name().unwrap().to_str()), (4, Some("Ashmem")));

    let mut reply =
        send(memory, MEMORY_SERVICE.1, SET_VALUE, |request| request.write_i32(0x0102_0304)).unwrap();
    assert_eq!((reply.read_i32().unwrap(), reply.data_avail()), (0, 0));
    assert_eq!(region.map().unwrap().read_vec(0, 4).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn requests_that_mean_no_good_are_refused() {
    let place = Place::new();
    let server = place.server();
    let (memory, mine) = (place.service(MEMORY_SERVICE), place.service(MY_SERVICE));
    is_as_the_java_stub_writes_it(&memory);

    let file = MemoryFile::create("hostile", 1024).unwrap();
    file.write_at(0, b"good, \xff\xfe bad").unwrap();
    let descriptor = memory_file_descriptor(&file).unwrap();
    let with_size = |size: i32| {
        send(&mine, MY_SERVICE.1, MY_TRANSACT_CODE, |request| {
            request.write(&descriptor)?;
            request.write_i32(size)
        })
    };
    let hostile = || {
        for (binder, (_, token)) in [(&memory, MEMORY_SERVICE), (&mine, MY_SERVICE)] {
            for code in [1, 2, MY_TRANSACT_CODE] {
                assert_eq!(send(binder, "", code, |_| Ok(())).unwrap_err(), StatusCode::BadType);
                let other = format!("{token}s");
                assert_eq!(send(binder, &other, code, |_| Ok(())).unwrap_err(), StatusCode::BadType);
            }
            for code in [0, 3, 931114, 0x00ff_fffe] {
                let refused = send(binder, token, code, |_| Ok(())).unwrap_err();
                assert_eq!(refused, StatusCode::UnknownTransaction, "{code}");
            }
        }
        let short = send(&memory, MEMORY_SERVICE.1, SET_VALUE, |_| Ok(())).unwrap_err();
        assert_eq!(short, StatusCode::NotEnoughData);
        let short = |write: fn(&mut Parcel, &ParcelFileDescriptor) -> rsbinder::Result<()>| {
            let write = |request: &mut Parcel| write(request, &descriptor);
            send(&mine, MY_SERVICE.1, MY_TRANSACT_CODE, write).unwrap_err()
        };
        assert_eq!(short(|_, _| Ok(())), StatusCode::NotEnoughData);
        assert_eq!(short(|request, descriptor| request.write(descriptor)), StatusCode::NotEnoughData);
        assert_eq!(short(|request, _| request.write_i32(0)), StatusCode::UnexpectedNull, "no descriptor");
        // Marker, no channel, the type of a descriptor, and a number that no descriptor came with.
        let made_up =
            short(|request, _| [1, 0, 2, 7, 4].iter().try_for_each(|word| request.write_i32(*word)));
        assert_eq!(made_up, StatusCode::BadType);

        for size in [-1, i32::MIN, 0, 1025, 4097, i32::MAX, 8] {
            assert_eq!(with_size(size).unwrap_err(), StatusCode::BadValue, "{size}");
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let no_memory = [
            ParcelFileDescriptor::new(reader),
            ParcelFileDescriptor::new(writer),
            ParcelFileDescriptor::new(File::open("/dev/zero").unwrap()),
            ParcelFileDescriptor::new(File::open("/").unwrap()),
        ];
        for descriptor in &no_memory {
            let refused = send(&mine, MY_SERVICE.1, MY_TRANSACT_CODE, |request| {
                request.write(descriptor)?;
                request.write_i32(4)
            });
            assert_eq!(refused.unwrap_err(), StatusCode::Errno(-25), "ENOTTY");
        }
        let mut good = with_size(4).unwrap();
        assert_eq!(good.read::<String>().unwrap(), answer("good"), "and it goes on");
    };
    hostile();
    let descriptors = server.descriptors();
    for _ in 0..20 {
        hostile();
    }
    assert_eq!(server.descriptors(), descriptors);
    is_as_the_java_stub_writes_it(&memory);
}
