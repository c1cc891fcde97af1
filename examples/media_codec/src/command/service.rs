//! The service as a command, and as a child of the other commands.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use ashmem_binder::ServiceManager;
use media_codec::MediaCodec;

use crate::{Failure, Limits, say};

/// What it says when it can be found.
const READY: &str = "service: ready";

pub fn run(arguments: &crate::Service) -> Result<(), Failure> {
    let options = media_codec::ServiceOptions { faults: arguments.faults, ..arguments.limits.options() };
    let start = || {
        let services = ServiceManager::new()?;
        media_codec::Service::start(&services, options)
    };
    start().map_err(|error| Failure::Trial(error.to_string()))?;
    // Decoders are served all the same.
    let _ = say(READY);
    if arguments.until_input_ends {
        // Ends, or fails, when the parent has gone.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        return Ok(());
    }
    // All is done by other threads.
    loop {
        thread::park();
    }
}

/// A codec for a command: of the service that is there, or of one of its own, which ends with this value, or with this process.
pub struct Used {
    pub codec: MediaCodec,
    _child: Option<Own>,
}

struct Own(Child);

impl Used {
    /// Of the service at `$ASHMEM_BINDER`, if that is set; else of one with these limits.
    pub fn find(limits: &Limits) -> Result<Used, String> {
        if std::env::var_os("ASHMEM_BINDER").is_none_or(|address| address.is_empty()) {
            return Used::start(limits);
        }
        let services = ServiceManager::new().map_err(|error| error.to_string())?;
        let codec = MediaCodec::create(&services).map_err(|error| error.to_string())?;
        Ok(Used { codec, _child: None })
    }

    /// Of a service with these limits.
    pub fn start(limits: &Limits) -> Result<Used, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("make a directory: {error}"))?;
        let address = format!("unix://{}/services", directory.path().display());
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let child = Command::new("/proc/self/exe")
            .args(["service", "--until-input-ends"])
            .args(limits.arguments())
            .env("ASHMEM_BINDER", &address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start the service: {error}"))?;
        let mut own = Own(child);
        let mut line = String::new();
        if let Some(output) = own.0.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| format!("hear from the service: {error}"))?;
        }
        if line.trim_end() != READY {
            // It has said itself why.
            return Err("the service did not start".to_owned());
        }
        let services = ServiceManager::at(&address).map_err(|error| error.to_string())?;
        let codec = MediaCodec::create(&services).map_err(|error| error.to_string())?;
        // The connections stay, the directory does not: nothing is left when this process is killed.
        drop(directory);
        Ok(Used { codec, _child: Some(own) })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
