//! `open`, `openat`, `openat2`, `creat`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;

use super::{Reply, answer_with, means_area};
use crate::files::reopen;
use crate::filter::Call;
use crate::model::Access;
use crate::place::{self, Place};
use crate::state::Shared;
use crate::task::{FileId, Status, Task, proc_file};
use crate::{caches, maps};

pub(super) fn open(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let (directory, path, how) = match call {
        Call::Open => (libc::AT_FDCWD, task.argument(0), task.argument(1)),
        Call::Creat => {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
            (libc::AT_FDCWD, task.argument(0), u64::from(flags.bits()))
        }
        _ => (task.descriptor(0), task.argument(1), task.argument(2)),
    };
    // Whatever is wrong with the path, the kernel says so itself.
    let Ok(path) = task.read_path(path) else { return Ok(Reply::Continue) };
    let Some(place) = place::find(task, directory, &path) else { return Ok(Reply::Continue) };
    let flags = if call == Call::OpenAt2 { flags_of_how(task, how)? } else { how };
    let flags = OFlags::from_bits_retain(flags as u32);
    if flags.contains(OFlags::PATH) {
        return Ok(Reply::Continue);
    }
    match place {
        Place::Device => open_device(shared, task, flags),
        Place::InsideDevice => Err(Errno::NOTDIR),
        Place::Descriptor { process, fd } => {
            let Some(process) = place::resolve(task, process) else { return Ok(Reply::Continue) };
            if flags.contains(OFlags::NOFOLLOW) {
                return Ok(Reply::Continue);
            }
            match means_area(shared, process, fd) {
                // As with the driver, that opens the device anew.
                Some(_) => open_device(shared, task, flags),
                None => Ok(Reply::Continue),
            }
        }
        Place::DescriptorInfo { process, fd } => {
            let Some(process) = place::resolve(task, process) else { return Ok(Reply::Continue) };
            match descriptor_info(shared, process, fd) {
                Some(text) => answer_with_text(task, &text, flags),
                None => Ok(Reply::Continue),
            }
        }
        Place::Maps { process, file } => {
            let Some(process) = place::resolve(task, process) else { return Ok(Reply::Continue) };
            // Others' mappings are for the kernel to show or not.
            let of = |thread| Status::of(thread).map(|status| status.process);
            if of(process) != of(task.thread()) {
                return Ok(Reply::Continue);
            }
            match own_maps(shared, task, file) {
                Some(text) => answer_with_text(task, &text, flags),
                None => Ok(Reply::Continue),
            }
        }
        Place::DropCaches => {
            if flags & OFlags::RWMODE != OFlags::RDONLY {
                shared.lock().caches.opened();
            }
            match caches::file_for(task, flags) {
                Some(file) => answer_with(task, file.as_fd(), 0, flags.contains(OFlags::CLOEXEC)),
                None => Ok(Reply::Continue),
            }
        }
    }
}

fn flags_of_how(task: &Task<'_>, address: u64) -> Result<u64, Errno> {
    // struct open_how: flags, mode, resolve.
    let mut how = [0; 8];
    task.read_exact(address, &mut how)?;
    Ok(u64::from_ne_bytes(how))
}

fn open_device(shared: &Shared, task: &Task<'_>, flags: OFlags) -> Result<Reply, Errno> {
    if flags.contains(OFlags::CREATE | OFlags::EXCL) {
        return Err(Errno::EXIST);
    }
    if flags.contains(OFlags::DIRECTORY) {
        return Err(Errno::NOTDIR);
    }
    let access = match flags & OFlags::RWMODE {
        OFlags::RDONLY => Access::Read,
        OFlags::WRONLY => Access::Write,
        _ => Access::ReadWrite,
    };
    if !task.is_waiting() {
        return Err(Errno::INTR);
    }
    let (id, description) = {
        let mut state = shared.lock();
        let id = state.open(access).map_err(on_behalf)?;
        let file = state.held(id)?.files.id();
        match state.description(id, file, flags) {
            Ok(description) => (id, description),
            Err(errno) => {
                state.forget(id);
                return Err(on_behalf(errno));
            }
        }
    };
    let given = answer_with(task, description.as_fd(), 0, flags.contains(OFlags::CLOEXEC));
    if given.is_err() {
        drop(description);
        shared.lock().forget(id);
    }
    given
}

/// When this process has no more descriptors, that is not the caller's limit.
fn on_behalf(errno: Errno) -> Errno {
    if errno == Errno::MFILE { Errno::NFILE } else { errno }
}

/// `/proc/PID/fdinfo/N` of an area's descriptor.
fn descriptor_info(shared: &Shared, process: i32, fd: i32) -> Option<Vec<u8>> {
    let id = means_area(shared, process, fd)?;
    let text = fs::read(proc_file(process, &format!("fdinfo/{fd}"))).ok()?;
    let mut state = shared.lock();
    let (area, held) = state.parts(id).ok()?;
    let mut info = format!("pos:\t{}\n", area.position()).into_bytes();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let kept = [&b"flags:"[..], b"mnt_id:", b"ino:"];
        if kept.iter().any(|name| line.starts_with(name)) {
            info.extend_from_slice(line);
        }
    }
    info.extend(area.file_info(Some(held.files.id().inode)));
    Some(info)
}

/// The caller's own mappings, with the names that the driver gives them; `None` when it has none of areas.
fn own_maps(shared: &Shared, task: &Task<'_>, file: &str) -> Option<Vec<u8>> {
    let text = fs::read(task.proc(file)).ok()?;
    let files: HashSet<FileId> = maps::memfds(task.thread()).into_iter().map(|mapped| mapped.file).collect();
    let names: HashMap<FileId, Vec<u8>> = {
        let mut state = shared.lock();
        let mut name = |file| {
            let id = state.area_of(file)?;
            Some((file, state.area(id).ok()?.backing_name()))
        };
        files.into_iter().filter_map(&mut name).collect()
    };
    maps::rename(&text, &|file| names.get(&file).cloned())
}

/// Answers with a file that has this text, and that can only be read.
fn answer_with_text(task: &Task<'_>, text: &[u8], flags: OFlags) -> Result<Reply, Errno> {
    if flags & OFlags::RWMODE != OFlags::RDONLY {
        return Err(Errno::ACCESS);
    }
    let file = text_file(text)?;
    let close_on_exec = flags.contains(OFlags::CLOEXEC);
    task.listener.answer_with(task.call.id, file.as_fd(), None, close_on_exec)?;
    Ok(Reply::Answered)
}

fn text_file(text: &[u8]) -> Result<OwnedFd, Errno> {
    use std::io::Write;
    let fd = rustix::fs::memfd_create("maps", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = fs::File::from(fd);
    file.write_all(text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    reopen(file.as_fd(), Access::Read, OFlags::empty())
}
