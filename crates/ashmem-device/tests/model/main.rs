//! Random operations on the model and on a literal, naive copy of the driver's lists: the same answers, the same
//! ranges, the same order of purging.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod reference;

use std::ops::Range;

use ashmem_device::model::{Access, AreaId, Device, Flavour, Pin};
use proptest::prelude::*;
use reference::Reference;

const PAGE: u64 = 4096;

/// Pages that are looked at one by one, and that notes are about.
const WATCHED: u64 = 24;

/// Sizes of areas: whole and broken pages, and around the limits of the 32-bit arithmetic.
const SIZES: &[u64] = &[
    16 * PAGE,
    5 * PAGE + 1,
    PAGE,
    300 * PAGE,
    0xffff_f000,
    1 << 32,
    (1 << 32) + 3 * PAGE,
    (1 << 32) + 7 * PAGE - 1,
    (1 << 63) - 1,
];

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Close(usize),
    DropRanges(usize),
    Pin(usize, Pin),
    Unpin(usize, Pin),
    Status(usize, Pin),
    EveryOther(usize),
    PurgeAll,
    Shrink(u64),
    DropCaches,
    NotePinned(usize, Range<u64>),
    NoteUnpinned(usize, Range<u64>),
    NotePurged(usize, Range<u64>),
}

fn pin() -> impl Strategy<Value = Pin> + Clone {
    let pages = (0..18_u32, 0..6_u32).prop_map(|(offset, len)| Pin { offset: offset << 12, len: len << 12 });
    let edges = (
        prop::sample::select(vec![0, 0x1000, 0x3000, 0x4000, 0x7000, 0x10000, 0xffff_e000, 0xffff_f000, 1]),
        prop::sample::select(vec![0, 0, 0, 0x1000, 0x10000, 0xffff_e000, 0xffff_f000, 0xffff_ffff, 7]),
    )
        .prop_map(|(offset, len)| Pin { offset, len });
    prop_oneof![3 => pages, 2 => edges]
}

fn step() -> impl Strategy<Value = Step> {
    let area = 0..64_usize;
    let pages = (0..20_u64, 0..8_u64).prop_map(|(start, count)| start..start + count);
    let noted = (area.clone(), pages);
    let pinned = (area.clone(), pin());
    prop_oneof![
        2 => (0..SIZES.len()).prop_map(Step::Open),
        1 => area.clone().prop_map(Step::Close),
        1 => area.clone().prop_map(Step::DropRanges),
        10 => pinned.clone().prop_map(|(area, pin)| Step::Pin(area, pin)),
        16 => pinned.clone().prop_map(|(area, pin)| Step::Unpin(area, pin)),
        5 => pinned.prop_map(|(area, pin)| Step::Status(area, pin)),
        1 => area.prop_map(Step::EveryOther),
        1 => Just(Step::PurgeAll),
        4 => (0..40_u64).prop_map(Step::Shrink),
        2 => Just(Step::DropCaches),
        2 => noted.clone().prop_map(|(area, pages)| Step::NotePinned(area, pages)),
        4 => noted.clone().prop_map(|(area, pages)| Step::NoteUnpinned(area, pages)),
        2 => noted.prop_map(|(area, pages)| Step::NotePurged(area, pages)),
    ]
}

