//! The service and its clients in one process.

use std::os::fd::AsFd;
use std::path::PathBuf;

use ashmem::{Error as MemoryError, Region, page_size};
use image::{DynamicImage, ImageReader, Rgb, RgbImage, RgbaImage, imageops};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{Bitmap, Client};

/// A folder, a service that may read it, and the way to it.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    services: ServiceManager,
    pub(super) service: Service,
    _directory: TempDir,
}

impl Place {
    pub(super) fn new(options: Options) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().canonicalize().unwrap().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        let address = format!("unix://{}/services", directory.path().display());
        let services = ServiceManager::at(&address).unwrap();
        let service = Service::new(&[&folder], options).unwrap();
        service.add_to(&services).unwrap();
        Place { folder, services, service, _directory: directory }
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(&self.services).unwrap()
    }

    fn picture(&self, name: &str, width: u32, height: u32) -> PathBuf {
        let path = self.folder.join(name);
        let colour = |x: u32, y: u32| Rgb([(x * 7) as u8, (y * 5) as u8, name.len() as u8 ^ (x + y) as u8]);
        RgbImage::from_fn(width, height, colour).save(&path).unwrap();
        path
    }
}

pub(super) fn size(side: u32) -> Size {
    Size::new(side, side).unwrap()
}

/// The same without a service.
pub(super) fn decoded(path: &Path, size: Size) -> RgbaImage {
    let reader = ImageReader::open(path).unwrap().with_guessed_format().unwrap();
    let image = DynamicImage::from_decoder(reader.into_decoder().unwrap()).unwrap();
    let size = size.fit(image.width(), image.height());
    if (image.width(), image.height()) == (size.width(), size.height()) {
        return image.into_rgba8();
    }
    match image {
        DynamicImage::ImageRgb8(image) => {
            let scaled = imageops::thumbnail(&image, size.width(), size.height());
            DynamicImage::ImageRgb8(scaled).into_rgba8()
        }
        image => image.thumbnail_exact(size.width(), size.height()).into_rgba8(),
    }
}

fn right(bitmap: &Bitmap, path: &Path, asked: Size) {
    assert_eq!(bitmap.pixels().unwrap().to_image().unwrap(), decoded(path, asked));
}

#[test]
fn one_bitmap_for_all() {
    let place = Place::new(Options::default());
    let (one, other) = (place.client(), place.client());
    for (name, width, height) in
        [("a.png", 300, 200), ("b.jpg", 200, 301), ("c.png", 5, 3), ("d.jpg", 1, 900)]
    {
        let path = place.picture(name, width, height);
        let first = one.bitmap(&path, size(64)).unwrap();
        let second = other.bitmap(&path, size(64)).unwrap();
        assert!(first.is_decoded() && !second.is_decoded());
        assert_eq!(first.region().file_id().unwrap(), second.region().file_id().unwrap());
        assert!(matches!(first.region().map(), Err(MemoryError::ReadOnly { .. })));
        for bitmap in [&first, &second] {
            right(bitmap, &path, size(64));
        }
        let larger = one.bitmap(&path, size(128)).unwrap();
        right(&larger, &path, size(128));
    }
    let stats = one.stats().unwrap();
    assert_eq!((stats.decoded, stats.hits, stats.decoded_again, stats.clients), (8, 4, 0, 2));
}

#[test]
fn pictures_are_turned_as_they_say() {
    let place = Place::new(Options::default());
    let path = place.picture("turned.jpg", 120, 80);
    // An Exif segment behind the start of the image: one entry, orientation 6, a quarter to the right.
    let tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (2 + 6 + tiff.len()) as u16;
    let jpeg = std::fs::read(&path).unwrap();
    let segment = [&[0xff, 0xe1][..], &length.to_be_bytes(), b"Exif\0\0", tiff].concat();
    std::fs::write(&path, [&jpeg[..2], &segment, &jpeg[2..]].concat()).unwrap();
    let bitmap = place.client().bitmap(&path, size(60)).unwrap();
    assert_eq!((bitmap.width(), bitmap.height()), (40, 60));
    let plain = decoded(&path, size(60));
    assert_eq!((plain.width(), plain.height()), (60, 40));
    assert_eq!(bitmap.pixels().unwrap().to_image().unwrap(), imageops::rotate90(&plain));
}

