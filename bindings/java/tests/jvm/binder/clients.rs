//! A service in Java, called from Rust.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    self, Binder, DeathRecipient, ExceptionCode, FLAG_ONEWAY, Interface, Parcel, ParcelFileDescriptor,
    Remotable, SIBinder, Status, StatusCode, TransactionCode, WIBinder,
};
use ashmem_binder::{interface_of, process_of};

use super::Services;
use super::service::{self, *};

/// Calls a service, and gives the reply behind its status.
pub fn ask(
    service: &SIBinder,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let (status, reply) = ask_status(service, code, write)?;
    assert!(status.is_ok(), "{status:?}");
    Ok(reply)
}

fn ask_status(
    service: &SIBinder,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<(Status, Parcel)> {
    let proxy = service.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(DESCRIPTOR)?;
    write(&mut request)?;
    let mut reply = proxy.transact(code, &request, 0)?.unwrap();
    Ok((reply.read::<Status>()?, reply))
}

fn tell(service: &SIBinder, code: TransactionCode, value: i32) {
    let proxy = service.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(DESCRIPTOR).unwrap();
    request.write_i32(value).unwrap();
    assert!(proxy.transact(code, &request, FLAG_ONEWAY).unwrap().is_none());
}

/// A callback that sends on what it is told.
struct Callback(Mutex<mpsc::Sender<i32>>);

impl Callback {
    fn pair() -> (SIBinder, mpsc::Receiver<i32>) {
        let (sender, receiver) = mpsc::channel();
        (Binder::new(Callback(Mutex::new(sender))).as_binder(), receiver)
    }
}

impl Remotable for Callback {
    fn descriptor() -> &'static str {
        CALLBACK
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        data: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        let value = data.read_i32()?;
        self.0.lock().unwrap().send(value).unwrap();
        if code == ADD_ONE {
            reply.write(&Status::from(StatusCode::Ok))?;
            reply.write_i32(value + 1)?;
        }
        Ok(())
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

#[test]
fn rust_client_and_java_service() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    assert_eq!(interface_of(&service).unwrap(), DESCRIPTOR);
    assert_eq!(process_of(&service).unwrap(), server.id());
    service.ping_binder().unwrap();

    values(&service);
    bytes(&service);
    descriptors(&service);
    binders(&service);
    failures(&service);
    server.end();
}

fn values(service: &SIBinder) {
    let mut reply = ask(service, VALUES, |request| {
        request.write_i32(-42)?;
        request.write_i64(i64::MIN + 1)?;
        request.write_f32(1.5)?;
        request.write_f64(-2.25)?;
        request.write_bool(true)?;
        request.write("grüß dich, 😀")?;
        request.write(&None::<String>)?;
        request.write(&vec![1_u8, 254, 3, 0, 251])?;
        request.write(&vec![7, -8])
    })
    .unwrap();
    assert_eq!(reply.read_i32().unwrap(), -42);
    assert_eq!(reply.read_i64().unwrap(), i64::MIN + 1);
    assert_eq!(reply.read_f32().unwrap(), 1.5);
    assert_eq!(reply.read_f64().unwrap(), -2.25);
    assert!(reply.read_bool().unwrap());
    assert_eq!(reply.read::<String>().unwrap(), "grüß dich, 😀");
    assert_eq!(reply.read::<Option<String>>().unwrap(), None);
    assert_eq!(reply.read::<Vec<u8>>().unwrap(), [1, 254, 3, 0, 251]);
    assert_eq!(reply.read::<Vec<i32>>().unwrap(), [7, -8]);
    assert_eq!(reply.data_avail(), 0);
}

fn bytes(service: &SIBinder) {
    for size in [0, 1, 2, 3, 4, 5, 15, 16, 17, 4095, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|number: u32| (number ^ number >> 8) as u8).collect();
        let mut reply = ask(service, BYTES, |request| request.write(&bytes)).unwrap();
        assert!(reply.read::<Vec<u8>>().unwrap() == bytes, "{size}");
    }
}

fn descriptors(service: &SIBinder) {
    let mut reply = ask(service, GIVE_PIPE, |_| Ok(())).unwrap();
    assert_eq!(text(reply.read().unwrap()), IN_PIPE);
    let (reader, writer) = ParcelFileDescriptor::pipe().unwrap();
    ask(service, WRITE_INTO, |request| {
        request.write(&writer)?;
        request.write("into the pipe")
    })
    .unwrap();
    drop(writer);
    assert_eq!(text(reader), "into the pipe");
}

