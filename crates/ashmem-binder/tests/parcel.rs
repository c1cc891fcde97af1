//! Shared memory and memory files in parcels, between sessions and between processes.
//!
//! The other process is this test binary again, running the ignored test `receiver`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ashmem::{MemoryFile, Protection, SharedMemory};
use ashmem_binder::rsbinder::rpc::{FileDescriptorTransportMode, RpcProxy, RpcServer, RpcSession};
use ashmem_binder::rsbinder::{
    Binder, Interface, Parcel, Remotable, Result, SIBinder, Serialize, StatusCode, TransactionCode,
};
use ashmem_binder::{ParcelFileDescriptor, ParcelableSharedMemory, memory_file_descriptor, memory_file_from};
use rustix::io::Errno;

const ADDRESS: &str = "ASHMEM_TEST_ADDRESS";
const DESCRIPTOR: &str = "test.IMemory";

/// The settings, if there are any.
const GET: TransactionCode = 1;
/// Reads the first byte of shared memory.
const LOOK: TransactionCode = 2;
/// The same of a memory file.
const LOOK_AT_FILE: TransactionCode = 3;
/// Shared memory, or none; answers whether there was any.
const MAYBE: TransactionCode = 4;

struct Service {
    settings: ParcelableSharedMemory,
}

impl Remotable for Service {
    fn descriptor() -> &'static str {
        DESCRIPTOR
    }

    fn on_transact(&self, code: TransactionCode, request: &mut Parcel, reply: &mut Parcel) -> Result<()> {
        let mut first = [0];
        match code {
            GET => return reply.write(&self.settings),
            LOOK => {
                let memory: ParcelableSharedMemory = request.read()?;
                memory.map_read_only().and_then(|mapping| mapping.read_at(0, &mut first)).unwrap();
            }
            LOOK_AT_FILE => {
                let file = memory_file_from(request.read()?, request.read_u64()?)?;
                file.read_at(0, &mut first).unwrap();
            }
            MAYBE => {
                let memory: Option<ParcelableSharedMemory> = request.read()?;
                first = [u8::from(memory.is_some())];
            }
            _ => return Err(StatusCode::UnknownTransaction),
        }
        reply.write_u8(first[0])
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> Result<()> {
        Ok(())
    }
}

struct Server {
    rpc: Arc<RpcServer>,
    directory: tempfile::TempDir,
}

