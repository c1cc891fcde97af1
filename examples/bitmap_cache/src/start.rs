//! The service as its clients find it, or start it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ashmem_binder::ServiceManager;
use bitmap_cache::{Client, Error, NAME};

use super::arguments::Limits;
use super::{Impossible, Result, serve};

/// How long a call may take: as long as the largest pictures of all clients before it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How often a service that ends at once is started.
const TRIES: u32 = 5;

/// A way to the service, which is started when there is none.
pub struct Way {
    services: ServiceManager,
    folder: OsString,
    limits: Limits,
    started: Option<Started>,
}

/// A service of our own. It ends with this value, and with this process if that is killed.
struct Started(Child);

impl Way {
    /// To a service that reads `folder`, an absolute path.
    pub fn new(folder: &Path, limits: &Limits) -> Result<Way> {
        let services = ServiceManager::options().timeout(Some(TIMEOUT)).open();
        let services = services.map_err(|error| Impossible(error.to_string()))?;
        Ok(Way { services, folder: folder.into(), limits: limits.clone(), started: None })
    }

    /// Connects to the service that there is, or to one that it starts. One that ends meanwhile is one more reason to start another.
    pub fn connect(&mut self) -> Result<Client> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.try_to_connect() {
                Err(error) if tries > 0 && error.downcast_ref().is_some_and(Error::is_disconnected) => {}
                result => return result,
            }
        }
    }

    fn try_to_connect(&mut self) -> Result<Client> {
        if self.services.check_service(NAME).map_err(Error::Service)?.is_none() {
            // The one before has ended, if there was one.
            self.started = None;
            self.started = Some(Started::new(&self.folder, &self.limits)?);
        }
        Ok(Client::connect(&self.services)?)
    }
}

impl Started {
    fn new(folder: &OsString, limits: &Limits) -> Result<Started> {
        let mut root = OsString::from("--root=");
        root.push(folder);
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let child = Command::new("/proc/self/exe")
            .args(["serve", "--until-input-ends"])
            .arg(root)
            .args(limits.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Impossible(format!("start the service: {error}")))?;
        let mut started = Started(child);
        let mut line = String::new();
        if let Some(output) = started.0.stdout.take() {
            BufReader::new(output).take(1024).read_line(&mut line)?;
        }
        if line.trim_end() == serve::READY {
            // What it has to say later would disturb the screen, and has no reader.
            if let Some(errors) = started.0.stderr.take() {
                std::thread::spawn(move || std::io::copy(&mut { errors }, &mut std::io::sink()));
            }
            return Ok(started);
        }
        let mut reason = String::new();
        if let Some(errors) = started.0.stderr.take() {
            let _ = errors.take(4096).read_to_string(&mut reason);
        }
        // Somebody else may have started one at the same time: then that is the service. And one that was killed says nothing.
        match reason.is_empty() || reason.contains("the name is taken") {
            true => Ok(started),
            false => Err(Impossible(format!("start the service: {}", reason.trim_end())).into()),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
