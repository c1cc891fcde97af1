//! Bad arguments and foreign descriptors: each has its typed error, and nothing is lost.
//! Hostile peers are in `hostile.rs`, missing resources in `limits.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use ashmem::{
    Contents, Error, MapOptions, NAME_MAX, PageRange, PinStatus, Protection, Reclaimer, Region, Result,
    page_size,
};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

/// The largest region, as the documentation of `InvalidSize` has it.
const SIZE_MAX: u64 = 1 << 56;

fn options() -> ashmem::RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn region(pages: u64) -> Region {
    options().create("bad input", pages * page_size()).expect("a region")
}

fn memfd(size: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("foreign", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .expect("a memfd");
    rustix::fs::ftruncate(&fd, size).expect("a size");
    fd
}

fn duplicate(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().expect("a descriptor")
}

fn seal(fd: impl AsFd, seals: SealFlags) {
    rustix::fs::fcntl_add_seals(fd, seals).expect("sealed");
}

/// Marks a file as having a control block, as whoever forges one would.
fn mark(fd: impl AsFd) {
    rustix::fs::fchmod(fd, Mode::RUSR | Mode::WUSR | Mode::SVTX).expect("the owner may");
}

#[test]
fn sizes() {
    for size in [0, SIZE_MAX + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        for options in [options(), options().purgeable(), options().never_purgeable(), options().populate()] {
            match options.create("size", size) {
                Err(Error::InvalidSize { size: refused, max: SIZE_MAX }) => assert_eq!(refused, size),
                other => panic!("{size}: {other:?}"),
            }
        }
    }
    for size in [1, page_size() - 1, page_size() + 1] {
        let region = options().create("size", size).expect("a region");
        assert_eq!((region.size(), region.map().expect("mapped").len()), (size, size));
    }
}

#[test]
fn a_huge_region_costs_nothing_and_does_not_fit_in_memory() {
    let huge = options().create("huge", SIZE_MAX).expect("nothing is allocated");
    assert_eq!(huge.resident().expect("a size"), 0);
    assert!(matches!(huge.map(), Err(Error::System { .. } | Error::InvalidSize { .. })));
    let page = page_size();
    let part = MapOptions::new().range(SIZE_MAX - page..).map(&huge).expect("a part can be mapped");
    part.write_at(page - 4, b"last").expect("inside");
    assert_eq!(huge.pin(..).expect("pinned from the start"), Contents::Intact);
    assert!(matches!(huge.unpin(..), Err(Error::NotPurgeable { .. })));
    assert!(options().purgeable().create("huge", SIZE_MAX).is_err());
    assert_eq!(part.read_vec(page - 4, 4).expect("inside"), b"last");
    assert_eq!(huge.pin(..).expect("an unpin that failed changes nothing"), Contents::Intact);

    let large = options().create("large", 1 << 40).expect("a region");
    let part = MapOptions::new().range((1 << 40) - page..).map(&large).expect("mapped");
    part.write_at(0, b"kept").expect("inside");
    large.unpin(..).expect("unpinned");
    assert_eq!(large.pin((1 << 40) - page..).expect("pinned"), Contents::Intact);
    assert_eq!(part.read_vec(0, 4).expect("inside"), b"kept");
}

#[test]
fn names() {
    let named = |name: &[u8]| options().create(OsStr::from_bytes(name), 1);
    for name in [&b""[..], &[b'n'; NAME_MAX], b"\xff\xfe not UTF-8 \x80", b"with / and (deleted)", b"\n"] {
        let region = named(name).expect("a name");
        assert_eq!(region.name().expect("known").as_bytes(), name);
        let received = Region::from_fd(duplicate(&region)).expect("a region");
        // The kernel writes a line break in its own way.
        if name != b"\n" {
            assert_eq!(received.name().expect("in /proc").as_bytes(), name);
        }
    }
    for len in [NAME_MAX + 1, 10_000] {
        assert!(matches!(named(&vec![b'n'; len]), Err(Error::NameTooLong { len: said }) if said == len));
    }
    for name in [&b"\0"[..], b"a\0", b"a\0b"] {
        assert!(matches!(named(name), Err(Error::NameHasNul)));
    }
}

/// What the bounds of a range mean, and which error is right for it.
#[test]
fn ranges() {
    type Fits = fn(&Error) -> bool;
    type Bounds = (Bound<u64>, Bound<u64>);
    const OUT: Fits = |error| matches!(error, Error::RangeOutOfBounds { .. });
    const SKEW: Fits = |error| matches!(error, Error::RangeMisaligned { .. });
    const EMPTY: Fits = |error| matches!(error, Error::RangeEmpty { .. });
    let page = page_size();
    let size = 4 * page - 100;
    let region = options().create("ranges", size).expect("a region");
    region.map().expect("mapped").fill(0, size, 7).expect("inside");
    region.unpin(page..2 * page).expect("unpinned");
    let before = region.stats().expect("healthy");
    let (included, excluded, open) = (Bound::Included, Bound::Excluded, Bound::Unbounded);
    let bad: Vec<(Bounds, Fits)> = vec![
        ((included(0), excluded(5 * page)), OUT),
        ((included(0), excluded(u64::MAX)), OUT),
        ((included(0), included(u64::MAX)), OUT),
        ((included(4 * page), excluded(5 * page)), OUT),
        ((included(8 * page), open), OUT),
        ((included(u64::MAX), open), OUT),
        ((excluded(u64::MAX), open), OUT),
        ((included(0), excluded(1)), SKEW),
        ((included(1), excluded(page)), SKEW),
        ((included(1), open), SKEW),
        ((included(page - 1), excluded(2 * page - 1)), SKEW),
        ((included(0), excluded(size - 1)), SKEW),
        ((included(0), excluded(size + 1)), SKEW),
        ((included(0), included(page)), SKEW),
        ((included(page), excluded(page)), EMPTY),
        ((included(2 * page), excluded(page)), EMPTY),
        ((open, excluded(0)), EMPTY),
        ((included(4 * page), open), EMPTY),
    ];
    for (range, fits) in bad {
        let errors = [
            region.pin(range).map(drop).expect_err("pin"),
            region.unpin(range).expect_err("unpin"),
            region.pin_status(range).map(drop).expect_err("status"),
            PageRange::new(range, size).map(drop).expect_err("parse"),
        ];
        for error in errors {
            assert!(fits(&error), "{range:?}: {error}");
            assert_eq!(error.raw_os_error(), libc::EINVAL);
        }
        assert_eq!(region.stats().expect("healthy"), before, "{range:?}");
    }
    for (offset, len) in
        [(u64::MAX, 0), (u64::MAX, u64::MAX), (page, u64::MAX), (1, 0), (0, 1), (4 * page, 0)]
    {
        assert!(PageRange::from_offset_len(offset, len, size).is_err(), "{offset} {len}");
    }
    for (range, fits) in [(0..size + 1, OUT), (size..size + 1, OUT), (1..page, SKEW), (page..page, EMPTY)] {
        let error = MapOptions::new().range(range).map(&region).map(drop).expect_err("map");
        assert!(fits(&error), "{error}");
    }
    let mapping = region.map().expect("mapped");
    for (offset, len) in [(size, 1), (size - 1, 2), (u64::MAX, 1), (0, size + 1), (1, u64::MAX)] {
        assert!(matches!(mapping.read_vec(offset, len), Err(Error::AccessOutOfBounds { .. })));
        assert!(matches!(mapping.fill(offset, len, 1), Err(Error::AccessOutOfBounds { .. })));
    }
    assert!(matches!(mapping.atomic_u64(4), Err(Error::AccessMisaligned { .. })));
    // Rounded up, the last page may be named in either way.
    for end in [size, 4 * page] {
        assert_eq!(region.pin_status(3 * page..end).expect("a range"), PinStatus::Pinned);
    }
    assert_eq!(mapping.read_vec(0, size).expect("inside"), vec![7; size as usize]);
}

fn refused(what: &str, fd: OwnedFd) {
    match Region::from_fd(fd) {
        Err(error @ Error::NotARegion { .. }) => assert_eq!(error.raw_os_error(), libc::ENOTTY),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn foreign_descriptors() {
    let open = |path: &str, flags: OFlags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    let (socket, _) = std::os::unix::net::UnixStream::pair().expect("sockets");
    refused("a socket", socket.into());
    refused("a pipe", std::io::pipe().expect("a pipe").0.into());
    refused("an eventfd", rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("made"));
    refused("a device", File::open("/dev/zero").expect("a device").into());
    refused("a directory", open("/", OFlags::RDONLY | OFlags::DIRECTORY).expect("a directory"));
    refused("a path", open("/dev/null", OFlags::PATH).expect("a path"));
    let file = tempfile::tempfile().expect("a file");
    file.set_len(page_size()).expect("a size");
    refused("a file", file.into());
    match tempfile::tempfile_in("/dev/shm") {
        Ok(file) => {
            file.set_len(page_size()).expect("a size");
            refused("a file in a mounted tmpfs", file.into());
        }
        Err(error) => println!("SKIPPED: a file in /dev/shm: {error}"),
    }
    match rustix::fs::memfd_create("large pages", MemfdFlags::HUGETLB | MemfdFlags::ALLOW_SEALING) {
        Ok(fd) => {
            rustix::fs::ftruncate(&fd, 1 << 30).expect("nothing is allocated");
            refused("a memfd of large pages", fd);
        }
        Err(error) => println!("SKIPPED: a memfd of large pages: {error}"),
    }
}

/// Whatever such a descriptor can do, it ends in a typed error and not in a wrong answer.
#[test]
fn descriptors_of_regions_that_can_do_less() {
    for purgeable in [false, true] {
        let region = region(2);
        region.map().expect("mapped").write_at(0, b"kept").expect("inside");
        if purgeable {
            region.unpin(page_size()..).expect("unpinned");
        }
        for flags in [OFlags::PATH, OFlags::WRONLY, OFlags::RDONLY] {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&region.as_fd()));
            let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).expect("opened");
            let weak = match Region::from_fd_with(fd, options()) {
                Ok(weak) => weak,
                Err(error) => {
                    assert!(flags != OFlags::RDONLY, "readers are welcome: {error}");
                    continue;
                }
            };
            assert!(weak.map().is_err(), "{flags:?}");
            assert!(weak.unpin(..).is_err(), "{flags:?}");
            assert!(weak.freeze().is_err(), "{flags:?}");
            assert_eq!(region.protection().expect("a mask"), Protection::all(), "{flags:?}: a failed freeze");
        }
        assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
        assert_eq!(region.map().expect("mapped").read_vec(0, 4).expect("inside"), b"kept");
    }
}