/// The model and the reference, with the same areas.
struct Pair {
    device: Device,
    reference: Reference,
    ids: Vec<Option<AreaId>>,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            device: Device::new(PAGE, Flavour::Mainline),
            reference: Reference::default(),
            ids: Vec::new(),
        };
        pair.open(SIZES[0]);
        pair.open((1 << 32) + 3 * PAGE);
        pair
    }

    fn open(&mut self, size: u64) {
        let id = self.device.open(Access::ReadWrite);
        let area = self.device.area_mut(id).unwrap();
        area.set_size(size).unwrap();
        area.mapped();
        self.ids.push(Some(id));
        self.reference.open(size);
    }

    /// An area that is open, if there is one.
    fn choose(&self, number: usize) -> Option<(usize, AreaId)> {
        let open: Vec<_> =
            self.ids.iter().enumerate().filter_map(|(index, id)| Some((index, (*id)?))).collect();
        (!open.is_empty()).then(|| open[number % open.len()])
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Open(size) => return self.open(SIZES[size]),
            Step::PurgeAll => return self.purge(|device, take| device.purge_all(take), Reference::purge_all),
            Step::Shrink(pages) => {
                return self.purge(
                    |device, take| device.shrink(pages, take),
                    |reference, taken| reference.shrink(pages, taken),
                );
            }
            Step::DropCaches => {
                return self.purge(|device, take| device.drop_caches(take), Reference::drop_caches);
            }
            _ => {}
        }
        let (Step::Close(number)
        | Step::DropRanges(number)
        | Step::Pin(number, _)
        | Step::Unpin(number, _)
        | Step::Status(number, _)
        | Step::EveryOther(number)
        | Step::NotePinned(number, _)
        | Step::NoteUnpinned(number, _)
        | Step::NotePurged(number, _)) = *step
        else {
            return;
        };
        if let Some((index, id)) = self.choose(number) {
            self.perform_on(step, index, id);
        }
    }

    fn perform_on(&mut self, step: &Step, index: usize, id: AreaId) {
        let Pair { device, reference, .. } = self;
        match step {
            Step::Close(_) => {
                device.close(id);
                reference.clear(index);
                reference.areas[index] = None;
                self.ids[index] = None;
            }
            Step::DropRanges(_) => {
                device.drop_ranges(id);
                reference.clear(index);
            }
            Step::Pin(_, pin) => {
                let request = reference.areas[index].as_ref().unwrap().parse(*pin);
                let purged = request.map(|request| reference.pin(index, request));
                assert_eq!(device.pin(id, *pin).ok().map(|pinned| pinned.purged), purged);
            }
            Step::Unpin(_, pin) => {
                let request = reference.areas[index].as_ref().unwrap().parse(*pin);
                assert_eq!(device.unpin(id, *pin).is_ok(), request.is_some());
                if let Some(request) = request {
                    reference.unpin(index, request);
                }
            }
            Step::Status(_, pin) => {
                let request = reference.areas[index].as_ref().unwrap().parse(*pin);
                let pinned = request.map(|request| reference.is_pinned(index, request));
                assert_eq!(device.pin_status(id, *pin).ok(), pinned);
            }
            Step::EveryOther(_) => {
                for page in (0..300).step_by(2) {
                    let pin = Pin { offset: page << 12, len: 1 << 12 };
                    if device.unpin(id, pin).is_ok() {
                        reference.unpin(index, (u64::from(page), u64::from(page)));
                    }
                }
            }
            Step::NotePinned(_, pages) => {
                device.note_pinned(id, pages.clone());
                reference.note_pinned(index, pages.clone());
            }
            Step::NoteUnpinned(_, pages) => {
                device.note_unpinned(id, pages.clone());
                reference.note_unpinned(index, pages.clone());
            }
            Step::NotePurged(_, pages) => {
                device.note_purged(id, pages.clone());
                reference.note_purged(index, pages.clone());
            }
            Step::Open(_) | Step::PurgeAll | Step::Shrink(_) | Step::DropCaches => {}
        }
    }

    /// Both purge, in the same order, and nothing that is pinned or purged already.
    fn purge(
        &mut self,
        device: impl FnOnce(&mut Device, &mut dyn FnMut(AreaId, Range<u64>)) -> u64,
        reference: impl FnOnce(&mut Reference, &mut Vec<(usize, Range<u64>)>) -> u64,
    ) {
        let before: Vec<Vec<_>> = self
            .ids
            .iter()
            .map(|id| id.map_or_else(Vec::new, |id| self.device.unpinned(id).collect()))
            .collect();
        let (mut taken, mut expected) = (Vec::new(), Vec::new());
        let answer = device(&mut self.device, &mut |id, pages| taken.push((id, pages)));
        assert_eq!(answer, reference(&mut self.reference, &mut expected));
        let taken: Vec<_> = taken
            .into_iter()
            .map(|(id, pages)| (self.ids.iter().position(|other| *other == Some(id)).unwrap(), pages))
            .collect();
        for (index, pages) in &taken {
            assert!(before[*index].contains(&(pages.clone(), false)));
        }
        expected.retain(|(_, pages)| !pages.is_empty());
        assert_eq!(taken, expected);
    }

    fn compare(&self) {
        assert_eq!(self.device.lru_pages(), self.reference.lru_count);
        let mut waiting = 0;
        let mut wrapped = false;
        for (area, id) in self.reference.areas.iter().zip(&self.ids) {
            let (Some(area), Some(id)) = (area, id) else { continue };
            let ranges: Vec<_> = self.device.unpinned(*id).collect();
            assert_eq!(ranges, area.unpinned());
            assert!(
                ranges.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start),
                "they overlap: {ranges:?}"
            );
            let flag = |page| ranges.iter().find(|(pages, _)| pages.contains(&page));
            let flags: Vec<_> = (0..WATCHED.min(area.pages()))
                .map(|page| (flag(page).is_some(), flag(page).is_some_and(|range| range.1)))
                .collect();
            assert_eq!(flags, area.flags(WATCHED));
            wrapped |= area.has_wrapped();
            waiting +=
                ranges.iter().filter(|range| !range.1).map(|(pages, _)| pages.end - pages.start).sum::<u64>();
        }
        assert!(wrapped || waiting == self.device.lru_pages());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_model_answers_as_the_drivers_lists_do(steps in prop::collection::vec(step(), 1..100)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.perform(step);
            pair.compare();
        }
    }
}

#[test]
fn half_a_million_ranges_take_no_time() {
    let mut device = Device::new(PAGE, Flavour::Mainline);
    let id = device.open(Access::ReadWrite);
    let area = device.area_mut(id).unwrap();
    area.set_size(u64::from(u32::MAX)).unwrap();
    area.mapped();
    let one = |page: u32| Pin { offset: page << 12, len: 1 << 12 };
    let count = 1 << 19;
    for page in 0..count {
        device.unpin(id, one(page * 2)).unwrap();
    }
    for page in 0..count - 1 {
        assert_eq!(device.pin_status(id, one(page * 2 + 1)), Ok(true));
        if page % 2 == 0 {
            device.pin(id, one(page * 2)).unwrap();
        }
    }
    assert_eq!(device.lru_pages(), u64::from(count / 2));
    assert_eq!(device.shrink(1000, &mut |_, _| {}), 1000);
    device.unpin(id, Pin { offset: 0, len: 0 }).unwrap();
    assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(0..1 << 20, true)]);
}

#[test]
fn notes_about_the_largest_area_take_no_time() {
    let mut device = Device::new(PAGE, Flavour::Mainline);
    let id = device.open(Access::ReadWrite);
    let area = device.area_mut(id).unwrap();
    area.set_size(i64::MAX as u64).unwrap();
    area.mapped();
    device.note_unpinned(id, 0..u64::MAX);
    assert_eq!(device.lru_pages(), 1 << 51);
    device.note_pinned(id, 5..6);
    assert_eq!(device.drop_caches(&mut |_, _| {}), (1 << 51) - 1);
    device.note_pinned(id, 0..u64::MAX);
    assert_eq!(device.unpinned(id).count(), 0);
}