impl Server {
    fn start(settings: SharedMemory) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let rpc = RpcServer::setup_unix_server(directory.path().join("memory")).unwrap();
        rpc.set_android13plus(1);
        rpc.set_supported_fd_modes(&[FileDescriptorTransportMode::Unix]);
        let service = Service { settings: settings.into() };
        rpc.set_root(Binder::new(service).as_binder()).unwrap();
        let _ = rpc.run_background();
        Server { rpc, directory }
    }

    fn address(&self) -> PathBuf {
        self.directory.path().join("memory")
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

fn call(root: &SIBinder, code: TransactionCode, arguments: &[&dyn Argument]) -> Result<Parcel> {
    let proxy = root.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(DESCRIPTOR)?;
    for argument in arguments {
        argument.write(&mut request)?;
    }
    Ok(proxy.transact(code, &request, 0)?.unwrap())
}

trait Argument {
    fn write(&self, request: &mut Parcel) -> Result<()>;
}

impl<T: Serialize> Argument for T {
    fn write(&self, request: &mut Parcel) -> Result<()> {
        request.write(self)
    }
}

fn settings(text: &[u8]) -> SharedMemory {
    let memory = SharedMemory::create("settings", 5000).unwrap();
    memory.map_read_write().unwrap().write_at(0, text).unwrap();
    memory
}

fn byte(reply: Result<Parcel>) -> u8 {
    reply.unwrap().read_u8().unwrap()
}

#[test]
fn shared_memory_is_an_argument_and_a_result() {
    let server = Server::start(settings(b"served"));
    let root = connect(&server.address());
    let received: ParcelableSharedMemory = call(&root, GET, &[]).unwrap().read().unwrap();
    assert_eq!(received.size().unwrap(), 5000, "exactly, though the file has whole pages");
    let mapping = received.map_read_write().unwrap();
    assert_eq!(mapping.read_vec(0, 6).unwrap(), b"served");
    mapping.write_at(0, b"S").unwrap();
    let again: ParcelableSharedMemory = call(&root, GET, &[]).unwrap().read().unwrap();
    assert_eq!(again.map_read_only().unwrap().read_vec(0, 6).unwrap(), b"Served", "the same memory");

    let mine = ParcelableSharedMemory(settings(b"mine"));
    assert_eq!(byte(call(&root, LOOK, &[&mine])), b'm');
    assert_eq!(byte(call(&root, MAYBE, &[&Some(mine)])), 1);
    assert_eq!(byte(call(&root, MAYBE, &[&None::<ParcelableSharedMemory>])), 0);
    let nothing = call(&root, LOOK, &[&None::<ParcelableSharedMemory>]);
    assert_eq!(nothing.unwrap_err(), StatusCode::UnexpectedNull);
}

#[test]
fn memory_files_are_arguments() {
    let server = Server::start(settings(b""));
    let root = connect(&server.address());
    let file = MemoryFile::create("file", 10).unwrap();
    file.write_at(0, b"ten bytes.").unwrap();
    let descriptor = memory_file_descriptor(&file).unwrap();
    assert_eq!(byte(call(&root, LOOK_AT_FILE, &[&descriptor, &10_u64])), b't');
    for length in [0, 11, u64::MAX] {
        let refused = call(&root, LOOK_AT_FILE, &[&descriptor, &length]).unwrap_err();
        assert_eq!(refused, StatusCode::BadValue, "{length}");
    }
    file.close();
    let refused = memory_file_descriptor(&file).unwrap_err();
    assert_eq!(refused.status(), StatusCode::InvalidOperation, "{refused}");
}

#[test]
fn closed_memory_is_not_sent() {
    let server = Server::start(settings(b""));
    let root = connect(&server.address());
    let closed = ParcelableSharedMemory(settings(b""));
    closed.close();
    assert_eq!(call(&root, LOOK, &[&closed]).unwrap_err(), StatusCode::InvalidOperation);
    assert_eq!(call(&root, MAYBE, &[&Some(closed)]).unwrap_err(), StatusCode::InvalidOperation);
    assert!(call(&root, GET, &[]).is_ok());
}

/// How many descriptors of this process are of this file.
fn count(path: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
    links.filter(|link| link.as_ref().is_ok_and(|link| link == path)).count()
}

#[test]
fn what_is_no_shared_memory_is_refused_and_closed() {
    let server = Server::start(settings(b""));
    let root = connect(&server.address());
    let directory = server.directory.path().canonicalize().unwrap();
    let file = directory.join("file");
    fs::write(&file, "on a disk").unwrap();
    let not_a_region = StatusCode::from(-Errno::NOTTY.raw_os_error());
    let refused = |fd: OwnedFd| {
        let fd = ParcelFileDescriptor::new(fd);
        for code in [LOOK, MAYBE] {
            assert_eq!(call(&root, code, &[&fd]).unwrap_err(), not_a_region);
        }
        assert_eq!(call(&root, LOOK_AT_FILE, &[&fd, &1_u64]).unwrap_err(), not_a_region);
    };
    for _ in 0..20 {
        refused(File::open("/dev/null").unwrap().into());
        refused(File::open(&directory).unwrap().into());
        refused(File::open(&file).unwrap().into());
        refused(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap());
        let (mut reader, writer) = std::io::pipe().unwrap();
        refused(writer.into());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody has the other end any more");
    }
    assert_eq!((count(&directory), count(&file)), (0, 0));
    // A parcel that ends early is refused before there is a descriptor.
    assert_eq!(call(&root, LOOK, &[]).unwrap_err(), StatusCode::NotEnoughData);
    let reply = call(&root, LOOK, &[&ParcelableSharedMemory(settings(b"and on"))]);
    assert_eq!(byte(reply), b'a', "the service goes on");
}

#[test]
fn narrowed_memory_stays_narrow_in_another_process() {
    let memory = settings(b"read me");
    let mapping = memory.map_read_write().unwrap();
    assert!(memory.set_protect(Protection::READ).unwrap());
    let server = Server::start(memory);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "receiver", "--ignored", "--test-threads=1"])
        .env(ADDRESS, server.address())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(mapping.read_vec(0, 7).unwrap(), b"read me");
}

#[test]
#[ignore = "a process of the other tests"]
fn receiver() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let root = connect(Path::new(&address));
    let received: ParcelableSharedMemory = call(&root, GET, &[]).unwrap().read().unwrap();
    assert_eq!(received.map_read_only().unwrap().read_vec(0, 7).unwrap(), b"read me");
    let refused = received.map_read_write().unwrap_err();
    assert_eq!(refused.raw_os_error(), Errno::PERM.raw_os_error(), "{refused}");
    assert!(!received.set_protect(Protection::READ | Protection::WRITE).unwrap());

    // Not only by the library.
    let fd = received.try_clone_fd().unwrap();
    assert_eq!(rustix::io::pwrite(&fd, b"write", 0), Err(Errno::PERM));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()));
    let anew = File::options().read(true).write(true).open(path).unwrap();
    assert_eq!(rustix::io::pwrite(&anew, b"write", 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&anew, 1), Err(Errno::PERM));
}
