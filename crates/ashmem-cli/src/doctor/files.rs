//! What regions are made of: memfds, seals, holes, descriptors that can be opened again, and locks.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ashmem::{Reclaimer, Region, page_size};
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fchmod, fcntl_add_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::{Errno, pwrite};

use super::Finding;

/// `F_SEAL_EXEC` of `fcntl(2)`.
const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);

/// A memfd of a page, in memory.
fn probe() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"doctor", flags)?;
    ftruncate(&file, page_size())?;
    pwrite(&file, b"x", 0)?;
    Ok(file)
}

pub fn memfd() -> Finding {
    const FEATURE: &str = "memfd";
    match probe() {
        Ok(_) => Finding::ok(FEATURE, "regions can be made"),
        Err(errno) => Finding::missing(
            FEATURE,
            format!("there can be no regions: {errno}"),
            "allow memfd_create(2) in the sandbox or container; the kernel needs CONFIG_MEMFD_CREATE",
        )
        .needed(),
    }
}

/// Whether a seal can be set, and what it forbids is refused afterwards.
fn holds(seal: SealFlags) -> bool {
    let tried = || -> Result<bool, Errno> {
        let file = probe()?;
        fcntl_add_seals(&file, seal)?;
        let forbidden = match seal {
            SealFlags::SHRINK => ftruncate(&file, 0),
            SealFlags::GROW => ftruncate(&file, 2 * page_size()),
            SealFlags::SEAL => fcntl_add_seals(&file, SealFlags::GROW),
            SEAL_EXEC => {
                fchmod(&file, Mode::from_raw_mode(0o700)).and(fchmod(&file, Mode::from_raw_mode(0o600)))
            }
            _ => pwrite(&file, b"y", 0).map(drop),
        };
        Ok(forbidden == Err(Errno::PERM))
    };
    tried() == Ok(true)
}

pub fn seals() -> Finding {
    const FEATURE: &str = "seals";
    let names = [
        (SealFlags::SHRINK, "shrink"),
        (SealFlags::GROW, "grow"),
        (SealFlags::SEAL, "seal"),
        (SealFlags::WRITE, "write"),
        (SEAL_EXEC, "exec"),
    ];
    let missing: Vec<_> = names.iter().filter(|(seal, _)| !holds(*seal)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Finding::ok(FEATURE, "shrink, grow, seal, write and exec: sizes of regions are final");
    }
    let list = missing.join(", ");
    if missing == ["exec"] {
        let meaning = "all but exec: a region's mode can be made executable by who may change it";
        return Finding::limited(FEATURE, meaning, "nothing needs it; Linux has it from 6.3 on");
    }
    let meaning =
        format!("there is no seal {list}: whoever has a region could pull memory from under others");
    Finding::missing(
        FEATURE,
        meaning,
        "use a kernel or sandbox with sealing of memfds (F_ADD_SEALS of fcntl(2))",
    )
    .needed()
}

pub fn future_write() -> Finding {
    const FEATURE: &str = "seal future_write";
    if holds(SealFlags::FUTURE_WRITE) {
        return Finding::ok(FEATURE, "regions can be shared so that receivers cannot write");
    }
    Finding::missing(
        FEATURE,
        "the protection mask of a region cannot lose WRITE",
        "share descriptors that only read, which stops mistakes; Linux has the seal from 5.1 on",
    )
}

pub fn holes() -> Finding {
    const FEATURE: &str = "holes";
    let punched = || -> Result<bool, Errno> {
        let file = probe()?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, flags, 0, page_size())?;
        Ok(fstat(&file)?.st_blocks == 0)
    };
    match punched() {
        Ok(true) => Finding::ok(FEATURE, "unpinned pages can be given back to the system"),
        answer => Finding::missing(
            FEATURE,
            match answer {
                Err(errno) => format!("nothing can be purged: {errno}"),
                Ok(_) => "nothing can be purged: a hole frees no memory".to_owned(),
            },
            "allow fallocate(2) in the sandbox",
        ),
    }
}

pub fn proc() -> Finding {
    const FEATURE: &str = "/proc";
    let advice = "mount it: mount -t proc proc /proc";
    let reopened = || -> Result<(), Errno> {
        let file = probe()?;
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(drop)
    };
    if let Err(errno) = reopened() {
        let meaning = format!("no purging, no leases, no names of received regions: {errno}");
        return Finding::missing(FEATURE, meaning, advice);
    }
    match fs::read_to_string("/proc/meminfo") {
        Ok(text) if text.contains("\nMemAvailable:") => {
            Finding::ok(FEATURE, "regions can be purged, leased and named, and free memory is known")
        }
        _ => Finding::limited(
            FEATURE,
            "/proc/meminfo does not say how much memory is available: a reclaimer acts on stalls and cgroups alone",
            "let the container see /proc/meminfo",
        ),
    }
}

/// Has a page leased through a descriptor that only reads, which takes a lock, and purges it then and afterwards.
pub fn locks() -> Finding {
    const FEATURE: &str = "locks";
    let tried = || -> ashmem::Result<bool> {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let region = Region::options().reclaimer(&reclaimer).create("doctor", page_size())?;
        region.map()?.fill(0, page_size(), 1)?;
        region.unpin(..)?;
        let reader = Region::from_fd(region.share_read_only()?)?;
        let lease = reader.lease(..)?;
        let leased = region.purge()?;
        drop(lease);
        Ok((leased, region.purge()?) == (0, page_size()))
    };
    match tried() {
        Ok(true) => Finding::ok(FEATURE, "leases keep pages, and purgers keep out of each other's way"),
        answer => Finding::missing(
            FEATURE,
            match answer {
                Err(error) => format!("no purging and no leases: {}", crate::with_causes(&error)),
                Ok(_) => "no purging and no leases: locks on a file keep nobody out".to_owned(),
            },
            "allow open file description locks in the sandbox (F_OFD_SETLK of fcntl(2)); they need /proc as well",
        ),
    }
}
