//! Heaps and windows that another process serves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, mpsc};

use ashmem::{Contents, PinStatus, Region, page_size};
use ashmem_binder::rsbinder::{
    self, Binder, DeathRecipient, Interface, Parcel, Remotable, SIBinder, StatusCode, TransactionCode,
    WIBinder,
};
use ashmem_binder::{BpMemory, BpMemoryHeap, Error, HeapFlags, MemoryBase, MemoryDealer, MemoryHeapBase};
use common::{Place, duplicate, transact};

const DESCRIPTOR: &str = "test.IHeaps";

/// Gives a heap of a size, with flags, from an offset on in its region.
const HEAP: TransactionCode = 1;
/// Gives so many windows of a dealer.
const WINDOWS: TransactionCode = 2;
/// Does something with the last heap: see [`Order`].
const ORDER: TransactionCode = 3;

const WRITE: i32 = 0;
const READ: i32 = 1;
const UNPIN: i32 = 2;
const PURGE: i32 = 3;
const PIN: i32 = 4;

#[derive(Default)]
struct Heaps {
    last: Mutex<Option<MemoryHeapBase>>,
    dealer: Mutex<Option<(MemoryDealer, Vec<MemoryBase>)>>,
}

impl Heaps {
    fn order(&self, order: i32, argument: u64) -> Result<u64, Error> {
        let last = self.last.lock().unwrap();
        let heap = last.as_ref().unwrap();
        Ok(match order {
            WRITE => {
                heap.mapping()?.write_value(0, &argument).map_err(|_| Error::NotMapped)?;
                0
            }
            READ => heap.mapping()?.read_value(0).unwrap(),
            UNPIN => heap.unpin(..).map(|()| 0)?,
            PURGE => heap.region()?.purge().unwrap(),
            PIN => u64::from(heap.pin(..)? == Contents::Purged),
            _ => panic!("unknown order"),
        })
    }
}

impl Remotable for Heaps {
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
            HEAP => {
                let (size, flags, offset) = (request.read_u64()?, request.read_u32()?, request.read_u64()?);
                let flags = HeapFlags::from_bits_retain(flags);
                let heap = if offset == 0 {
                    MemoryHeapBase::create("served", size, flags)?
                } else {
                    let region = Region::options().purgeable().create("served", offset + size).unwrap();
                    MemoryHeapBase::from_fd(duplicate(&region), size, flags, offset)?
                };
                let binder = heap.binder();
                *self.last.lock().unwrap() = Some(heap);
                reply.write(&binder)
            }
            WINDOWS => {
                let count = request.read_u32()?;
                let mut dealer = self.dealer.lock().unwrap();
                let (dealer, windows) = dealer.get_or_insert_with(|| {
                    (MemoryDealer::new("dealt out", 64 << 20, HeapFlags::empty()).unwrap(), Vec::new())
                });
                for _ in 0..count {
                    let window = dealer.allocate(40)?;
                    let number = (windows.len() as u32).to_le_bytes();
                    window.view().unwrap().write_at(36, &number).unwrap();
                    reply.write(&window.binder())?;
                    windows.push(window);
                }
                Ok(())
            }
            ORDER => {
                let answer = self.order(request.read_i32()?, request.read_u64()?)?;
                reply.write_u64(answer)
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn server() {
    raise_limit();
    common::serve(|_| Binder::new(Heaps::default()).as_binder());
}

fn get_heap(service: &SIBinder, size: u64, flags: HeapFlags, offset: u64) -> SIBinder {
    let mut reply = transact(service, DESCRIPTOR, HEAP, |request| {
        request.write_u64(size)?;
        request.write_u32(flags.bits())?;
        request.write_u64(offset)
    });
    reply.as_mut().unwrap().read().unwrap()
}

fn order(service: &SIBinder, order: i32, argument: u64) -> u64 {
    let reply = transact(service, DESCRIPTOR, ORDER, |request| {
        request.write_i32(order)?;
        request.write_u64(argument)
    });
    reply.unwrap().read_u64().unwrap()
}

/// Allows as many descriptors as it may.
fn raise_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.current.unwrap_or(u64::MAX)
}

/// How often a file with this name is mapped in this process.
fn mappings(inode: u64) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let inode = inode.to_string();
    maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count()
}