#[test]
fn what_went_is_decoded_again() {
    let place = Place::new(Options::default());
    let client = place.client();
    let path = place.picture("a.png", 200, 150);
    let bitmap = client.bitmap(&path, size(100)).unwrap();
    let all = || place.service.shared.table.regions();
    let pixels = bitmap.pixels().unwrap();
    assert_eq!(all()[0].purge().unwrap(), 0, "nobody takes what is looked at");
    drop(pixels);
    assert!(all()[0].purge().unwrap() > 0);
    assert!(bitmap.pixels_at_once().unwrap().is_none());
    right(&bitmap, &path, size(100));
    assert!(bitmap.pixels_at_once().unwrap().is_some());
    assert_eq!((place.service.stats().decoded, place.service.stats().decoded_again), (2, 1));

    // Another picture by now: no old bitmap shows the new one.
    all()[0].purge().unwrap();
    place.picture("a.png", 90, 50);
    assert!(matches!(bitmap.pixels(), Err(Error::Changed)));
    right(&client.bitmap(&path, size(100)).unwrap(), &path, size(100));
    std::fs::remove_file(&path).unwrap();
    let gone = client.bitmap(&path, size(100)).unwrap_err();
    assert_eq!(gone.refusal(), Some(Refusal::File));
    drop(bitmap);
    // The next request tells of all that was dropped, and room is made of what is of no use.
    let other = place.picture("b.png", 50, 50);
    drop(client.bitmap(&other, size(50)).unwrap());
    let _other = client.bitmap(&other, size(50)).unwrap();
    place.service.shared.table.sweep();
    assert_eq!(place.service.stats().bitmaps, 2, "the last version of the first, and the other");
}

#[test]
fn the_limit_holds_whatever_is_asked_for() {
    let page = page_size();
    let bytes = Entry::most_bytes(size(64));
    let limit = 6 * bytes;
    let place = Place::new(Options::default().limit(limit).clients(2));
    let paths: Vec<_> = (0..12).map(|n| place.picture(&format!("{n}.png"), 64, 64)).collect();
    let client = place.client();
    for round in 0..3 {
        for path in &paths {
            // Dropped at once, so the quota is never met.
            right(&client.bitmap(path, size(64)).unwrap(), path, size(64));
            let stats = client.stats().unwrap();
            assert!(stats.resident_bytes <= limit, "{} of {limit} in round {round}", stats.resident_bytes);
        }
    }
    let stats = client.stats().unwrap();
    assert!(stats.most_resident_bytes <= limit && stats.most_resident_bytes > limit / 2);
    assert!(stats.decoded_again > 0);
    assert!(stats.bitmaps <= 8, "what went is forgotten: {stats:?}");
    let large = place.picture("large.png", 400, 400);
    let refused = client.bitmap(&large, size(400)).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::TooLarge), "{refused}, pages of {page}");
}

