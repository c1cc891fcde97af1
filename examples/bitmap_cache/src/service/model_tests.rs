//! The service against a model of it that decodes each time.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage, RgbaImage};
use proptest::prelude::*;

use super::tests::{Place, decoded, size};
use super::*;
use crate::Bitmap;

/// What can happen to a service, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { picture: usize, side: u32 },
    Look(prop::sample::Index),
    Lease(prop::sample::Index),
    EndLeases,
    Drop(prop::sample::Index),
    Purge,
    Write(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0..5_usize, prop_oneof![Just(24_u32), Just(48), Just(64)])
            .prop_map(|(picture, side)| Step::Ask { picture, side }),
        3 => index().prop_map(Step::Look),
        2 => index().prop_map(Step::Lease),
        1 => Just(Step::EndLeases),
        2 => index().prop_map(Step::Drop),
        1 => Just(Step::Purge),
        1 => (0..5_usize).prop_map(Step::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against decoding each time: the right pixels or a reason that is true, within the limit and the share.
    #[test]
    fn a_service_does_what_decoding_each_time_does(steps in proptest::collection::vec(step(), 1..60)) {
        let largest = Entry::most_bytes(size(64));
        let (limit, quota) = (9 * largest, 3 * largest);
        let place = Place::new(Options::default().limit(limit).clients(2));
        let client = place.client();
        let mut versions = [0_usize; 5];
        let path = |picture: usize| place.folder.join(format!("{picture}.png"));
        let write = |picture: usize, version: usize| {
            let colour = |x: u32, y: u32| Rgb([(x * 3) as u8, y as u8 ^ version as u8, (picture * 40) as u8]);
            let mut bytes = std::io::Cursor::new(Vec::new());
            RgbImage::from_fn(60 + picture as u32, 64, colour).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            // Each version has another length, as files that are written within a tick of the clock have one time.
            let mut bytes = bytes.into_inner();
            bytes.resize(bytes.len() + version, 0);
            std::fs::write(path(picture), bytes).unwrap();
        };
        (0..5).for_each(|picture| write(picture, 0));
        let mut kept: Vec<(Bitmap, RgbaImage, usize, usize)> = Vec::new();
        let mut leases: Vec<(ashmem::OwnedLease, RgbaImage)> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { picture, side } => match client.bitmap(path(picture), size(side)) {
                    Ok(bitmap) => {
                        let expected = decoded(&path(picture), size(side));
                        prop_assert_eq!(bitmap.pixels().unwrap().to_image().unwrap(), expected.clone());
                        kept.push((bitmap, expected, picture, versions[picture]));
                    }
                    Err(error) => {
                        prop_assert_eq!(error.refusal(), Some(Refusal::Quota), "{}", error);
                        let bytes = |bitmap: &Bitmap| {
                            let size = Size::new(bitmap.width(), bitmap.height()).unwrap();
                            (bitmap.region().file_id().unwrap(), Entry::most_bytes(size))
                        };
                        let has: BTreeMap<u64, u64> =
                            kept.iter().map(|(bitmap, ..)| bytes(bitmap)).collect();
                        prop_assert!(has.values().sum::<u64>() + largest > quota);
                    }
                },
                Step::Look(index) if !kept.is_empty() => {
                    let (bitmap, expected, picture, version) = &kept[index.index(kept.len())];
                    match bitmap.pixels() {
                        Ok(pixels) => prop_assert_eq!(&pixels.to_image().unwrap(), expected),
                        Err(Error::Changed) => prop_assert!(versions[*picture] > *version),
                        // Of a file that has changed, the new bitmap may be too much.
                        Err(error) => {
                            prop_assert_eq!(error.refusal(), Some(Refusal::Quota));
                            prop_assert!(versions[*picture] > *version);
                        }
                    }
                }
                Step::Lease(index) if !kept.is_empty() => {
                    let (bitmap, expected, ..) = &kept[index.index(kept.len())];
                    let lease = bitmap.region().lease_owned(..).unwrap();
                    if !lease.contents().is_purged() {
                        leases.push((lease, expected.clone()));
                    }
                }
                Step::EndLeases => leases.clear(),
                Step::Drop(index) if !kept.is_empty() => {
                    // One that is leased and was given back may be emptied.
                    leases.clear();
                    let index = index.index(kept.len());
                    kept.swap_remove(index);
                }
                Step::Purge => {
                    ashmem::Reclaimer::global().reclaim_among(&place.service.shared.table.regions(), u64::MAX);
                }
                Step::Write(picture) => {
                    versions[picture] += 1;
                    write(picture, versions[picture]);
                }
                Step::Look(_) | Step::Lease(_) | Step::Drop(_) => {}
            }
            for (lease, expected) in &leases {
                let mapping = lease.region().map_read_only().unwrap();
                prop_assert_eq!(&mapping.read_vec(0, expected.as_raw().len() as u64).unwrap(), expected.as_raw());
            }
            prop_assert!(place.service.stats().resident_bytes <= limit);
        }
        drop((leases, kept, client));
        place.service.shared.table.unheld().iter().for_each(|entry| place.service.shared.table.take(entry.number));
        prop_assert_eq!(place.service.stats().resident_bytes, 0);
    }
}