#[test]
fn memory_and_pins_are_shared() {
    let place = Place::new();
    let server = place.start("heaps");
    let heap = BpMemoryHeap::from_binder(&get_heap(server.binder(), 10_000, HeapFlags::empty(), 0)).unwrap();
    assert!(!heap.is_mapped());
    let heap = heap.heap().unwrap();
    assert_eq!(heap.size(), 10_000_u64.next_multiple_of(page_size()));
    assert_eq!((heap.offset(), heap.flags(), heap.is_writable()), (0, HeapFlags::empty(), true));

    heap.mapping().unwrap().write_value(0, &7_u64).unwrap();
    assert_eq!(order(server.binder(), READ, 0), 7);
    order(server.binder(), WRITE, 8);
    assert_eq!(heap.mapping().unwrap().read_value::<u64>(0).unwrap(), 8);

    // The server unpins, the client keeps a lease, then lets go.
    order(server.binder(), UNPIN, 0);
    assert_eq!(heap.pin_status(..).unwrap(), PinStatus::Unpinned);
    let lease = heap.lease(..).unwrap();
    assert_eq!(lease.contents(), Contents::Intact);
    assert_eq!(order(server.binder(), PURGE, 0), 0);
    assert_eq!(heap.mapping().unwrap().read_value::<u64>(0).unwrap(), 8);
    drop(lease);
    assert_ne!(order(server.binder(), PURGE, 0), 0);
    assert_eq!(heap.lease(..).unwrap().contents(), Contents::Purged);
    assert_eq!(heap.pin(..).unwrap(), Contents::Purged);
    assert_eq!(heap.mapping().unwrap().read_value::<u64>(0).unwrap(), 0);

    // The client unpins, and the server learns what became of it.
    heap.unpin(..).unwrap();
    heap.region().unwrap().purge().unwrap();
    assert_eq!(order(server.binder(), PIN, 0), 1);
    assert_eq!(order(server.binder(), PIN, 0), 0);
}

#[test]
fn a_heap_may_be_a_part_of_its_region() {
    let place = Place::new();
    let server = place.start("heaps");
    let page = page_size();
    let binder = get_heap(server.binder(), 2 * page, HeapFlags::empty(), page);
    let heap = BpMemoryHeap::from_binder(&binder).unwrap();
    let heap = heap.heap().unwrap();
    assert_eq!((heap.offset(), heap.size()), (page, 2 * page));
    assert_eq!(heap.region().unwrap().size(), 3 * page);
    order(server.binder(), WRITE, 5);
    assert_eq!(heap.mapping().unwrap().read_value::<u64>(0).unwrap(), 5);

    heap.unpin(page..).unwrap();
    let region = heap.region().unwrap();
    assert_eq!(region.pin_status(..2 * page).unwrap(), PinStatus::Pinned);
    assert_eq!(region.pin_status(2 * page..).unwrap(), PinStatus::Unpinned);
    let outside = heap.unpin(page..3 * page).unwrap_err();
    assert!(matches!(outside, Error::OutOfHeap { .. }), "{outside}");
    let unaligned = heap.pin(1..page).unwrap_err();
    assert!(matches!(unaligned, Error::Memory { .. }), "{unaligned}");
}

#[test]
fn read_only_heaps_can_be_written_by_their_server_alone() {
    let place = Place::new();
    let server = place.start("heaps");
    let binder = get_heap(server.binder(), 4096, HeapFlags::READ_ONLY, 0);
    let heap = BpMemoryHeap::from_binder(&binder).unwrap();
    let heap = heap.heap().unwrap();
    order(server.binder(), WRITE, 9);
    assert_eq!(heap.mapping().unwrap().read_value::<u64>(0).unwrap(), 9);
    assert!(!heap.is_writable());
    heap.mapping().unwrap().write_value(0, &1_u64).unwrap_err();
    // Whatever this library does, the kernel refuses.
    let region = heap.region().unwrap();
    assert_eq!(region.map().unwrap_err().raw_os_error(), rustix::io::Errno::PERM.raw_os_error());
    rustix::io::pwrite(region, b"x", 0).unwrap_err();
    rustix::fs::ftruncate(region, 8192).unwrap_err();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&region.as_fd()));
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    std::io::Write::write(&mut file, b"x").unwrap_err();
}

#[test]
fn what_a_server_did_not_map_its_clients_do() {
    let place = Place::new();
    let server = place.start("heaps");
    let binder = get_heap(server.binder(), 4096, HeapFlags::DONT_MAP_LOCALLY, 0);
    let heap = BpMemoryHeap::from_binder(&binder).unwrap();
    let heap = heap.heap().unwrap();
    assert_eq!(heap.flags(), HeapFlags::DONT_MAP_LOCALLY);
    heap.mapping().unwrap().write_value(0, &1_u64).unwrap();
    let refused = transact(server.binder(), DESCRIPTOR, ORDER, |request| {
        request.write_i32(READ)?;
        request.write_u64(0)
    });
    assert_eq!(refused.unwrap_err(), StatusCode::InvalidOperation);
}