#[test]
fn a_client_that_keeps_everything_keeps_its_share() {
    let bytes = Entry::most_bytes(size(64));
    // Two for each client.
    let place = Place::new(Options::default().limit(6 * bytes).clients(2));
    let paths: Vec<_> = (0..12).map(|n| place.picture(&format!("{n}.png"), 64, 64)).collect();
    let hog = place.client();
    let mut kept: Vec<Bitmap> = Vec::new();
    for path in &paths {
        match hog.bitmap(path, size(64)) {
            Ok(bitmap) => kept.push(bitmap),
            Err(error) => assert_eq!(error.refusal(), Some(Refusal::Quota), "{error}"),
        }
    }
    assert_eq!(kept.len(), 2);
    let leases: Vec<_> = kept.iter().map(|bitmap| bitmap.pixels().unwrap()).collect();
    // Gives some back, and leases them all the same.
    let mut liars: Vec<ashmem::OwnedLease> = Vec::new();
    drop(leases);
    for path in &paths {
        kept.truncate(1);
        let bitmap = hog.bitmap(path, size(64)).unwrap();
        let region = Region::from_fd(bitmap.region().as_fd().try_clone_to_owned().unwrap()).unwrap();
        liars.push(region.lease_owned(..).unwrap());
    }
    drop(kept);
    assert_eq!(liars.iter().filter(|lease| !lease.contents().is_purged()).count(), 12);
    // One process may have one session of two, so the other one is this.
    drop(hog);
    let honest = place.client();
    for _ in 0..2 {
        for path in &paths {
            right(&honest.bitmap(path, size(64)).unwrap(), path, size(64));
        }
    }
    assert!(honest.stats().unwrap().most_resident_bytes <= 6 * bytes);
    drop(liars);
}

#[test]
fn sessions_are_counted_and_end() {
    let place = Place::new(Options::default().clients(4));
    let (one, two) = (place.client(), place.client());
    let error = Client::connect(&place.services).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Clients));
    let path = place.picture("a.png", 64, 64);
    let bitmap = two.bitmap(&path, size(64)).unwrap();
    drop(one);
    let three = place.client();
    drop((two, bitmap));
    assert_eq!(three.stats().unwrap().clients, 1);
    assert_eq!(place.service.shared.table.unheld().len(), 1);
}

#[test]
fn bad_requests_and_bad_files_are_refused() {
    let place = Place::new(Options::default().largest(10_000).limit(64 << 20));
    let client = place.client();
    let file = |name: &str, bytes: &[u8]| {
        let path = place.folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(place.picture("whole.png", 64, 64)).unwrap();
    let jpeg = std::fs::read(place.picture("whole.jpg", 64, 64)).unwrap();
    // A header that promises more than there is: 60,000 by 60,000 pixels in 100 bytes.
    let mut bomb = whole[..100].to_vec();
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let ihdr = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&ihdr);
    let sparse = file("sparse.jpg", &jpeg);
    std::fs::File::options().write(true).open(&sparse).unwrap().set_len(1 << 40).unwrap();
    for (path, refusal) in [
        (file("empty.png", b""), Refusal::Picture),
        (file("text.jpg", b"no picture"), Refusal::Picture),
        (file("cut.png", &whole[..whole.len() / 2]), Refusal::Picture),
        (file("bomb.png", &bomb), Refusal::TooLarge),
        (sparse, Refusal::TooLarge),
        (place.picture("huge.png", 101, 100), Refusal::TooLarge),
        (place.folder.clone(), Refusal::File),
        (place.folder.join("missing.png"), Refusal::File),
        (PathBuf::from("/etc/passwd"), Refusal::Outside),
        (PathBuf::from("/dev/zero"), Refusal::Outside),
    ] {
        let error = client.bitmap(&path, size(64)).unwrap_err();
        assert_eq!(error.refusal(), Some(refusal), "{}: {error}", path.display());
    }
    let request = |path: &[u8], width, height, known, released| {
        let request = crate::protocol::Request { path: path.to_vec(), width, height, known, released };
        let session = Session::open(&place.service.shared).unwrap();
        crate::protocol::IBitmapSession::bitmap(&session, &request).map(|reply| reply.number)
    };
    let path = place.folder.join("whole.png").into_os_string().into_encoded_bytes();
    for (width, height) in [(0, 1), (1, -1), (i32::MIN, 5), (8193, 1)] {
        assert_eq!(request(&path, width, height, 0, vec![]).unwrap_err().service_specific_error(), 1);
    }
    for bad in [&b""[..], b"whole.png", &[b'/'; 5000]] {
        assert_eq!(request(bad, 9, 9, 0, vec![]).unwrap_err().service_specific_error(), 1);
    }
    // Numbers that nobody has.
    assert!(request(&path, 9, 9, i64::MIN, vec![0, -1, 7, i64::MAX]).is_ok());
    place.service.shared.table.sweep();
    assert_eq!(place.service.stats().bitmaps, 1);
    // A picture's file that goes on for ever is not read on.
    right(
        &client.bitmap(place.folder.join("whole.png"), size(64)).unwrap(),
        &place.folder.join("whole.png"),
        size(64),
    );
}