fn receive(fd: &OwnedFd) -> Result<Region> {
    Region::from_fd_with(duplicate(fd), options())
}

#[test]
fn files_that_change_their_size() {
    let page = page_size();
    assert!(matches!(receive(&memfd(0)), Err(Error::InvalidSize { size: 0, .. })));
    assert!(matches!(receive(&memfd(SIZE_MAX + 1)), Err(Error::InvalidSize { .. })));
    for size in [0, 1, page, 3 * page] {
        let fd = memfd(4 * page);
        let region = receive(&fd).expect("a region");
        rustix::fs::ftruncate(&fd, size).expect("not sealed yet");
        assert!(matches!(region.map(), Err(Error::NotARegion { .. })), "{size}");
        assert!(matches!(region.unpin(..), Err(Error::NotARegion { .. })), "{size}");
        assert_eq!(region.pin(..).expect("never unpinned"), Contents::Intact);
    }
    let fd = memfd(4 * page);
    let region = receive(&fd).expect("a region");
    rustix::fs::ftruncate(&fd, 7 * page).expect("not sealed yet");
    assert!(matches!(region.unpin(..), Err(Error::NotARegion { .. })));
    assert_eq!(region.map().expect("all of it is there").len(), 4 * page);
}

#[test]
fn forged_control_blocks() {
    let page = page_size();
    let real = region(3);
    real.unpin(..).expect("unpinned");
    let file_size = rustix::fs::fstat(&real).expect("a file").st_size as u64;
    let forge = |size: u64, seals: SealFlags| {
        let fd = memfd(size);
        mark(&fd);
        seal(&fd, seals);
        fd
    };
    let both = SealFlags::SHRINK | SealFlags::GROW;
    for size in [1, page - 1, page, page + 1, file_size - 1, file_size + page - 1, 1 << 62] {
        if let Ok(region) = receive(&forge(size, both)) {
            // Some sizes do fit; then the region is smaller than the file, and pinned.
            assert!(region.size() < size && region.pin(..).expect("healthy") == Contents::Intact, "{size}");
        }
    }
    for seals in [SealFlags::empty(), SealFlags::GROW] {
        assert!(matches!(receive(&forge(file_size, seals)), Err(Error::NotARegion { .. })), "{seals:?}");
    }
    let unsealable = forge(file_size, SealFlags::SEAL);
    assert!(matches!(receive(&unsealable), Err(Error::NotARegion { .. })));
    // One of zeros is what an untouched one looks like.
    let region = receive(&forge(file_size, both)).expect("a region");
    assert_eq!((region.size(), region.stats().expect("healthy").pinned_pages), (3 * page, 3));
    region.unpin(..).expect("unpinned");
    // A version of the future.
    let fd = forge(file_size, both);
    rustix::io::pwrite(&fd, &u64::MAX.to_ne_bytes(), 3 * page).expect("written");
    assert!(matches!(receive(&fd), Err(Error::NotARegion { .. })));
    // Marked while it is held: the size has no room for a control block.
    let fd = memfd(3 * page);
    let region = receive(&fd).expect("a region");
    mark(&fd);
    seal(&fd, both);
    for error in [region.pin(..).map(drop), region.unpin(..), region.purge().map(drop)] {
        assert!(matches!(error, Err(Error::NotARegion { .. })), "{error:?}");
    }
}

#[test]
fn sealed_files_cannot_be_unpinned() {
    for seals in [SealFlags::WRITE, SealFlags::FUTURE_WRITE, SealFlags::GROW, SealFlags::SEAL] {
        let fd = memfd(2 * page_size());
        rustix::io::pwrite(&fd, b"kept", 0).expect("written");
        seal(&fd, seals);
        let region = receive(&fd).expect("a region");
        let error = region.unpin(..).expect_err("nowhere to note it");
        assert!(matches!(error, Error::NotPurgeable { .. }), "{seals:?}: {error}");
        assert_eq!(error.raw_os_error(), libc::EPERM);
        assert_eq!(region.pin(..).expect("pinned for good"), Contents::Intact);
        assert_eq!(region.purge().expect("nothing to do"), 0);
        let mut kept = [0; 4];
        assert_eq!(rustix::io::pread(&fd, &mut kept, 0), Ok(4));
        assert_eq!(&kept, b"kept");
        if seals == SealFlags::WRITE {
            assert!(matches!(region.map(), Err(Error::ProtectionDenied { .. })));
            assert_eq!(region.protection().expect("a mask"), Protection::READ | Protection::EXEC);
        }
    }
}
