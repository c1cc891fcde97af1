//! Servers that lie, answer garbage, or end in the middle of a call: each gives its client an error of its own, and costs it
//! no descriptor.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashmem::{Protection, Region, page_size};
use ashmem_binder::rsbinder::shared_memory::{
    BnMemoryHeap, GET_MEMORY, HEAP_ID, IMEMORY_DESCRIPTOR, IMEMORY_HEAP_DESCRIPTOR, IMemoryHeap, SharedBytes,
};
use ashmem_binder::rsbinder::{
    self, Binder, Interface, Parcel, ParcelFileDescriptor, Remotable, SIBinder, StatusCode, TransactionCode,
};
use ashmem_binder::{BpMemory, BpMemoryHeap, Error, HeapFlags, MemoryHeapBase};
use common::{Place, duplicate, transact};
use rustix::fs::{MemfdFlags, SealFlags};

/// Hands out what a number says.
struct Liar;

impl Remotable for Liar {
    fn descriptor() -> &'static str {
        "test.ILiar"
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            HEAPS => reply.write(&lies()[request.read_u32()? as usize].2()),
            WINDOWS => reply.write(&Binder::new(FalseWindow(request.read_u32()? as usize)).as_binder()),
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

const HEAPS: TransactionCode = 1;
const WINDOWS: TransactionCode = 2;

/// A heap that is not what it says.
struct FalseHeap {
    fd: Option<OwnedFd>,
    size: usize,
    offset: usize,
    flags: u32,
}

impl IMemoryHeap for FalseHeap {
    fn heap_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn offset(&self) -> usize {
        self.offset
    }

    fn base(&self) -> Option<SharedBytes<'_>> {
        None
    }
}

fn heap(fd: impl Into<OwnedFd>, size: usize, offset: usize, flags: u32) -> SIBinder {
    let heap = FalseHeap { fd: Some(fd.into()), size, offset, flags };
    Binder::new(BnMemoryHeap(Arc::new(heap))).as_binder()
}

/// `IMemoryHeap` by its token, with any reply.
struct Replies(fn(&mut Parcel) -> rsbinder::Result<()>);

