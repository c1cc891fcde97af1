//! How JVMs with services and sessions end.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};

use super::{Server, Services};

#[test]
fn java_is_told_of_the_death_of_a_service() {
    let Some(services) = Services::new() else { return };
    let _server = services.serve();
    services.run_tests("BinderDeathTest");
}

#[test]
fn a_client_ends_when_its_main_method_does() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    // It has a session, a proxy with a recipient, and an object that the service keeps and calls.
    let client = Server::start(services.java().arg("ashmem.test.BinderEnds"));
    crate::harness::assert_success(&client.wait());
    server.end();
}

#[test]
fn a_service_ends_when_it_is_told_to() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    std::thread::scope(|scope| {
        // While it serves.
        for _ in 0..4 {
            scope
                .spawn(|| while super::clients::ask(&service, super::service::CALLER, |_| Ok(())).is_ok() {});
        }
        kill_process(Pid::from_raw(server.id() as i32).unwrap(), Signal::TERM).unwrap();
    });
    let output = server.wait();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(143) || output.status.signal() == Some(15),
        "{} {error}",
        output.status
    );
    assert!(!error.contains("fatal error"), "{error}");
}

#[test]
fn nothing_is_left_of_many_transactions() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    services.run_tests("BinderLeakTest");
    server.end();
}
