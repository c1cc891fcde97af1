//! Processes that serve something, for tests of clients. Over the transport that `ASHMEM_BINDER` names, else over a Unix socket.
//!
//! A server is the test binary again, running its ignored test `server`, which calls [`serve`]. It ends with its standard input.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{Parcel, Result, SIBinder, StatusCode, TransactionCode};

const ADDRESS: &str = "ASHMEM_TEST_ADDRESS";
const NAME: &str = "ASHMEM_TEST_NAME";
const ROLE: &str = "ASHMEM_TEST_ROLE";

/// Longer than anything takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

/// Where the services of one test are.
pub struct Place {
    address: String,
    prefix: String,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match std::env::var("ASHMEM_BINDER") {
            Ok(address) => Place { address, prefix, _directory: None },
            Err(_) => {
                let directory = tempfile::tempdir().unwrap();
                let address = format!("unix://{}", directory.path().join("services").display());
                Place { address, prefix, _directory: Some(directory) }
            }
        }
    }

    pub fn manager(&self) -> ServiceManager {
        ServiceManager::at(&self.address).unwrap()
    }

    /// What a role is found by.
    pub fn name(&self, role: &str) -> String {
        format!("{}.{role}", self.prefix)
    }

    /// Starts a process that serves what `role` says, and waits for it.
    pub fn start(&self, role: &str) -> Server {
        let name = self.name(role);
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server", "--ignored", "--nocapture", "--test-threads=1"])
            .envs([(ADDRESS, &*self.address), (NAME, &*name), (ROLE, role)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // A server that does not live is waited for in vain.
        let mut server = Server { process, binder: None };
        let found = self.manager().wait_for_service(&name, Some(LONG));
        server.binder = Some(found.unwrap());
        server
    }
}

pub struct Server {
    process: Child,
    binder: Option<SIBinder>,
}

impl Server {
    pub fn binder(&self) -> &SIBinder {
        self.binder.as_ref().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the test `server`: serves what `make` makes of the role.
pub fn serve(make: impl FnOnce(&str) -> SIBinder) {
    let variable = |name| std::env::var(name).unwrap();
    let binder = make(&variable(ROLE));
    let manager = ServiceManager::at(&variable(ADDRESS)).unwrap();
    manager.add_service(&variable(NAME), &binder).unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// Sends a request whose arguments `write` writes behind a token.
pub fn transact(
    binder: &SIBinder,
    token: &str,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> Result<()>,
) -> Result<Parcel> {
    let reply = if let Some(proxy) = binder.as_any().downcast_ref::<RpcProxy>() {
        let mut request = proxy.build_request(token)?;
        write(&mut request)?;
        proxy.transact(code, &request, 0)?
    } else {
        let proxy = binder.as_remote().ok_or(StatusCode::BadType)?;
        // The kernel's transport writes the binder's own token.
        let mut request = proxy.prepare_transact(token == binder.descriptor())?;
        write(&mut request)?;
        proxy.submit_transact(code, &request, 0)?
    };
    reply.ok_or(StatusCode::UnexpectedNull)
}

/// A duplicate of a descriptor.
pub fn duplicate(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().unwrap()
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
