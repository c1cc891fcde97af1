//! What this crate builds on, over the kernel's binder: services are found by name, descriptors and heaps cross both ways, and a
//! server's death is told.
//!
//! The address comes from `ASHMEM_BINDER`, as `binder://?driver=/dev/binder`, and a service manager has to run there. `ci/vm` runs
//! this so; elsewhere the tests say that they are skipped. The server is this test binary again, running the ignored test
//! `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rsbinder::shared_memory::{
    BpMemory, BpMemoryHeap, FLAG_READ_ONLY, IMemoryHeap, MemoryBase, MemoryHeapBase, SEAL_FUTURE_WRITE,
    export_heap,
};
use rsbinder::{
    Binder, Client, DeathRecipient, Endpoint, FIRST_CALL_TRANSACTION, Interface, Parcel,
    ParcelFileDescriptor, Remotable, SIBinder, StatusCode, TransactionCode, Uri, WIBinder, hub,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::{FdFlags, fcntl_getfd};

const SERVICE: &str = "ASHMEM_TEST_SERVICE";

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two numbers: their sum, and the process that serves.
const ADD: TransactionCode = FIRST_CALL_TRANSACTION;
/// A descriptor: a new one with the same bytes in capitals, whose original then starts with "seen".
const CAPITALS: TransactionCode = FIRST_CALL_TRANSACTION + 1;
/// A size and flags: a heap that starts with "heap", and a window of its second page.
const HEAP: TransactionCode = FIRST_CALL_TRANSACTION + 2;
/// Never answers.
const HANG: TransactionCode = FIRST_CALL_TRANSACTION + 3;
/// A binder: what it answers to ADD.
const CALL_BACK: TransactionCode = FIRST_CALL_TRANSACTION + 4;

struct Service;

impl Service {
    fn capitals(original: ParcelFileDescriptor) -> std::io::Result<OwnedFd> {
        let original = File::from(OwnedFd::from(original));
        let mut bytes = vec![0; original.metadata()?.len() as usize];
        original.read_exact_at(&mut bytes, 0)?;
        original.write_all_at(b"seen", 0)?;
        memfd("capitals", &bytes.to_ascii_uppercase())
    }
}

impl Interface for Service {}

impl Remotable for Service {
    fn descriptor() -> &'static str {
        "ashmem.test.ITransport"
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        reader: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            ADD => {
                let sum = reader.read::<i32>()?.checked_add(reader.read::<i32>()?);
                reply.write(&sum.ok_or(StatusCode::BadValue)?)?;
                reply.write(&(std::process::id() as i32))
            }
            CAPITALS => {
                let capitals = Service::capitals(reader.read()?).map_err(|_| StatusCode::BadFd)?;
                reply.write(&ParcelFileDescriptor::new(capitals))
            }
            HEAP => {
                let size = reader.read::<i32>()? as usize;
                let heap = Arc::new(MemoryHeapBase::new(size, reader.read::<i32>()? as u32)?);
                heap.write_at(0, b"heap")?;
                let binder = export_heap(heap.clone());
                let window = MemoryBase::new(heap, binder.clone(), size / 2, size / 2)?;
                reply.write(&binder)?;
                reply.write(&Arc::new(window).export())
            }
            HANG => loop {
                std::thread::park();
            },
            CALL_BACK => {
                let (sum, process) = add(&reader.read::<SIBinder>()?, 20, 22)?;
                reply.write(&sum)?;
                reply.write(&process)
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _writer: &mut dyn Write, _arguments: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn memfd(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    File::from(fd.try_clone()?).write_all_at(bytes, 0)?;
    Ok(fd)
}

/// A transaction whose arguments `write` appends.
fn transact(
    service: &SIBinder,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let remote = service.as_remote().ok_or(StatusCode::BadType)?;
    let mut data = remote.prepare_transact(true)?;
    write(&mut data)?;
    remote.submit_transact(code, &data, rsbinder::FLAG_CLEAR_BUF)?.ok_or(StatusCode::UnexpectedNull)
}

fn add(service: &SIBinder, left: i32, right: i32) -> rsbinder::Result<(i32, i32)> {
    let mut reply = transact(service, ADD, |data| {
        data.write(&left)?;
        data.write(&right)
    })?;
    Ok((reply.read()?, reply.read()?))
}

fn heap_of(service: &SIBinder, size: usize, flags: u32) -> rsbinder::Result<(BpMemoryHeap, BpMemory)> {
    let mut reply = transact(service, HEAP, |data| {
        data.write(&(size as i32))?;
        data.write(&(flags as i32))
    })?;
    Ok((BpMemoryHeap::new(reply.read()?), BpMemory::new(reply.read()?)))
}

/// Where the kernel's binder is, if the tests are to use it and can.
fn address() -> Option<Uri> {
    let skipped = |reason: &str| {
        // Not through the captured output: to be seen without --nocapture.
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
        None
    };
    let Ok(address) = std::env::var("ASHMEM_BINDER") else {
        return skipped("ASHMEM_BINDER does not say where the kernel's binder is");
    };
    let uri: Uri = address.parse().expect("ASHMEM_BINDER is an address");
    let Endpoint::Kernel(kernel) = uri.endpoint() else {
        return skipped(&format!("{address} is not the kernel's binder"));
    };
    let driver = kernel.driver().expect("ASHMEM_BINDER names the driver").display().to_string();
    if !std::path::Path::new(&driver).exists() {
        return skipped(&format!("there is no {driver}"));
    }
    Some(uri)
}

/// A server, in a process of its own.
struct Server {
    name: String,
    process: Child,
}

impl Server {
    fn start(name: &str) -> Server {
        let name = format!("{name}.{}", std::process::id());
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SERVICE, &name)
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let server = Server { name, process };
        let ready = output.lines().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the server ended instead of serving");
        server
    }

    fn find(&self) -> SIBinder {
        hub::check_service(&self.name).expect("registered")
    }

    fn kill(&mut self) {
        self.process.kill().expect("a child");
        self.process.wait().expect("a child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(name) = std::env::var(SERVICE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let uri = address().expect("the test has one");
    let service = Interface::as_binder(&Binder::new(Service));
    let server = rsbinder::serve(uri).expect("the driver").add(&name, service).expect("added");
    let _server = server.spawn().expect("registered");
    // On a line of its own: the test's name has begun one.
    println!("\nready");
    loop {
        std::thread::park();
    }
}

/// Tells what died.
struct Obituary(mpsc::Sender<WIBinder>);

impl DeathRecipient for Obituary {
    fn binder_died(&self, who: &WIBinder) {
        let _ = self.0.send(who.clone());
    }
}

#[test]
fn services_are_found_and_called() {
    let Some(uri) = address() else { return };
    let _client = Client::open(uri).expect("the driver");
    let server = Server::start("called");
    assert!(hub::check_service("nobody.serves.this").is_none());
    assert!(hub::list_services(hub::DUMP_FLAG_PRIORITY_ALL).contains(&server.name));
    let service = hub::wait_for_service(&server.name).expect("registered");
    assert_eq!(service, server.find(), "one proxy for one remote object");
    assert_eq!(service.descriptor(), Service::descriptor());
    service.ping_binder().expect("alive");
    assert_eq!(add(&service, 2, 3), Ok((5, server.process.id() as i32)));

    let unknown = FIRST_CALL_TRANSACTION + 99;
    assert_eq!(transact(&service, unknown, |_| Ok(())).map(drop), Err(StatusCode::UnknownTransaction));
    let short = transact(&service, ADD, |data| data.write(&1i32));
    assert_eq!(short.map(drop), Err(StatusCode::NotEnoughData));
    assert_eq!(add(&service, i32::MAX, 1), Err(StatusCode::BadValue), "the service's own answer");
    let remote = service.as_remote().expect("a proxy");
    let mut data = remote.prepare_transact(false).expect("a parcel");
    // The token of another interface: strict mode, work source, mark, descriptor.
    data.write(&0i32).expect("written");
    data.write(&-1i32).expect("written");
    data.write(&rsbinder::INTERFACE_HEADER).expect("written");
    data.write("ashmem.test.IOther").expect("written");
    let refused = remote.submit_transact(ADD, &data, 0);
    assert_eq!(refused.map(drop), Err(StatusCode::BadType));
    let refused = BpMemoryHeap::new(service.clone()).map();
    assert_eq!(refused.map(drop), Err(StatusCode::BadType), "this is no heap");
    assert_eq!(add(&service, 2, 3), Ok((5, server.process.id() as i32)), "the service stays up");
}

#[test]
fn the_server_calls_back() {
    let Some(uri) = address() else { return };
    let _client = Client::open(uri).expect("the driver");
    let server = Server::start("back");
    let mine: SIBinder = Interface::as_binder(&Binder::new(Service));
    let mut reply = transact(&server.find(), CALL_BACK, |data| data.write(&mine)).expect("called back");
    assert_eq!(reply.read::<i32>(), Ok(42));
    assert_eq!(reply.read::<i32>(), Ok(std::process::id() as i32), "served by this process");
}

#[test]
fn descriptors_cross_both_ways() {
    let Some(uri) = address() else { return };
    let _client = Client::open(uri).expect("the driver");
    let server = Server::start("descriptors");
    let sent = memfd("sent", b"some bytes").expect("a memfd");
    fcntl_add_seals(&sent, SealFlags::GROW | SealFlags::SHRINK).expect("sealed");
    let capitals = |sent: &OwnedFd| -> rsbinder::Result<OwnedFd> {
        let sent = ParcelFileDescriptor::new(sent.try_clone().expect("a descriptor"));
        let mut reply = transact(&server.find(), CAPITALS, |data| data.write(&sent))?;
        Ok(reply.read::<ParcelFileDescriptor>()?.into())
    };
    let received = capitals(&sent).expect("answered");
    assert!(fcntl_getfd(&received).expect("open").contains(FdFlags::CLOEXEC));
    let mut bytes = [0; 10];
    File::from(received.try_clone().expect("a descriptor")).read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"SOME BYTES");
    File::from(sent.try_clone().expect("a descriptor")).read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"seen bytes", "the very same memory");

    // One that only reads is one that only reads at the other end, too.
    let read_only = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sent)));
    let refused = capitals(&read_only.expect("opened").into());
    assert_eq!(refused.map(drop), Err(StatusCode::BadFd));
    // Neither end keeps what it was sent.
    let mut open = None;
    for _ in 0..100 {
        capitals(&sent).expect("answered");
        let directory = format!("/proc/{}/fd", server.process.id());
        let now = std::fs::read_dir(directory).expect("a process").count();
        // The server closes what it was sent when it has answered, maybe a moment after that.
        assert!(now <= *open.get_or_insert(now) + 2, "{now} descriptors instead of {open:?}");
    }
}

