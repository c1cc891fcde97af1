//! The driver's state machine under requests of all kinds: what is pinned is never taken away, and counts stay those of the ranges.
#![no_main]

use ashmem_device::model::{Access, Device, Flavour, MapCall, Pin};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Operation {
    SetName(Vec<u8>),
    SetSize(u64),
    SetProtection(u64, bool),
    Map { length: u64, offset: u64, protection: u8, shared: bool },
    Pin { offset: u32, length: u32 },
    Unpin { offset: u32, length: u32 },
    Pages { first: u8, count: u8, pin: bool },
    Read { offset: Option<i64>, length: u64 },
    PurgeAll,
    DropCaches,
    Shrink(u16),
    NotePinned(u64, u64),
    NoteUnpinned(u64, u64),
    NotePurged(u64, u64),
    Close,
}

fuzz_target!(|program: (u8, Vec<(bool, Operation)>)| {
    const PAGE: u64 = 4096;
    let (access, operations) = program;
    let access = match access % 3 {
        0 => Access::Read,
        1 => Access::Write,
        _ => Access::ReadWrite,
    };
    let mut device = Device::new(PAGE, Flavour::Mainline);
    let mut ids = [device.open(access), device.open(Access::ReadWrite)];
    for (which, operation) in operations.into_iter().take(200) {
        let which = usize::from(which);
        let id = ids[which];
        let Some(area) = device.area_mut(id) else { return };
        let mut taken = Vec::new();
        match operation {
            Operation::SetName(name) => drop(area.set_name(&name)),
            Operation::SetSize(size) => drop(area.set_size(size)),
            Operation::SetProtection(bits, implied) => {
                let before = area.protection();
                if area.set_protection(bits, implied).is_ok() && !implied {
                    assert_eq!(area.protection() & !before, 0);
                }
            }
            Operation::Map { length, offset, protection, shared } => {
                let call = MapCall { length, offset, protection: u64::from(protection & 7), shared };
                if area.check_map(&call).is_ok() {
                    area.mapped();
                }
            }
            Operation::Pin { offset, length } => drop(device.pin(id, Pin { offset, len: length })),
            Operation::Unpin { offset, length } => drop(device.unpin(id, Pin { offset, len: length })),
            Operation::Pages { first, count, pin } => {
                let request = Pin { offset: u32::from(first) * 4096, len: u32::from(count) * 4096 };
                if pin {
                    if device.pin(id, request).is_ok() && count > 0 {
                        assert_eq!(device.pin_status(id, request), Ok(true));
                    }
                } else {
                    drop(device.unpin(id, request));
                }
            }
            Operation::Read { offset, length } => drop(area.check_read(offset, length)),
            Operation::PurgeAll => {
                device.purge_all(&mut |id, pages| taken.push((id, pages)));
                assert!(ids.iter().all(|&id| device.unpinned(id).all(|(_, purged)| purged)));
            }
            Operation::DropCaches => drop(device.drop_caches(&mut |id, pages| taken.push((id, pages)))),
            Operation::Shrink(pages) => {
                device.shrink(u64::from(pages), &mut |id, pages| taken.push((id, pages)));
            }
            Operation::NotePinned(start, end) => device.note_pinned(id, start..end),
            Operation::NoteUnpinned(start, end) => device.note_unpinned(id, start..end),
            Operation::NotePurged(start, end) => device.note_purged(id, start..end),
            Operation::Close => {
                device.close(id);
                ids[which] = device.open(Access::ReadWrite);
            }
        }
        for (id, pages) in taken {
            // What went is in a range that says so.
            let inside = |range: &std::ops::Range<u64>| range.start <= pages.start && pages.end <= range.end;
            assert!(device.unpinned(id).any(|(range, purged)| purged && inside(&range)));
        }
        for id in ids {
            let ranges: Vec<_> = device.unpinned(id).map(|(range, _)| range).collect();
            assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
});
