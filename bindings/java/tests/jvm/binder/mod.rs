//! Binder between JVMs, and between a JVM and this process. Each test has services of its own.

mod clients;
mod hostile;
mod processes;
mod service;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::SIBinder;

use crate::harness::{Jdk, assert_success, jdk};

const ADDRESS: &str = "ASHMEM_BINDER";
const SERVICE: &str = "echo";

/// A directory of services, and the JDK to run in it.
struct Services {
    directory: tempfile::TempDir,
    jdk: &'static Jdk,
}

impl Services {
    /// `None` without a JDK.
    fn new() -> Option<Services> {
        Some(Services { jdk: jdk()?, directory: tempfile::tempdir().unwrap() })
    }

    fn address(&self) -> String {
        format!("unix://{}", self.directory.path().join("services").display())
    }

    fn manager(&self) -> ServiceManager {
        ServiceManager::at(&self.address()).unwrap()
    }

    /// The service, as this process has it.
    fn service(&self) -> SIBinder {
        self.manager().check_service(SERVICE).unwrap().unwrap()
    }

    fn java(&self) -> Command {
        let mut java = self.jdk.java();
        java.env(ADDRESS, self.address());
        java
    }

    fn run_tests(&self, class: &str) {
        self.jdk.run_tests_in(&mut self.java(), class);
    }

    /// A JVM that serves.
    fn serve(&self) -> Server {
        Server::start(self.java().arg("ashmem.test.BinderService"))
    }
}

/// A program that prints `ready`, and ends with its standard input.
struct Server {
    process: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    error: Option<JoinHandle<Vec<u8>>>,
}

impl Server {
    fn start(program: &mut Command) -> Server {
        let mut process =
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut error = process.stderr.take().unwrap();
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let read = |mut from: Box<dyn Read + Send>| {
            Some(std::thread::spawn(move || {
                let mut all = Vec::new();
                from.read_to_end(&mut all).unwrap();
                all
            }))
        };
        if line != "ready\n" {
            let mut said = String::new();
            error.read_to_string(&mut said).unwrap();
            panic!("{line}{said}");
        }
        Server { out: read(Box::new(out)), error: read(Box::new(error)), process }
    }

    fn id(&self) -> u32 {
        self.process.id()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it ends by itself.
    fn wait(mut self) -> Output {
        let status = self.process.wait().unwrap();
        self.output(status)
    }

    fn output(&mut self, status: ExitStatus) -> Output {
        let stdout = self.out.take().unwrap().join().unwrap();
        let stderr = self.error.take().unwrap().join().unwrap();
        Output { status, stdout, stderr }
    }

    /// Ends it, and that it had nothing to say about the native library.
    fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let status = self.process.wait().unwrap();
        let output = self.output(status);
        assert_success(&output);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, if this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many descriptors a process has open.
fn descriptors(process: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")).unwrap().count()
}

#[test]
fn objects_of_one_process() {
    let Some(services) = Services::new() else { return };
    services.run_tests("BinderLocalTest");
}

#[test]
fn java_client_and_java_service() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    services.run_tests("BinderClientTest");
    server.end();
}

#[test]
fn java_client_and_rust_service() {
    let Some(services) = Services::new() else { return };
    services.manager().add_service(SERVICE, &service::new()).unwrap();
    services.run_tests("BinderClientTest");
}

#[test]
fn java_client_and_a_service_without_an_interface() {
    let Some(services) = Services::new() else { return };
    let server = Server::start(services.java().arg("ashmem.test.BinderPlainService"));
    services.run_tests("BinderPlainTest");
    // Interpreted, frames are larger.
    services.jdk.run_tests_in(services.java().args(["-Xint", "-Xss512k"]), "BinderPlainTest");
    server.end();
}

#[test]
fn what_a_java_service_does_wrong() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    services.run_tests("BinderServerTest");
    let said = server.end();
    assert!(said.contains("java.lang.StackOverflowError: on purpose"), "{said}");
}

#[test]
fn the_kernels_binder_is_not_for_java() {
    let Some(services) = Services::new() else { return };
    services.jdk.run_tests_in(services.java().env(ADDRESS, "binder://"), "BinderKernelTest");
}
