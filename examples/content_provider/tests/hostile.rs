//! Providers that lie, clients that write nonsense, and memory that only the provider can write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use ashmem::{Mapping, Region};
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    self, Binder, ExceptionCode, Interface as _, Parcel, Remotable, SIBinder, Status, StatusCode,
    TransactionCode,
};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};
use common::{Place, Process, eventually};
use content_provider::window::{RecordBuilder, WindowWriter};
use content_provider::{ContentResolver, Error, Query, Value, ValueRef};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const PROVIDER: &str = "ashmem.example.IContentProvider";
const CURSOR: &str = "ashmem.example.IBulkCursor";
const ADDRESS: &str = "CONTENT_PROVIDER_TEST_ADDRESS";
const SIZE: u64 = 4096;
const ROWS: u64 = 20;

/// The position that a window is asked for says what comes.
const LIES: u64 = 14;
/// What is there at any position from here on: a window that is written all the time.
const RESTLESS: u64 = 1000;

struct LyingProvider;
struct LyingCursor {
    region: Region,
    /// Written as long as this is held.
    _mapping: Arc<Mapping>,
}

fn fine(reply: &mut Parcel) -> rsbinder::Result<()> {
    reply.write(&Status::from(ExceptionCode::None))
}

impl Remotable for LyingProvider {
    fn descriptor() -> &'static str {
        PROVIDER
    }

    fn on_transact(&self, _: TransactionCode, _: &mut Parcel, reply: &mut Parcel) -> rsbinder::Result<()> {
        fine(reply)?;
        reply.write_u32(2)?;
        reply.write("a")?;
        reply.write("b")?;
        let region = Region::create("restless", SIZE).unwrap();
        let mapping = Arc::new(region.map().unwrap());
        let writer = Arc::clone(&mapping);
        std::thread::spawn(move || {
            let mut number = 1u64;
            while Arc::strong_count(&writer) > 1 {
                if number % 16 == 1 {
                    write_window(&writer, RESTLESS);
                }
                number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                writer
                    .write_at((number >> 40) % (SIZE - 4), &((number >> 8) as u32 & 0xfff).to_le_bytes())
                    .unwrap();
            }
        });
        reply.write(&Binder::new(LyingCursor { region, _mapping: mapping }).as_binder())
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn write_window(mapping: &Mapping, first: u64) {
    let mut writer = WindowWriter::start(mapping, 2, first).unwrap();
    let mut record = RecordBuilder::new(2);
    for row in 0..ROWS {
        record.start();
        record.push(ValueRef::Integer(row as i64)).unwrap();
        record.push(ValueRef::Text(b"a text in a window")).unwrap();
        assert!(writer.push(&record).unwrap());
    }
    writer.finish(false).unwrap();
}

fn window(first: u64, change: impl FnOnce(&Mapping)) -> OwnedFd {
    let region = Region::create("window", SIZE).unwrap();
    let mapping = region.map().unwrap();
    write_window(&mapping, first);
    change(&mapping);
    region.into_fd().unwrap()
}

fn memfd(size: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("lie", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, size).unwrap();
    fd
}

impl Remotable for LyingCursor {
    fn descriptor() -> &'static str {
        CURSOR
    }

    fn on_transact(
        &self,
        _: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        let position = request.read_u64()?;
        let fd: OwnedFd = match position {
            0 => window(0, |_| {}),
            // Cannot be sealed against shrinking.
            1 => memfd(SIZE),
            2 => rustix::pipe::pipe().unwrap().0,
            3 => File::open("/dev/zero").unwrap().into(),
            4 => File::open("/proc/self/exe").unwrap().into(),
            5 => window(0, |mapping| mapping.fill(0, SIZE, 0xff).unwrap()),
            6 => window(100, |_| {}),
            7 => window(7, |mapping| mapping.write_at(4, &[9]).unwrap()),
            8 => window(8, |mapping| mapping.write_at(12, &[0xff; 4]).unwrap()),
            9 => window(9, |mapping| mapping.fill(SIZE - 8, 8, 0xff).unwrap()),
            10 => {
                fine(reply)?;
                reply.write(&None::<ParcelFileDescriptor>)?;
                return reply.write_u64(11);
            }
            11 => return reply.write(&Status::new_service_specific_error(-7, None)),
            12 => return Ok(()),
            13 => return Err(StatusCode::NoMemory),
            RESTLESS.. => self.region.share_read_only().unwrap(),
            _ => std::process::exit(0),
        };
        fine(reply)?;
        reply.write(&Some(ParcelFileDescriptor::new(fd)))
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn lying_provider() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let services = ServiceManager::at(&address).unwrap();
    services.add_service("liar", &Binder::new(LyingProvider).as_binder()).unwrap();
    println!("@ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

fn lying(place: &Place) -> (Process, ContentResolver) {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "lying_provider", "--ignored", "--nocapture", "--test-threads=1"]);
    let mut process = Process::start(command.env(ADDRESS, &place.address));
    while !process.line().ends_with("@ready") {}
    (process, ContentResolver::open(&place.services(), "liar").unwrap())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn each_lie_is_an_error_of_its_own() {
    let place = Place::new("");
    let (_process, resolver) = lying(&place);
    let mut cursor = resolver.query(&Query::table("any")).unwrap();
    let mut lies = || {
        for lie in 0..LIES {
            let found = cursor.move_to(lie);
            match lie {
                0 => {
                    assert!(found.unwrap());
                    assert_eq!(cursor.text(1).unwrap(), "a text in a window");
                    cursor.move_to(RESTLESS).ok();
                }
                1..=4 => assert!(matches!(found, Err(Error::Memory { .. })), "{lie}: {found:?}"),
                5..=9 => assert!(matches!(found, Err(Error::DamagedWindow { .. })), "{lie}: {found:?}"),
                10 | 11 => assert!(matches!(found, Err(Error::Garbage { .. })), "{lie}: {found:?}"),
                _ => assert!(matches!(found, Err(Error::Binder { .. })), "{lie}: {found:?}"),
            }
            assert!(lie == 0 || cursor.value(0).is_err(), "at no row");
        }
    };
    lies();
    let before = descriptors();
    for _ in 0..20 {
        lies();
    }
    // Others of this process may run at the same time.
    eventually("descriptors are closed", || descriptors() <= before + 8);
    assert!(cursor.move_to(LIES).unwrap_err().is_dead());
}

#[test]
fn a_window_that_is_written_meanwhile_gives_answers_or_errors() {
    let place = Place::new("");
    let (_process, resolver) = lying(&place);
    let mut cursor = resolver.query(&Query::table("any")).unwrap();
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let moves = prop::collection::vec((RESTLESS..RESTLESS + 2 * ROWS, any::<bool>()), 1..20);
    let cursor = std::cell::RefCell::new(&mut cursor);
    runner
        .run(&moves, |moves| {
            let cursor = &mut **cursor.borrow_mut();
            for (position, next) in moves {
                let found = if next { cursor.move_to_next() } else { cursor.move_to(position) };
                match found {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(Error::DamagedWindow { .. } | Error::Memory { .. } | Error::Garbage { .. }) => {
                        continue;
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
                // A copy: it does not change any more, whatever it is.
                for column in 0..2 {
                    let once = cursor
                        .value(column)
                        .map(|value| format!("{value:?}"))
                        .map_err(|error| error.to_string());
                    let again = cursor
                        .value(column)
                        .map(|value| format!("{value:?}"))
                        .map_err(|error| error.to_string());
                    prop_assert_eq!(once, again);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// A request as any client can write it.
fn send(
    binder: &SIBinder,
    interface: &str,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(interface)?;
    write(&mut request)?;
    proxy.transact(code, &request, 0)?.ok_or(StatusCode::UnexpectedNull)
}

/// A cursor of a real provider, as it comes.
fn raw_cursor(provider: &SIBinder) -> SIBinder {
    let mut reply = send(provider, PROVIDER, 1, |request| {
        request.write("t")?;
        request.write_u32(0)?;
        request.write(&None::<String>)?;
        request.write_u32(0)?;
        request.write_u32(0)?;
        request.write_i64(-1)
    })
    .unwrap();
    assert!(reply.read::<Status>().unwrap().is_ok());
    for _ in 0..reply.read_u32().unwrap() {
        reply.read::<String>().unwrap();
    }
    reply.read().unwrap()
}

const TABLE: &str = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'one'), (2, 'two')";

#[test]
fn nobody_but_the_provider_writes() {
    let place = Place::new(TABLE);
    let _provider = place.serve(&[]);
    let cursor = raw_cursor(place.resolver().binder());
    let mut reply = send(&cursor, CURSOR, 1, |request| request.write_u64(0)).unwrap();
    assert!(reply.read::<Status>().unwrap().is_ok());
    let descriptor: Option<ParcelFileDescriptor> = reply.read().unwrap();
    let fd = OwnedFd::from(descriptor.unwrap());
    let again = File::options().read(true).write(true).open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let region = Region::from_fd(fd).unwrap();
    assert!(region.map().is_err());
    let before = region.map_read_only().unwrap().read_vec(0, 4096).unwrap();
    // Opened once more, for writing: the seal is what counts.
    if let Ok(mut file) = again {
        assert!(file.write_all(&[7; 64]).is_err());
        assert!(file.set_len(0).is_err());
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(&file, punch, 0, 4096).is_err());
        assert!(Region::from_fd(file.into()).is_err_and(|_| true) || region.map().is_err());
    }
    assert!(region.unpin(..).is_err() || region.purge().is_err() || region.map().is_err());
    assert_eq!(region.map_read_only().unwrap().read_vec(0, 4096).unwrap(), before);
}

#[test]
fn requests_that_are_nonsense_are_refused() {
    let place = Place::new(TABLE);
    let provider = place.serve(&[]);
    let resolver = place.resolver();
    let binder = resolver.binder().clone();
    let cursor = raw_cursor(&binder);
    let count = || resolver.query(&Query::table("t")).unwrap().count().unwrap();
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let word = prop_oneof![Just(0u32), Just(1), Just(2), Just(u32::MAX), 0u32..100, any::<u32>()];
    let requests = (any::<bool>(), 0u32..9, prop::option::of(Just("t")), prop::collection::vec(word, 0..30));
    let hostile = |(to_cursor, code, name, words): (bool, u32, Option<&str>, Vec<u32>)| {
        let (binder, interface) = if to_cursor { (&cursor, CURSOR) } else { (&binder, PROVIDER) };
        // No insert that could go right: the rows are counted.
        let code = if code == 2 && name.is_some() { 77 } else { code };
        if !to_cursor && code == 4 {
            return Ok(());
        }
        let _ = send(binder, interface, code, |request| {
            if let Some(name) = name {
                request.write(name)?;
            }
            words.iter().try_for_each(|word| request.write_u32(*word))
        });
        Ok(())
    };
    runner.run(&requests, hostile).unwrap();
    assert_eq!(count(), 2);
    let (before, _) = provider.holds();
    runner.run(&requests, hostile).unwrap();
    assert_eq!(count(), 2);
    eventually("descriptors are closed", || provider.holds().0 <= before + 8);
    for interface in ["", "other", CURSOR] {
        assert_eq!(send(&binder, interface, 1, |_| Ok(())).unwrap_err(), StatusCode::BadType);
    }
    // An observer that is none: it is told once, and forgotten.
    send(&binder, PROVIDER, 5, |request| {
        request.write(&None::<String>)?;
        request.write_bool(false)?;
        request.write_i64(0)?;
        request.write(&binder)
    })
    .ok();
    let values = content_provider::ContentValues::new().put("a", Value::from(3));
    assert!(resolver.insert("t", &values).is_ok());
    assert_eq!(count(), 3);
}
