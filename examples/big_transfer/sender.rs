//! The sender's side of the service: the receiver as a process, and what is asked of it.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ashmem::Region;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{Parcel, SIBinder, Status, TransactionCode};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};

use super::Result;
use super::receiver::{CHECK, INTERFACE, MEMORY, NAME, OPEN, PARCEL, READY};

/// Ends with this value, and with this process if that is killed.
pub struct Sender {
    child: Child,
    service: SIBinder,
}

/// What the receiver found in its memory.
pub struct Received {
    pub length: u64,
    pub sum: u64,
    /// What it took to read all of it.
    pub reading: Duration,
}

impl Sender {
    pub fn start() -> Result<Sender> {
        let directory = tempfile::tempdir()?;
        let address = format!("unix://{}/services", directory.path().display());
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg("receiver")
            .env("ASHMEM_BINDER", &address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start the receiver: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim_end() != READY {
            child.wait()?;
            return Err("the receiver did not start".into());
        }
        // A slow machine takes its time over 1 GiB.
        let services = ServiceManager::options().timeout(Some(Duration::from_secs(600))).open_at(&address)?;
        let service = services.get_service(NAME)?;
        // The connections stay, the directory does not.
        drop(directory);
        Ok(Sender { child, service })
    }

    fn call(
        &self,
        code: TransactionCode,
        write: impl FnOnce(&mut Parcel) -> ashmem_binder::rsbinder::Result<()>,
    ) -> Result<Parcel> {
        let proxy = self.service.as_any().downcast_ref::<RpcProxy>().ok_or("the receiver is this process")?;
        let mut request = proxy.build_request(INTERFACE)?;
        write(&mut request)?;
        let mut reply = proxy.transact(code, &request, 0)?.ok_or("no reply")?;
        let status: Status = reply.read()?;
        if status.is_ok() { Ok(reply) } else { Err(status.into()) }
    }

    pub fn send_parcel(&self, bytes: &[u8]) -> Result<()> {
        self.call(PARCEL, |request| request.write(bytes)).map(drop)
    }

    pub fn send_memory(&self, region: &Region) -> Result<()> {
        let descriptor = ParcelFileDescriptor::new(region.share_read_only()?);
        self.call(MEMORY, |request| request.write(&descriptor)).map(drop)
    }

    pub fn open_stream(&self, data: OwnedFd, answers: OwnedFd) -> Result<()> {
        let (data, answers) = (ParcelFileDescriptor::new(data), ParcelFileDescriptor::new(answers));
        self.call(OPEN, |request| {
            request.write(&data)?;
            request.write(&answers)
        })
        .map(drop)
    }

    /// Has the receiver read all that it got last.
    pub fn check(&self) -> Result<Received> {
        let mut reply = self.call(CHECK, |_| Ok(()))?;
        let length = reply.read_u64()?;
        let sum = reply.read_u64()?;
        Ok(Received { length, sum, reading: Duration::from_nanos(reply.read_u64()?) })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
