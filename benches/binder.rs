//! Heaps over Binder: against the same calls by rsbinder alone, large against small, many windows against few.
//!
//! The server is this program again. It ends with its standard input.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ashmem_binder::rsbinder::rpc::{
    FileDescriptorTransportMode, RpcClientConfig, RpcProxy, RpcServer, RpcSession,
};
use ashmem_binder::rsbinder::shared_memory as bare;
use ashmem_binder::rsbinder::{
    self, Binder, Interface, Parcel, Remotable, SIBinder, StatusCode, TransactionCode,
};
use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryBase, MemoryDealer, MemoryHeapBase, ServiceManager};
use tempfile::TempDir;

use crate::contention::{on, stay_on, two_cpus};
use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// First argument of the server.
pub const SERVER: &str = "--binder-server";

const SERVICE: &str = "maker";

/// What the server's service does.
const ECHO: TransactionCode = 1;
const MAKE: TransactionCode = 2;
const MAKE_BARE: TransactionCode = 3;
/// The heap of that size that there is already.
const GIVE: TransactionCode = 4;

pub fn run(suite: &mut Suite) {
    if two_cpus().is_none() {
        eprintln!("binder: skipped, there is one core");
        return;
    }
    suite.run(
        Case {
            id: ("binder", "call"),
            what: "Binder: a small call",
            reference: "rsbinder's own server and session",
            required: Required::Cost(1.10),
            slow: false,
        },
        || {
            let server = Rc::new(Server::start());
            let (ours, bare) = (server.service(), server.bare_service());
            let keep = Rc::clone(&server);
            Pair::new(
                move |count| server.beside(|| time(count, || ask(&ours, ECHO, 7))),
                move |count| keep.beside(|| time(count, || ask(&bare, ECHO, 7))),
            )
        },
    );
    suite.run(
        Case {
            id: ("binder", "heap"),
            what: "Binder: ask for a heap of 4 KiB and map it",
            reference: "rsbinder's own heap",
            required: Required::Cost(1.10),
            slow: false,
        },
        || {
            let server = Rc::new(Server::start());
            let (ours, bare) = (server.service(), server.bare_service());
            let keep = Rc::clone(&server);
            Pair::new(
                move |count| server.beside(|| receive(&ours, 4096, count)),
                move |count| keep.beside(|| receive_bare(&bare, 4096, count)),
            )
        },
    );
    suite.run(
        Case {
            id: ("binder", "heap_again"),
            what: "Binder: ask for the same heap again",
            reference: "",
            required: Required::Nothing,
            slow: false,
        },
        || {
            let server = Server::start();
            let binder: SIBinder = ok(ask(&server.service(), MAKE, 4096).read());
            let first = ok(BpMemoryHeap::from_binder(&binder));
            ok(first.heap());
            Pair::alone(move |count| {
                // As long as somebody has it.
                let _kept = (&server, &first);
                time(count, || ok(ok(BpMemoryHeap::from_binder(&binder)).heap()).size())
            })
        },
    );
    suite.run(
        Case {
            id: ("binder", "handover_1GiB"),
            what: "Binder: hand over a heap of 1 GiB, map it, look at it",
            reference: "the same with 4 KiB",
            required: Required::Cost(1.20),
            slow: false,
        },
        || {
            let server = Rc::new(Server::start());
            let (large, small) = (server.service(), server.service());
            let keep = Rc::clone(&server);
            Pair::new(
                move |count| server.beside(|| hand_over(&large, 1 << 30, count)),
                move |count| keep.beside(|| hand_over(&small, 4096, count)),
            )
        },
    );
    suite.run(
        Case {
            id: ("binder", "dealer"),
            what: "dealer: allocate + free, 100,000 windows there",
            reference: "1,000 windows there",
            required: Required::Cost(3.0),
            slow: false,
        },
        || Pair::new(deal(100_000), deal(1_000)),
    );
    suite.run_bytes(
        Case {
            id: ("binder", "cat"),
            what: "`ashmem cat` of 1 GiB that is shared, into a pipe",
            reference: "`cat` of the file in the page cache",
            required: Required::Speed(1.0),
            slow: true,
        },
        FILE,
        || {
            let shared = Rc::new(Shared::start(&[]));
            let same = Rc::clone(&shared);
            Pair::new(move |count| shared.cat(count), move |count| same.cat_file(count))
        },
    );
    suite.run_bytes(
        Case {
            id: ("binder", "cat_purgeable"),
            what: "the same, shared with --purgeable",
            reference: "`cat` of the file in the page cache",
            required: Required::Speed(1.0),
            slow: true,
        },
        FILE,
        || {
            let shared = Rc::new(Shared::start(&["--purgeable"]));
            let same = Rc::clone(&shared);
            Pair::new(move |count| shared.cat(count), move |count| same.cat_file(count))
        },
    );
}