#[test]
fn heaps_and_windows_cross() {
    let Some(uri) = address() else { return };
    let _client = Client::open(uri).expect("the driver");
    let server = Server::start("heaps");
    let size = 2 * 4096;
    // The server keeps no reference of its own: these proxies keep the heap alive there.
    let (heap, window) = heap_of(&server.find(), size, 0).expect("a heap");
    assert_eq!(heap.as_binder().descriptor(), rsbinder::shared_memory::IMEMORY_HEAP_DESCRIPTOR);
    let mapped = heap.map().expect("mapped");
    assert_eq!((mapped.size(), mapped.offset(), mapped.flags()), (size, 0, 0));
    let mut bytes = [0; 4];
    mapped.read_at(0, &mut bytes).expect("inside");
    assert_eq!(&bytes, b"heap");
    mapped.write_at(4096, b"mine").expect("inside");
    let other = window.resolve().expect("resolved").map().expect("mapped");
    assert_eq!(inode(&*other), inode(&*mapped), "of the same heap");
    window.read_at(0, &mut bytes).expect("inside");
    assert_eq!(&bytes, b"mine", "the window starts in its second half");

    let (heap, _window) = heap_of(&server.find(), size, FLAG_READ_ONLY).expect("a heap");
    let mapped = heap.map().expect("mapped");
    assert_eq!(mapped.flags(), FLAG_READ_ONLY);
    assert_eq!(mapped.write_at(0, b"x"), Err(StatusCode::PermissionDenied));
    let seals = fcntl_get_seals(mapped.heap_fd().expect("mapped")).expect("a memfd");
    assert!(seals.bits() & SEAL_FUTURE_WRITE != 0, "read-only to the kernel, too: {seals:?}");
}