#[test]
fn a_heap_is_asked_for_once_and_mapped_once() {
    let place = Place::new();
    let server = place.start("heaps");
    let binder = get_heap(server.binder(), 1 << 20, HeapFlags::empty(), 0);
    let first = BpMemoryHeap::from_binder(&binder).unwrap();
    let inode = first.heap().unwrap().region().unwrap().file_id().unwrap();
    let expected = mappings(inode);
    let again = BpMemoryHeap::from_binder(&binder).unwrap();
    assert!(again.is_mapped());
    assert!(std::ptr::eq(again.heap().unwrap(), first.heap().unwrap()));
    assert_eq!(mappings(inode), expected);
    drop((first, again));
    assert_eq!(mappings(inode), 0);
}

#[test]
fn the_memory_stays_when_its_server_is_killed() {
    let place = Place::new();
    let mut server = place.start("heaps");
    let heap = BpMemoryHeap::from_binder(&get_heap(server.binder(), 1 << 20, HeapFlags::empty(), 0)).unwrap();
    let other = BpMemoryHeap::from_binder(&get_heap(server.binder(), 4096, HeapFlags::empty(), 0)).unwrap();
    order(server.binder(), WRITE, 3);
    let last = other.heap().unwrap();
    let unasked = BpMemory::from_binder(&windows(server.binder(), 1)[0]).unwrap();
    heap.heap().unwrap();

    let (tell, told) = mpsc::channel();
    let recipient = Arc::new(Deaths(Mutex::new(tell)));
    heap.binder().link_to_death_arc(&recipient).unwrap();
    server.kill();
    told.recv_timeout(common::LONG).expect("the death is told");

    assert_eq!(last.mapping().unwrap().read_value::<u64>(0).unwrap(), 3);
    last.mapping().unwrap().write_value(0, &4_u64).unwrap();
    last.unpin(..).unwrap();
    last.region().unwrap().purge().unwrap();
    assert_eq!(last.pin(..).unwrap(), Contents::Purged);
    let dead = unasked.window().unwrap_err();
    assert!(dead.is_dead(), "{dead}");

    let server = place.start("heaps");
    assert_eq!(windows(server.binder(), 1).len(), 1);
}

struct Deaths(Mutex<mpsc::Sender<()>>);

impl DeathRecipient for Deaths {
    fn binder_died(&self, _: &WIBinder) {
        let _ = self.0.lock().unwrap().send(());
    }
}

#[test]
fn a_client_has_thousands_of_heaps_and_windows() {
    let heaps = (HEAPS / fewer()).min(raise_limit() - 1000);
    let place = Place::new();
    let server = place.start("heaps");
    let before = server.descriptors();
    let binders: Vec<_> =
        (0..heaps).map(|_| get_heap(server.binder(), 4096, HeapFlags::empty(), 0)).collect();
    let heaps: Vec<_> = binders.iter().map(|binder| BpMemoryHeap::from_binder(binder).unwrap()).collect();
    for (number, heap) in heaps.iter().enumerate() {
        heap.heap().unwrap().mapping().unwrap().write_value(0, &(number as u64)).unwrap();
    }
    assert_eq!(order(server.binder(), READ, 0), heaps.len() as u64 - 1);
    for (number, heap) in heaps.iter().enumerate() {
        assert_eq!(heap.heap().unwrap().mapping().unwrap().read_value::<u64>(0).unwrap(), number as u64);
    }
    drop((heaps, binders));

    let mut all = Vec::new();
    while all.len() < WINDOWS_IN_ALL / fewer() as usize {
        let binders = windows(server.binder(), 1000);
        all.extend(binders.iter().map(|binder| BpMemory::from_binder(binder).unwrap()));
    }
    let inode = all[0].window().unwrap().heap().region().unwrap().file_id().unwrap();
    let expected = mappings(inode);
    for (number, window) in all.iter().enumerate() {
        let window = window.window().unwrap();
        let found: u32 = window.view().unwrap().read_value(36).unwrap();
        assert_eq!((found, window.size()), (number as u32, 40));
    }
    assert_eq!(mappings(inode), expected);
    // Of the heaps the server has kept the last one.
    let until = std::time::Instant::now() + common::LONG;
    while server.descriptors() > before + 64 {
        assert!(std::time::Instant::now() < until, "{} descriptors", server.descriptors());
        // What was let go is told with the next transaction.
        order(server.binder(), READ, 0);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// The kernel's binder is tested in a machine that is emulated, which takes a hundred times as long.
fn fewer() -> u64 {
    if std::env::var_os("ASHMEM_BINDER").is_some() { 20 } else { 1 }
}

/// Fewer where there may not be a descriptor for each.
const HEAPS: u64 = 10_000;
const WINDOWS_IN_ALL: usize = 100_000;

fn windows(service: &SIBinder, count: u32) -> Vec<SIBinder> {
    let mut reply = transact(service, DESCRIPTOR, WINDOWS, |request| request.write_u32(count)).unwrap();
    (0..count).map(|_| reply.read().unwrap()).collect()
}
