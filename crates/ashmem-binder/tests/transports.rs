//! Services by name, whatever they are reached by: over sockets, and in `ci/vm` over the kernel's binder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use ashmem::{Region, SharedMemory};
use ashmem_binder::rsbinder::{
    self, Binder, DeathRecipient, Interface, Parcel, Remotable, SIBinder, StatusCode, TransactionCode,
    WIBinder,
};
use ashmem_binder::{
    Error, HeapFlags, MemoryHeapBase, ParcelFileDescriptor, ParcelableSharedMemory, interface_of, process_of,
};
use common::{LONG, Place, duplicate, transact};

const DESCRIPTOR: &str = "test.IParcels";
/// Writes the first byte of the memory behind a descriptor to the second one, and gives shared memory with the same two.
const COPY: TransactionCode = 1;
/// Calls the binder that it is given, and answers with what that answers.
const CALL_BACK: TransactionCode = 2;

struct Parcels;

impl Remotable for Parcels {
    fn descriptor() -> &'static str {
        DESCRIPTOR
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            COPY => {
                let fd: ParcelFileDescriptor = request.read()?;
                let region = Region::from_fd(fd.into()).map_err(|_| StatusCode::BadValue)?;
                let mapping = region.map().map_err(|_| StatusCode::BadValue)?;
                let byte: u8 = mapping.read_value(0).unwrap();
                mapping.write_value(1, &byte).unwrap();
                let memory = SharedMemory::create("answer", 2).unwrap();
                memory.map_read_write().unwrap().write_at(0, &[byte, byte]).unwrap();
                reply.write(&ParcelableSharedMemory(memory))
            }
            CALL_BACK => {
                let callback: SIBinder = request.read()?;
                let mut answer = transact(&callback, Answers::descriptor(), 1, |_| Ok(()))?;
                reply.write_i32(answer.read_i32()?)
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

/// In the client, for the server to call.
struct Answers;

impl Remotable for Answers {
    fn descriptor() -> &'static str {
        "test.IAnswers"
    }

    fn on_transact(&self, code: TransactionCode, _: &mut Parcel, reply: &mut Parcel) -> rsbinder::Result<()> {
        if code == 1 { reply.write_i32(42) } else { Err(StatusCode::UnknownTransaction) }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn server() {
    common::serve(|_| Binder::new(Parcels).as_binder());
}

#[test]
fn services_are_found_listed_and_replaced_when_their_process_ends() {
    let place = Place::new();
    let services = place.manager();
    for _ in 0..2 {
        let mut server = place.start("parcels");
        let name = place.name("parcels");
        assert_eq!(interface_of(server.binder()).unwrap(), DESCRIPTOR);
        assert_eq!(process_of(server.binder()).unwrap(), server.id());
        assert!(services.list_services().unwrap().contains(&name));
        let heap = MemoryHeapBase::create("other", 1, HeapFlags::empty()).unwrap();
        let taken = services.add_service(&name, &heap.binder());
        assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
        assert!(matches!(services.remove_service(&name), Err(Error::NoSuchService { .. })));

        let (tell, told) = mpsc::channel();
        let recipient = Arc::new(Deaths(Mutex::new(tell)));
        server.binder().link_to_death_arc(&recipient).unwrap();
        server.kill();
        told.recv_timeout(LONG).expect("the death is told");
        // A service manager that is a process hears of it in its own time.
        let until = Instant::now() + LONG;
        while services.check_service(&name).unwrap().is_some() {
            assert!(Instant::now() < until, "the name is not free");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let absent = services.wait_for_service(&place.name("absent"), Some(Duration::ZERO));
    assert!(matches!(absent, Err(Error::NoSuchService { .. })), "{absent:?}");
    let invalid = services.check_service("no such name");
    assert!(matches!(invalid, Err(Error::InvalidServiceName { .. })), "{invalid:?}");
}

#[test]
fn descriptors_go_both_ways_and_servers_call_back() {
    let place = Place::new();
    let server = place.start("parcels");
    let region = Region::create("sent", 2).unwrap();
    let mapping = region.map().unwrap();
    mapping.write_at(0, &[7, 0]).unwrap();
    let reply = transact(server.binder(), DESCRIPTOR, COPY, |request| {
        request.write(&ParcelFileDescriptor::new(duplicate(&region)))
    });
    let memory: ParcelableSharedMemory = reply.unwrap().read().unwrap();
    assert_eq!(memory.map_read_only().unwrap().read_vec(0, 2).unwrap(), [7, 7]);
    assert_eq!(mapping.read_vec(0, 2).unwrap(), [7, 7]);

    let reply = transact(server.binder(), DESCRIPTOR, CALL_BACK, |request| {
        request.write(&Binder::new(Answers).as_binder())
    });
    assert_eq!(reply.unwrap().read_i32().unwrap(), 42);
}

struct Deaths(Mutex<mpsc::Sender<()>>);

impl DeathRecipient for Deaths {
    fn binder_died(&self, _: &WIBinder) {
        let _ = self.0.lock().unwrap().send(());
    }
}
