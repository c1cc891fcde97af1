//! Windows of a dealer in another process: they are free again when that lets them go, or ends.
//!
//! The other process is this test binary again, running the ignored test `client`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ashmem_binder::rsbinder::rpc::{FileDescriptorTransportMode, RpcProxy, RpcServer, RpcSession};
use ashmem_binder::rsbinder::{
    Binder, Interface, Parcel, Remotable, Result, SIBinder, StatusCode, TransactionCode,
};
use ashmem_binder::{BpMemory, HeapFlags, MemoryDealer};

const ADDRESS: &str = "ASHMEM_TEST_ADDRESS";
const DESCRIPTOR: &str = "test.IDealer";
/// Bytes of the dealer's heap.
const HEAP: u64 = 16 << 20;
const ALLOCATE: TransactionCode = 1;

/// Answers each size with a window, of which it keeps nothing.
struct Deals(MemoryDealer);

impl Remotable for Deals {
    fn descriptor() -> &'static str {
        DESCRIPTOR
    }

    fn on_transact(&self, code: TransactionCode, request: &mut Parcel, reply: &mut Parcel) -> Result<()> {
        match code {
            ALLOCATE => {
                let window = self.0.allocate(request.read_u64()?)?;
                reply.write(&window.binder())
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> Result<()> {
        Ok(())
    }
}

struct Server {
    rpc: Arc<RpcServer>,
    directory: tempfile::TempDir,
    dealer: MemoryDealer,
}

impl Server {
    fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let rpc = RpcServer::setup_unix_server(directory.path().join("dealer")).unwrap();
        rpc.set_android13plus(1);
        rpc.set_supported_fd_modes(&[FileDescriptorTransportMode::Unix]);
        let dealer = MemoryDealer::new("dealt out", HEAP, HeapFlags::empty()).unwrap();
        rpc.set_root(Binder::new(Deals(dealer.clone())).as_binder()).unwrap();
        let _ = rpc.run_background();
        Server { rpc, directory, dealer }
    }

    fn address(&self) -> std::path::PathBuf {
        self.directory.path().join("dealer")
    }

    /// Waits until so many windows are left.
    fn wait_for(&self, windows: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.dealer.usage().windows != windows {
            assert!(Instant::now() < until, "{:?} instead of {windows} windows", self.dealer.usage());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.rpc.terminate();
    }
}

fn connect(address: &Path) -> SIBinder {
    let session =
        RpcSession::setup_unix_client_android13plus_fd(address, 1, FileDescriptorTransportMode::Unix);
    session.unwrap().get_root().unwrap()
}

fn allocate(root: &SIBinder, size: u64) -> Result<BpMemory> {
    let proxy = root.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(DESCRIPTOR)?;
    request.write_u64(size)?;
    let mut reply = proxy.transact(ALLOCATE, &request, 0)?.unwrap();
    Ok(BpMemory::from_binder(&reply.read::<SIBinder>()?)?)
}

#[test]
fn windows_are_freed_by_their_last_proxy() {
    let server = Server::start();
    let root = connect(&server.address());
    let windows: Vec<_> = (1..=100).map(|size| allocate(&root, size).unwrap()).collect();
    for (n, window) in windows.iter().enumerate() {
        let view = window.window().unwrap().view().unwrap();
        view.fill(0, n as u64 + 1, n as u8).unwrap();
    }
    let heap = server.dealer.heap().mapping().unwrap();
    for (n, window) in windows.iter().enumerate() {
        let window = window.window().unwrap();
        assert_eq!(window.size(), n as u64 + 1);
        assert_eq!(heap.read_vec(window.offset(), window.size()).unwrap(), vec![n as u8; n + 1]);
    }
    assert_eq!(server.dealer.usage().windows, 100);
    let heaps: Vec<_> = windows.iter().map(|window| window.window().unwrap().heap()).collect();
    assert!(heaps.iter().all(|heap| std::ptr::eq(*heap, heaps[0])), "mapped once");

    let clone = windows[7].clone();
    drop(windows);
    server.wait_for(1);
    drop(clone);
    server.wait_for(0);
    assert_eq!(server.dealer.usage().largest_free, HEAP);

    assert_eq!(allocate(&root, 0).unwrap_err(), StatusCode::BadValue);
    assert_eq!(allocate(&root, u64::MAX).unwrap_err(), StatusCode::NoMemory);
    assert!(allocate(&root, HEAP).is_ok(), "and the service goes on");
}

#[test]
fn many_windows_are_in_one_mapping() {
    let server = Server::start();
    let root = connect(&server.address());
    let windows: Vec<_> = (0..20_000).map(|_| allocate(&root, 100).unwrap()).collect();
    let first = windows[0].window().unwrap();
    for window in &windows {
        let window = window.window().unwrap();
        assert!(std::ptr::eq(window.heap(), first.heap()), "mapped once");
        window.view().unwrap().write_at(90, b"ten bytes.").unwrap();
    }
    assert_eq!(server.dealer.usage().windows, windows.len());
    drop(windows);
    server.wait_for(0);
    assert_eq!(server.dealer.usage().free_parts, 1);
}

#[test]
fn windows_are_freed_when_their_client_is_killed() {
    let server = Server::start();
    let mut client = Client::start(&server.address());
    server.wait_for(50);
    client.0.kill().unwrap();
    server.wait_for(0);
    assert_eq!((server.dealer.usage().free, server.dealer.usage().free_parts), (HEAP, 1));
}

struct Client(Child);

impl Client {
    fn start(address: &Path) -> Client {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "client", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Client(child.unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps its windows until its parent ends, or ends it.
#[test]
#[ignore = "a process of the other tests"]
fn client() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let root = connect(Path::new(&address));
    let windows: Vec<_> = (0..50).map(|_| allocate(&root, 100).unwrap()).collect();
    for window in &windows {
        window.window().unwrap().view().unwrap().write_at(0, b"used").unwrap();
    }
    let _ = std::io::stdin().read(&mut [0]);
}