fn inode(heap: &impl IMemoryHeap) -> u64 {
    fstat(heap.heap_fd().expect("mapped").as_fd()).expect("a memfd").st_ino
}

#[test]
fn deaths_are_told_and_data_survives() {
    let Some(uri) = address() else { return };
    let _client = Client::open(uri.clone()).expect("the driver");
    let mut server = Server::start("deaths");
    let service = server.find();
    let (heap, _window) = heap_of(&service, 4096, 0).expect("a heap");
    let mapped = heap.map().expect("mapped");
    let (sender, died) = mpsc::channel();
    let recipient = Arc::new(Obituary(sender));
    service.link_to_death_arc(&recipient).expect("linked");
    let waiting = std::thread::spawn({
        let service = service.clone();
        move || transact(&service, HANG, |_| Ok(())).map(drop)
    });
    server.kill();

    assert!(died.recv_timeout(PATIENCE).expect("told") == service);
    assert_eq!(waiting.join().expect("ended"), Err(StatusCode::DeadObject), "a call that was under way");
    assert_eq!(add(&service, 2, 3), Err(StatusCode::DeadObject));
    assert_eq!(service.link_to_death_arc(&recipient), Err(StatusCode::DeadObject));
    let mut bytes = [0; 4];
    mapped.read_at(0, &mut bytes).expect("inside");
    assert_eq!(&bytes, b"heap");
    // The service manager is told when this process is, and in no order.
    let until = Instant::now() + PATIENCE;
    while hub::check_service(&server.name).is_some() {
        assert!(Instant::now() < until, "still registered");
        std::thread::yield_now();
    }

    let again = Server::start("deaths");
    assert_eq!(again.name, server.name);
    assert_eq!(add(&again.find(), 2, 3), Ok((5, again.process.id() as i32)), "found again");
}
