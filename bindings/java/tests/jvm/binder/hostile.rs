//! Clients that send garbage to a service in Java, or end in the middle of a call.

use std::process::{Command, Stdio};

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{FLAG_ONEWAY, Parcel, ParcelFileDescriptor, RemoteProxy, SIBinder, StatusCode};

use super::clients::ask;
use super::service::{self, *};
use super::{ADDRESS, SERVICE, Services};

fn proxy(service: &SIBinder) -> &RpcProxy {
    service.as_any().downcast_ref::<RpcProxy>().unwrap()
}

/// The service goes on, whatever was sent.
fn answers(service: &SIBinder) {
    let mut reply = ask(service, BYTES, |request| request.write(&vec![1_u8, 2, 3])).unwrap();
    assert_eq!(reply.read::<Vec<u8>>().unwrap(), [1, 2, 3]);
}

/// Numbers that only look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

#[test]
fn garbage() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    let proxy = proxy(&service);
    let mut random = Random(7);
    for turn in 0..1000 {
        let mut request = proxy.build_request(DESCRIPTOR).unwrap();
        for _ in 0..random.next() % 20 {
            match random.next() % 8 {
                0 => request.write(&service).unwrap(),
                1 => request.write(&pipe("x")).unwrap(),
                2 => request.write_i32(i32::MAX - (random.next() % 16) as i32).unwrap(),
                3 => request.write_i32(-((random.next() % 16) as i32)).unwrap(),
                4 => request.write("text").unwrap(),
                // What an object looks like, where there is none.
                5 => request.write(&vec![1, (random.next() % 4) as i32, 0, 2, 0][..]).unwrap(),
                _ => request.write_i32((random.next() % 8) as i32).unwrap(),
            }
        }
        let code = 1 + random.next() % FOREIGN;
        let flags = if turn % 5 == 0 { FLAG_ONEWAY } else { 0 };
        // Whatever it is: an answer or an error.
        match proxy.transact(code, &request, flags) {
            Ok(_) => {}
            Err(status) => assert_ne!(status, StatusCode::DeadObject, "{code}"),
        }
    }
    answers(&service);
    server.end();
}

#[test]
fn parcels_that_end_too_early() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    let proxy = proxy(&service);
    type Write = fn(&mut Parcel) -> ashmem_binder::rsbinder::Result<()>;
    let writes: [(u32, Write); 9] = [
        // Lengths without what they are of.
        (BYTES, |request| request.write_i32(i32::MAX)),
        (BYTES, |request| request.write_i32(-2)),
        (WRITE_INTO, |request| request.write_i32(1)),
        (WRITE_INTO, |request| {
            request.write(&pipe(""))?;
            request.write_i32(0x7fff_fffe)
        }),
        (SAME, |_| Ok(())),
        (SAME, |request| request.write_i32(1)),
        // A binder by its bytes alone.
        (SAME, |request| request.write(&[1, 1, 1, 12][..])),
        (CALL, |request| request.write(&[2, 0, 0, 0][..])),
        (VALUES, |request| request.write_i32(3)),
    ];
    for (code, write) in writes {
        let mut request = proxy.build_request(DESCRIPTOR).unwrap();
        write(&mut request).unwrap();
        let mut reply = proxy.transact(code, &request, 0).unwrap().unwrap();
        // An exception, not a crash.
        assert_ne!(reply.read_i32().unwrap(), 0, "{code}");
        answers(&service);
    }
    // Without a token, or with others.
    for token in [None, Some(""), Some("ashmem.test.IOther"), Some(&"x".repeat(1 << 20)[..])] {
        let mut request = proxy.prepare_transact(false).unwrap();
        if let Some(token) = token {
            request.write(token).unwrap();
        }
        assert!(proxy.transact(CALLER, &request, 0).is_err());
        answers(&service);
    }
    server.end();
}

#[test]
fn large_parcels() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    let bytes = vec![3_u8; 1 << 20];
    for _ in 0..3 {
        let mut reply = ask(&service, BYTES, |request| request.write(&bytes)).unwrap();
        assert!(reply.read::<Vec<u8>>().unwrap() == bytes);
    }
    let larger = vec![3_u8; 4 << 20];
    let mut reply = ask(&service, BYTES, |request| request.write(&larger)).unwrap();
    assert!(reply.read::<Vec<u8>>().unwrap() == larger);
    // The request goes through, the reply does not.
    assert_ne!(ask(&service, LARGE, |_| Ok(())).unwrap_err(), StatusCode::DeadObject);
    answers(&service);
    server.end();
}

#[test]
fn a_flood_of_descriptors() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    answers(&service);
    let before = super::descriptors(server.id());
    let file: ParcelFileDescriptor = pipe("x");
    for _ in 0..200 {
        let mut request = proxy(&service).build_request(DESCRIPTOR).unwrap();
        request.write(&Vec::<u8>::new()).unwrap();
        for _ in 0..64 {
            request.write(&file).unwrap();
        }
        proxy(&service).transact(BYTES, &request, 0).unwrap();
    }
    answers(&service);
    assert!(super::descriptors(server.id()) <= before + 64, "{}", super::descriptors(server.id()));
    server.end();
}

/// Makes this test a client that calls until it is killed.
const CLIENT: &str = "ASHMEM_TEST_BINDER_CLIENT";

#[test]
fn clients_that_are_killed_in_a_call() {
    if std::env::var_os(CLIENT).is_some() {
        let services = ServiceManager::new().unwrap();
        let service = services.get_service(SERVICE).unwrap();
        let callback = service::new();
        println!("ready");
        loop {
            let asked = ask(&service, BYTES, |request| {
                request.write(&vec![1_u8; 100_000])?;
                request.write(&callback)?;
                request.write(&pipe("x"))
            });
            asked.unwrap();
        }
    }
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    for _ in 0..3 {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut test = Command::new(std::env::current_exe().unwrap());
                test.args(["--exact", "binder::hostile::clients_that_are_killed_in_a_call", "--nocapture"]);
                test.env(CLIENT, "1").env(ADDRESS, services.address()).stdout(Stdio::piped());
                let mut process = test.stderr(Stdio::null()).spawn().unwrap();
                use std::io::{BufRead, BufReader};
                let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
                assert!(lines.any(|line| line.unwrap().ends_with("ready")));
                process
            })
            .collect();
        for mut client in clients {
            client.kill().unwrap();
            client.wait().unwrap();
        }
        answers(&services.service());
    }
    server.end();
}