fn binders(service: &SIBinder) {
    let (callback, told) = Callback::pair();
    let mut reply = ask(service, CALL, |request| {
        request.write(&callback)?;
        request.write_i32(7)
    })
    .unwrap();
    assert_eq!(reply.read_i32().unwrap(), 8);
    assert_eq!(told.recv().unwrap(), 7);

    ask(service, KEEP, |request| request.write(&callback)).unwrap();
    for value in 0..20 {
        tell(service, CALL_KEPT, value);
    }
    for value in 0..20 {
        assert_eq!(told.recv().unwrap(), value);
    }
    ask(service, FORGET, |_| Ok(())).unwrap();

    for binder in [Some(callback.clone()), Some(service.clone()), None] {
        let mut reply = ask(service, SAME, |request| request.write(&binder)).unwrap();
        assert!(reply.read::<Option<SIBinder>>().unwrap() == binder);
    }
    let file = pipe("some text");
    let mut reply = ask(service, OBJECTS, |request| {
        request.write(&callback)?;
        request.write(&file)?;
        request.write_i32(9)?;
        request.write(&file)?;
        request.write(&None::<SIBinder>)?;
        request.write(service)?;
        request.write("end")
    })
    .unwrap();
    assert!(reply.read::<SIBinder>().unwrap() == callback);
    let first = reply.read::<ParcelFileDescriptor>().unwrap();
    assert_eq!(reply.read_i32().unwrap(), 9);
    drop(reply.read::<ParcelFileDescriptor>().unwrap());
    assert!(reply.read::<Option<SIBinder>>().unwrap().is_none());
    assert!(reply.read::<SIBinder>().unwrap() == *service);
    assert_eq!(reply.read::<String>().unwrap(), "end");
    drop(file);
    assert_eq!(text(first), "some text");
    // When Java has let go of it, so does Binder.
    drop((reply, callback));
    for _ in 0..300 {
        ask(service, FORGET, |_| Ok(())).unwrap();
        if told.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Disconnected) {
            return;
        }
    }
    panic!("it is held still");
}

fn failures(service: &SIBinder) {
    let fail =
        |kind: i32| ask_status(service, FAIL, |request| request.write_i32(kind)).map(|(status, _)| status);
    let status = fail(1).unwrap();
    assert_eq!(status.exception_code(), ExceptionCode::IllegalArgument);
    assert_eq!(status.message(), Some("an argument"));
    assert_eq!(fail(2).unwrap().exception_code(), ExceptionCode::Security);
    assert_eq!(fail(3).unwrap().service_specific_error(), 77);
    assert_eq!(fail(5).unwrap().exception_code(), ExceptionCode::UnsupportedOperation);
    // What cannot be written.
    assert_eq!(fail(1000).unwrap_err(), StatusCode::Unknown);
    assert_eq!(ask(service, 99, |_| Ok(())).unwrap_err(), StatusCode::UnknownTransaction);
}

#[test]
fn a_binder_of_a_third_process_cannot_be_sent_on() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    services.manager().add_service("other", &service::new()).unwrap();
    let failed = ask(&services.service(), FOREIGN, |request| request.write("other")).unwrap_err();
    assert_eq!(failed, StatusCode::InvalidOperation);
    services.run_tests("BinderForeignTest");
    values(&services.service());
    server.end();
}

#[test]
fn many_clients_at_once() {
    let Some(services) = Services::new() else { return };
    let server = services.serve();
    let service = services.service();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    values(&service);
                    descriptors(&service);
                }
            });
        }
    });
    server.end();
}

struct Told(Mutex<mpsc::Sender<()>>);

impl DeathRecipient for Told {
    fn binder_died(&self, _: &WIBinder) {
        self.0.lock().unwrap().send(()).unwrap();
    }
}

#[test]
fn rust_is_told_of_the_death_of_a_java_service() {
    let Some(services) = Services::new() else { return };
    let mut server = services.serve();
    let service = services.service();
    let (sender, told) = mpsc::channel();
    let recipient = Arc::new(Told(Mutex::new(sender)));
    service.link_to_death_arc(&recipient).unwrap();
    server.kill();
    told.recv().unwrap();
    assert_eq!(ask(&service, CALLER, |_| Ok(())).unwrap_err(), StatusCode::DeadObject);
}
