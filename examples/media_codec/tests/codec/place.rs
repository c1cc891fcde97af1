//! A service that nobody else uses.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use media_codec::{Error, Format, MediaCodec, MediaType, decode_stream};
use tempfile::TempDir;

/// Longer than anything takes on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Place {
    pub directory: TempDir,
    arguments: Vec<String>,
    service: Child,
}

impl Place {
    pub fn new(arguments: &[&str]) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let service = start(&directory, &arguments);
        Place { directory, arguments, service }
    }

    pub fn program(&self) -> Command {
        program(&self.directory)
    }

    pub fn services(&self) -> ServiceManager {
        ServiceManager::at(&address(&self.directory)).unwrap()
    }

    pub fn codec(&self) -> MediaCodec {
        MediaCodec::create(&self.services()).unwrap()
    }

    /// The service's process.
    pub fn process(&self) -> u32 {
        self.service.id()
    }

    pub fn kill(&mut self) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.service = start(&self.directory, &self.arguments);
    }

    /// Descriptors of the service.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process())).unwrap().count()
    }

    /// The service's children that live or were not waited for.
    pub fn decoders(&self) -> Vec<u32> {
        children(self.process())
    }

    /// Waits until no codec is in use and one decoder waits for the next.
    pub fn wait_until_idle(&self, codec: &MediaCodec) {
        self.wait_until_idle_but(codec, 0);
    }

    /// Waits until only so many codecs are in use, and one decoder more waits for the next.
    pub fn wait_until_idle_but(&self, codec: &MediaCodec, codecs: u32) {
        wait_until("the service is idle", || {
            codec.usage().unwrap().codecs == codecs && self.decoders().len() == codecs as usize + 1
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn address(directory: &TempDir) -> String {
    format!("unix://{}/services", directory.path().display())
}

fn program(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_media_codec"));
    command.env("ASHMEM_BINDER", address(directory)).stdin(Stdio::null());
    command
}

fn start(directory: &TempDir, arguments: &[String]) -> Child {
    let mut service = program(directory)
        .args(["service", "--until-input-ends"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "service: ready\n");
    service
}

pub fn children(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parents = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        if parents == Some(parent) {
            children.push(process);
        }
    }
    children
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not yet");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Everything that comes out, and how it ends.
pub fn decode(
    codec: &mut MediaCodec,
    media_type: MediaType,
    source: impl Read,
) -> (Option<Format>, Vec<u8>, Result<(), Error>) {
    let (mut format, mut decoded) = (None, Vec::new());
    let result = decode_stream(codec, media_type, source, PATIENCE, |new, bytes| {
        format = Some(new);
        decoded.extend_from_slice(bytes);
        Ok(())
    });
    (format, decoded, result)
}
