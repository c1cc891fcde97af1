//! Heaps over Binder: against the same calls by rsbinder alone, large against small, many windows against few.
//!
//! The server is this program again. It ends with its standard input.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
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

pub fn run(suite: &mut Suite) {
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
                move |count| (time(count, || ask(&ours, ECHO, 7)), &server).0,
                move |count| (time(count, || ask(&bare, ECHO, 7)), &keep).0,
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
                move |count| (receive(&ours, 4096, count), &server).0,
                move |count| (receive_bare(&bare, 4096, count), &keep).0,
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
                let _server = &server;
                time(count, || ok(ok(BpMemoryHeap::from_binder(&binder)).heap()).size())
            })
        },
    );
    suite.run(
        Case {
            id: ("binder", "handover_1GiB"),
            what: "Binder: make a heap of 1 GiB, hand it over, map it",
            reference: "the same with 4 KiB",
            required: Required::Cost(1.20),
            slow: false,
        },
        || {
            let server = Rc::new(Server::start());
            let (large, small) = (server.service(), server.service());
            let keep = Rc::clone(&server);
            Pair::new(
                move |count| (hand_over(&large, 1 << 30, count), &server).0,
                move |count| (hand_over(&small, 4096, count), &keep).0,
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

fn hand_over(service: &SIBinder, size: u64, count: u64) -> Duration {
    time(count, || {
        let binder: SIBinder = ok(ask(service, MAKE, size).read());
        let heap = ok(BpMemoryHeap::from_binder(&binder));
        ok(ok(ok(heap.heap()).mapping()).read_value::<u64>(size - 8))
    })
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
}

impl Server {
    fn start() -> Server {
        let directory = ok(tempfile::tempdir());
        let process = ok(Command::new(ok(std::env::current_exe()))
            .arg(SERVER)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .spawn());
        Server { directory, process }
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
    ok(ServiceManager::at(&format!("unix://{}", directory.join("services").display())))
}

/// Serves until its standard input ends.
pub fn server(arguments: &[String]) -> ExitCode {
    let [directory] = arguments else { fail("a server needs a directory") };
    let service = Binder::new(Maker).as_binder();
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

struct Maker;

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
        let number = request.read_u64()?;
        match code {
            ECHO => reply.write_u64(number),
            MAKE => reply.write(&MemoryHeapBase::create("heap", number, HeapFlags::empty())?.binder()),
            MAKE_BARE => {
                let heap = bare::MemoryHeapBase::new(number as usize, 0)?;
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