#[test]
fn broken_pictures_of_all_kinds_leave_nothing() {
    let place = Place::new(Options::default());
    let client = place.client();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    for name in ["a.png", "a.jpg"] {
        let path = place.picture(name, 40, 30);
        let whole = std::fs::read(&path).unwrap();
        let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
        let run = runner.run(&(changes, any::<prop::sample::Index>()), |(changes, cut)| {
            let mut bytes = whole.clone();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(cut.index(bytes.len() * 4).min(bytes.len()));
            std::fs::write(&path, &bytes).unwrap();
            match client.bitmap(&path, size(32)) {
                Ok(bitmap) => prop_assert!(bitmap.pixels().is_ok()),
                Err(error) => prop_assert!(error.refusal().is_some(), "{}", error),
            }
            Ok(())
        });
        run.unwrap();
    }
    drop(client);
    place
        .service
        .shared
        .table
        .unheld()
        .iter()
        .for_each(|entry| place.service.shared.table.take(entry.number));
    let stats = place.service.stats();
    assert_eq!((stats.bitmaps, stats.resident_bytes, stats.clients), (0, 0, 0));
}

#[test]
fn a_client_that_spoils_the_pin_state_spoils_only_what_it_has() {
    let place = Place::new(Options::default().limit(8 << 20).clients(4));
    let client = place.client();
    let mine = place.picture("mine.png", 64, 64);
    let others: Vec<_> = (0..3).map(|n| place.picture(&format!("{n}.png"), 64, 64)).collect();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 16, ..ProptestConfig::default() });
    let words = proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<bool>()), 1..20);
    let run = runner.run(&words, |words| {
        let bitmap = client.bitmap(&mine, size(64)).unwrap();
        // As a process of the same user could.
        let file = bitmap.region().share_read_write().unwrap();
        let length = rustix::fs::fstat(&file).unwrap().st_size as u64;
        for (at, word, purges) in words {
            let start = bitmap.region().size().next_multiple_of(page_size());
            let at = start + at.index(((length - start) / 8) as usize) as u64 * 8;
            let word = if word % 3 == 0 { word } else { u64::MAX >> (word % 64) };
            rustix::io::pwrite(&file, &word.to_ne_bytes(), at).unwrap();
            if purges {
                let _ = Region::from_fd(file.try_clone().unwrap()).and_then(|region| region.purge());
            }
            match bitmap.pixels() {
                Ok(_) | Err(Error::Memory { .. } | Error::Changed | Error::Purged) => {}
                Err(error) => prop_assert!(error.refusal().is_some(), "{}", error),
            }
            let path = &others[word as usize % others.len()];
            right(&client.bitmap(path, size(64)).unwrap(), path, size(64));
        }
        // All rooms are made while it is in there, too.
        let room = place.service.shared.room.reserve(&place.service.shared.table, 7 << 20);
        prop_assert!(room.is_ok());
        Ok(())
    });
    run.unwrap();
    drop(client);
    place
        .service
        .shared
        .table
        .unheld()
        .iter()
        .for_each(|entry| place.service.shared.table.take(entry.number));
    assert_eq!(place.service.stats().resident_bytes, 0);
}

/// As PNG has it, a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