impl Remotable for Replies {
    fn descriptor() -> &'static str {
        IMEMORY_HEAP_DESCRIPTOR
    }

    fn on_transact(&self, code: TransactionCode, _: &mut Parcel, reply: &mut Parcel) -> rsbinder::Result<()> {
        if code == HEAP_ID { self.0(reply) } else { Err(StatusCode::UnknownTransaction) }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn replies(write: fn(&mut Parcel) -> rsbinder::Result<()>) -> SIBinder {
    Binder::new(Replies(write)).as_binder()
}

fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("lie", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, size).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

fn purgeable() -> OwnedFd {
    Region::options().purgeable().create("lie", PAGE).unwrap().into_fd().unwrap()
}

fn masked(mask: Protection) -> OwnedFd {
    let region = Region::create("lie", PAGE).unwrap();
    region.set_protection(mask).unwrap();
    region.into_fd().unwrap()
}

fn pipe() -> OwnedFd {
    rustix::pipe::pipe().unwrap().0
}

fn directory() -> OwnedFd {
    File::open("/").unwrap().into()
}

const PAGE: u64 = 65536;

/// What is said of it, whether the client maps it all the same, and the heap.
type Lie = (&'static str, bool, fn() -> SIBinder);

fn lies() -> Vec<Lie> {
    const SIZE: usize = PAGE as usize;
    vec![
        ("honest", true, || heap(memfd(PAGE, SealFlags::SHRINK), SIZE, 0, 0)),
        ("unsealed", true, || heap(memfd(PAGE, SealFlags::empty()), SIZE, 0, 0)),
        ("unknown flags", true, || heap(memfd(PAGE, SealFlags::empty()), SIZE, 0, 0xffff_fffe)),
        ("a part", true, || heap(memfd(2 * PAGE, SealFlags::SHRINK), SIZE, SIZE, 1)),
        ("shrinkable for ever", false, || heap(memfd(PAGE, SealFlags::SEAL), SIZE, 0, 0)),
        ("a pipe", false, || heap(pipe(), SIZE, 0, 0)),
        ("a directory", false, || heap(directory(), SIZE, 0, 1)),
        ("a file", false, || heap(File::open("/proc/self/exe").unwrap(), 4096, 0, 1)),
        ("a device", false, || heap(File::open("/dev/zero").unwrap(), SIZE, 0, 1)),
        ("too small", false, || heap(memfd(PAGE / 2, SealFlags::SHRINK), SIZE, 0, 0)),
        ("empty file", false, || heap(memfd(0, SealFlags::SHRINK), SIZE, 0, 0)),
        ("size 0", false, || heap(memfd(PAGE, SealFlags::SHRINK), 0, 0, 0)),
        ("size too large", false, || heap(memfd(PAGE, SealFlags::SHRINK), usize::MAX, 0, 0)),
        ("size overflows", false, || heap(memfd(PAGE, SealFlags::SHRINK), usize::MAX, SIZE, 0)),
        ("unaligned", false, || heap(memfd(2 * PAGE, SealFlags::SHRINK), SIZE, 12, 0)),
        ("offset outside", false, || heap(memfd(PAGE, SealFlags::SHRINK), SIZE, SIZE, 0)),
        ("negative offset", false, || heap(memfd(PAGE, SealFlags::SHRINK), SIZE, SIZE.wrapping_neg(), 0)),
        ("into the control block", false, || heap(purgeable(), SIZE + page_size() as usize, 0, 0)),
        ("the control block", false, || heap(purgeable(), page_size() as usize, SIZE, 0)),
        ("write-sealed, not said", false, || {
            heap(memfd(PAGE, SealFlags::SHRINK | SealFlags::FUTURE_WRITE), SIZE, 0, 0)
        }),
        ("nobody may read it", false, || heap(masked(Protection::empty()), SIZE, 0, 1)),
        ("everybody may read it", true, || heap(masked(Protection::READ), SIZE, 0, 1)),
        ("no descriptor", false, || {
            let heap = FalseHeap { fd: None, size: SIZE, offset: 0, flags: 0 };
            Binder::new(BnMemoryHeap(Arc::new(heap))).as_binder()
        }),
        ("another interface", false, || Binder::new(Liar).as_binder()),
        ("nothing", false, || replies(|_| Ok(()))),
        ("numbers", false, || replies(|reply| (0..64).try_for_each(|number| reply.write_u64(number)))),
        ("a megabyte", false, || replies(|reply| (0..1 << 17).try_for_each(|_| reply.write_u64(2)))),
        ("another descriptor format", false, || {
            replies(|reply| {
                reply.write(&ParcelFileDescriptor::new(memfd(PAGE, SealFlags::SHRINK)))?;
                reply.write_u64(PAGE)
            })
        }),
        ("many descriptors", false, || {
            replies(|reply| {
                (0..50).try_for_each(|_| reply.write(&ParcelFileDescriptor::new(File::open("/dev/null")?)))
            })
        }),
        ("a status", false, || replies(|_| Err(StatusCode::Errno(-42)))),
        ("a panic", false, || replies(|_| std::panic::resume_unwind(Box::new("meant")))),
    ]
}

/// `IMemory`, with any window of a real heap of one page.
struct FalseWindow(usize);

/// What is said of it, whether it is right, and the reply.
type FalseReply = (&'static str, bool, fn(&mut Parcel, &MemoryHeapBase) -> rsbinder::Result<()>);

const FALSE_WINDOWS: [FalseReply; 13] = [
    ("honest", true, |reply, heap| window(reply, heap, 0, 10)),
    ("all of it", true, |reply, heap| window(reply, heap, 0, heap.size())),
    ("empty", false, |reply, heap| window(reply, heap, 0, 0)),
    ("too large", false, |reply, heap| window(reply, heap, 0, heap.size() + 1)),
    ("outside", false, |reply, heap| window(reply, heap, heap.size() as i64, 1)),
    ("negative", false, |reply, heap| window(reply, heap, -1, 1)),
    ("overflow", false, |reply, heap| window(reply, heap, 1, u64::MAX)),
    ("the most negative", false, |reply, heap| window(reply, heap, i64::MIN, u64::MAX)),
    ("no heap", false, |reply, _| reply.write(&None::<SIBinder>)),
    ("short", false, |reply, heap| reply.write(&heap.binder())),
    ("nothing", false, |_, _| Ok(())),
    ("not a heap", false, |reply, _| {
        reply.write(&Binder::new(Liar).as_binder())?;
        reply.write_i64(0)?;
        reply.write_u64(1)
    }),
    ("numbers", false, |reply, _| (0..64).try_for_each(|number| reply.write_u64(number << 30))),
];

fn window(reply: &mut Parcel, heap: &MemoryHeapBase, offset: i64, size: u64) -> rsbinder::Result<()> {
    reply.write(&heap.binder())?;
    reply.write_i64(offset)?;
    reply.write_u64(size)
}

impl Remotable for FalseWindow {
    fn descriptor() -> &'static str {
        IMEMORY_DESCRIPTOR
    }

    fn on_transact(&self, code: TransactionCode, _: &mut Parcel, reply: &mut Parcel) -> rsbinder::Result<()> {
        if code != GET_MEMORY {
            return Err(StatusCode::UnknownTransaction);
        }
        let heap = MemoryHeapBase::create("window's", 1, HeapFlags::empty())?;
        FALSE_WINDOWS[self.0].2(reply, &heap)
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

/// Ends its process when it is asked for its memory.
struct Dies;

impl Remotable for Dies {
    fn descriptor() -> &'static str {
        IMEMORY_HEAP_DESCRIPTOR
    }

    fn on_transact(&self, code: TransactionCode, _: &mut Parcel, _: &mut Parcel) -> rsbinder::Result<()> {
        if code == HEAP_ID { std::process::abort() } else { Err(StatusCode::UnknownTransaction) }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn server() {
    common::serve(|role| match role {
        "liar" => Binder::new(Liar).as_binder(),
        "dies" => Binder::new(Dies).as_binder(),
        "heap" => MemoryHeapBase::create("heap", 1, HeapFlags::empty()).unwrap().binder(),
        role => panic!("{role}"),
    });
}

/// The tests of this file count this process's descriptors, so they run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get(service: &SIBinder, code: TransactionCode, number: usize) -> SIBinder {
    let reply = transact(service, "test.ILiar", code, |request| request.write_u32(number as u32));
    reply.unwrap().read().unwrap()
}

#[test]
fn lies_about_heaps_are_errors() {
    let _alone = alone();
    let place = Place::new();
    let mut server = place.start("liar");
    let round = || {
        for (number, (what, holds, _)) in lies().into_iter().enumerate() {
            let binder = get(server.binder(), HEAPS, number);
            let heap = match BpMemoryHeap::from_binder(&binder) {
                Ok(heap) => heap,
                Err(error) => {
                    assert!(matches!(error, Error::WrongInterface { .. }), "{what}: {error}");
                    continue;
                }
            };
            match heap.heap() {
                Ok(heap) if holds => {
                    assert_eq!(heap.size(), PAGE, "{what}");
                    let mapping = heap.mapping().unwrap();
                    assert_eq!(mapping.read_vec(0, PAGE).unwrap().len(), PAGE as usize, "{what}");
                    // Nobody can take a page away from under it.
                    rustix::fs::ftruncate(heap, 0).unwrap_err();
                }
                Ok(heap) => panic!("{what}: {heap:?}"),
                Err(error) => {
                    assert!(!holds, "{what}: {error}");
                    assert!(!error.is_dead(), "{what}: {error}");
                }
            }
        }
    };
    round();
    // What is let go is closed; the server closes what it hears of with the next calls.
    let before = common::descriptors();
    (0..10).for_each(|_| round());
    assert!(common::descriptors() <= before);
    assert!(server.is_alive());
}

#[test]
fn lies_about_windows_are_errors() {
    let _alone = alone();
    let place = Place::new();
    let mut server = place.start("liar");
    let round = || {
        for (number, (what, holds, _)) in FALSE_WINDOWS.into_iter().enumerate() {
            let memory = BpMemory::from_binder(&get(server.binder(), WINDOWS, number)).unwrap();
            match memory.window() {
                Ok(window) if holds => {
                    let view = window.view().unwrap();
                    assert_eq!(view.len(), window.size(), "{what}");
                    view.write_at(window.size() - 1, b"x").unwrap();
                }
                Ok(window) => panic!("{what}: {window:?}"),
                Err(error) => assert!(!holds && !error.is_dead(), "{what}: {error}"),
            }
        }
    };
    round();
    let before = common::descriptors();
    (0..10).for_each(|_| round());
    assert!(common::descriptors() <= before);
    assert!(server.is_alive());
}

#[test]
fn a_server_may_end_in_the_middle_of_a_call() {
    let _alone = alone();
    let place = Place::new();
    let server = place.start("dies");
    let heap = BpMemoryHeap::from_binder(server.binder()).unwrap();
    let error = heap.heap().unwrap_err();
    assert!(error.is_dead(), "{error}");
    // And again, now that this is known.
    assert!(heap.heap().unwrap_err().is_dead());
}

#[test]
fn hostile_clients_get_errors_and_the_server_goes_on() {
    let _alone = alone();
    let place = Place::new();
    let mut server = place.start("heap");
    let binder = server.binder().clone();
    let heap = BpMemoryHeap::from_binder(&binder).unwrap();
    heap.heap().unwrap();
    let is_rpc = std::env::var_os("ASHMEM_BINDER").is_none();
    let before = server.descriptors();
    for _ in 0..20 {
        for token in ["", "another.Interface", IMEMORY_DESCRIPTOR, "\u{0}", &"x".repeat(10_000)] {
            let refused = transact(&binder, token, HEAP_ID, |_| Ok(())).unwrap_err();
            // The kernel's transport sends no token at all then.
            assert!(matches!(refused, StatusCode::BadType | StatusCode::NotEnoughData), "{refused:?}");
        }
        for code in [2, 3, 1000, 0x00ff_ffff, 0x5f00_0000, u32::MAX] {
            let _ = transact(&binder, IMEMORY_HEAP_DESCRIPTOR, code, |_| Ok(())).map(drop);
        }
        // More than is asked for, with descriptors that nobody wants.
        let too_much = transact(&binder, IMEMORY_HEAP_DESCRIPTOR, HEAP_ID, |request| {
            (0..1000).try_for_each(|number| request.write_u64(number))?;
            let fd = || Ok::<_, StatusCode>(ParcelFileDescriptor::new(duplicate(File::open("/dev/null")?)));
            (0..10).try_for_each(|_| request.write(&fd()?))
        });
        too_much.map(drop).unwrap();
        if is_rpc {
            // Without even a token.
            let proxy = binder.as_remote().unwrap();
            let bare = proxy.prepare_transact(false).unwrap();
            proxy.submit_transact(HEAP_ID, &bare, 0).map(drop).unwrap_err();
        }
    }
    let another = BpMemoryHeap::from_binder(&binder).unwrap();
    assert_eq!(another.heap().unwrap().size(), page_size());
    assert!(server.is_alive());
    // It closes what it was sent when it gets to it.
    let until = Instant::now() + common::LONG;
    while server.descriptors() > before {
        assert!(Instant::now() < until, "{} descriptors, {before} before", server.descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
}