/// Small calls from this process to a server's.
pub fn calls() -> impl FnMut(u64) -> Duration {
    let server = Server::start();
    let service = server.service();
    move |count| server.beside(|| time(count, || ask(&service, ECHO, 7)))
}

/// Bytes that are shared from the shell.
const FILE: u64 = 1 << 30;

/// `ashmem share`, of a file of its own.
struct Shared {
    directory: TempDir,
    program: PathBuf,
    process: Child,
}

impl Shared {
    fn start(options: &[&str]) -> Shared {
        let directory = ok(tempfile::tempdir());
        let program = build_program();
        let file = directory.path().join("file");
        let block: Vec<u8> = (0..1 << 20).map(|number: u32| (number ^ number >> 7) as u8).collect();
        let mut out = ok(File::create(&file));
        for _ in 0..FILE >> 20 {
            ok(out.write_all(&block));
        }
        let process = ok(Command::new(&program)
            .arg("share")
            .args(options)
            .arg("file")
            .arg(&file)
            .env(ADDRESS, address(directory.path()))
            .stderr(Stdio::null())
            .spawn());
        let services = manager(directory.path());
        ok(services.wait_for_service("file", Some(Duration::from_secs(60))));
        Shared { directory, program, process }
    }

    fn cat(&self, count: u64) -> Duration {
        let mut command = Command::new(&self.program);
        command.args(["cat", "file"]).env(ADDRESS, address(self.directory.path()));
        time(count, || drain(&mut command))
    }

    fn cat_file(&self, count: u64) -> Duration {
        let mut command = Command::new("cat");
        command.arg(self.directory.path().join("file"));
        time(count, || drain(&mut command))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        ok(self.process.kill());
        ok(self.process.wait());
    }
}

/// Reads all that a command writes.
fn drain(command: &mut Command) {
    let mut process = ok(command.stdout(Stdio::piped()).spawn());
    let Some(mut output) = process.stdout.take() else { fail("no pipe") };
    let mut buffer = vec![0; 128 << 10];
    let mut all = 0;
    loop {
        match ok(output.read(&mut buffer)) {
            0 => break,
            read => all += read as u64,
        }
    }
    if !ok(process.wait()).success() || all != FILE {
        fail(format!("{command:?}: {all} bytes"));
    }
}

/// The `ashmem` command, built like this program.
fn build_program() -> PathBuf {
    let target = ok(std::env::current_exe()).ancestors().nth(3).map(Path::to_path_buf);
    let Some(target) = target else { fail("no target directory") };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--package", "ashmem-cli", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if !ok(command.status()).success() {
        fail("the ashmem command cannot be built");
    }
    target.join("release/ashmem")
}

/// Gets heaps, and times how long they take to be asked for and mapped.
fn receive(service: &SIBinder, size: u64, count: u64) -> Duration {
    (0..count)
        .map(|_| {
            let binder: SIBinder = ok(ask(service, MAKE, size).read());
            let start = Instant::now();
            let heap = ok(BpMemoryHeap::from_binder(&binder));
            ok(heap.heap());
            start.elapsed()
        })
        .sum()
}

fn receive_bare(service: &SIBinder, size: u64, count: u64) -> Duration {
    (0..count)
        .map(|_| {
            let binder: SIBinder = ok(ask(service, MAKE_BARE, size).read());
            let start = Instant::now();
            let heap = bare::BpMemoryHeap::new(binder);
            ok(heap.map());
            start.elapsed()
        })
        .sum()
}

/// Gets a heap and looks at its end. To let it go again is the client's own affair: the kernel takes longer for a large mapping.
fn hand_over(service: &SIBinder, size: u64, count: u64) -> Duration {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            let binder: SIBinder = ok(ask(service, GIVE, size).read());
            let heap = ok(BpMemoryHeap::from_binder(&binder));
            ok(ok(ok(heap.heap()).mapping()).read_value::<u64>(size - 8));
            start.elapsed()
        })
        .sum()
}

/// Replaces windows of a dealer that has so many of them, of many sizes.
fn deal(windows: usize) -> impl FnMut(u64) -> Duration {
    let dealer = ok(MemoryDealer::new("windows", 256 << 20, HeapFlags::empty()));
    let size = |number: usize| 32 + (number as u64).wrapping_mul(0x9e37_79b9) % 2000;
    let mut all: Vec<MemoryBase> = (0..windows).map(|number| ok(dealer.allocate(size(number)))).collect();
    let mut turn = 0_usize;
    move |count| {
        time(count, || {
            turn = turn.wrapping_add(1);
            let place = turn.wrapping_mul(0x9e37_79b9) % windows;
            all[place] = ok(dealer.allocate(size(turn)));
        })
    }
}

/// The process that serves, and the directory that it is found in.
struct Server {
    directory: TempDir,
    process: Child,
    cpu: usize,
}

impl Server {
    fn start() -> Server {
        let directory = ok(tempfile::tempdir());
        let Some([cpu, _]) = two_cpus() else { fail("there is one core") };
        let process = ok(Command::new(ok(std::env::current_exe()))
            .arg(SERVER)
            .arg(directory.path())
            .arg(cpu.to_string())
            .stdin(Stdio::piped())
            .spawn());
        Server { directory, process, cpu }
    }

    /// Does something on the server's core, so that the scheduler does not decide how long a call takes.
    fn beside(&self, work: impl FnOnce() -> Duration + Send) -> Duration {
        on(self.cpu, work)
    }

    fn service(&self) -> SIBinder {
        ok(manager(self.directory.path()).wait_for_service(SERVICE, Some(Duration::from_secs(30))))
    }

    /// The same service, as rsbinder alone serves it. Call it after [`Server::service`].
    fn bare_service(&self) -> SIBinder {
        let path = self.directory.path().join("bare");
        let config = RpcClientConfig::unix(&path, 2).fd_mode(FileDescriptorTransportMode::Unix);
        ok(ok(RpcSession::setup_client_android13plus_with_config(config)).get_service(SERVICE))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        ok(self.process.wait());
    }
}

fn manager(directory: &Path) -> ServiceManager {
    ok(ServiceManager::at(&address(directory)))
}

/// What tells a process where services are.
const ADDRESS: &str = "ASHMEM_BINDER";

fn address(directory: &Path) -> String {
    format!("unix://{}", directory.join("services").display())
}

/// Serves until its standard input ends.
pub fn server(arguments: &[String]) -> ExitCode {
    let [directory, cpu] = arguments else { fail("a server needs a directory and a core") };
    stay_on(ok(cpu.parse()));
    let service = Binder::new(Maker::default()).as_binder();
    let bare = ok(RpcServer::setup_unix_server(Path::new(directory).join("bare")));
    bare.set_android13plus(2);
    bare.set_supported_fd_modes(&[FileDescriptorTransportMode::Unix]);
    ok(bare.add_service(SERVICE, service.clone()));
    bare.run_background();
    let manager = manager(Path::new(directory));
    ok(manager.add_service(SERVICE, &service));
    ok(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Maker {
    kept: Mutex<HashMap<u64, MemoryHeapBase>>,
}

impl Remotable for Maker {
    fn descriptor() -> &'static str {
        "ashmem.bench.IMaker"
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            ECHO => {
                let number = request.read_u64()?;
                reply.write_u64(number)
            }
            MAKE => {
                let heap = MemoryHeapBase::create("heap", request.read_u64()?, HeapFlags::empty())?;
                reply.write(&heap.binder())
            }
            GIVE => {
                let size = request.read_u64()?;
                let Ok(mut kept) = self.kept.lock() else { return Err(StatusCode::InvalidOperation) };
                let heap = match kept.entry(size) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        entry.insert(MemoryHeapBase::create("heap", size, HeapFlags::empty())?)
                    }
                };
                reply.write(&heap.binder())
            }
            MAKE_BARE => {
                let heap = bare::MemoryHeapBase::new(request.read_u64()? as usize, 0)?;
                reply.write(&bare::export_heap(Arc::new(heap)))
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn ask(service: &SIBinder, code: TransactionCode, number: u64) -> Parcel {
    let Some(proxy) = service.as_any().downcast_ref::<RpcProxy>() else { fail("not a remote service") };
    let mut request = ok(proxy.build_request(Maker::descriptor()));
    ok(request.write_u64(number));
    match ok(proxy.transact(code, &request, 0)) {
        Some(reply) => reply,
        None => fail("no reply"),
    }
}
