//! The thread whose system call waits, as `/proc` shows it.
//!
//! Whatever is read here is about that thread only if its call is still waiting afterwards ([`Task::is_waiting`]): numbers are
//! used again.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::filter::Abi;
use crate::known::Known;
use crate::sys::{self, Listener, Notification};

/// Which file a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    /// Major and minor number of the file system.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(fd: impl std::os::fd::AsFd) -> Result<FileId, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        Ok(FileId { device, inode: stat.st_ino })
    }
}

/// A thread in a system call that waits for an answer.
pub(crate) struct Task<'a> {
    pub(crate) listener: &'a Listener,
    pub(crate) known: &'a Known,
    pub(crate) call: Notification,
    pub(crate) abi: Abi,
}

/// Where an answer cannot be given: the caller is gone, or may not be looked at.
pub(crate) type Outcome<T> = Result<T, Errno>;

impl Task<'_> {
    pub(crate) fn thread(&self) -> i32 {
        self.call.thread
    }

    /// Tells listeners apart.
    pub(crate) fn listener_number(&self) -> usize {
        std::ptr::from_ref(self.listener).addr()
    }

    /// Argument of that index, as the call takes it: 32-bit programs have only half a register.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        let argument = self.call.arguments[index];
        if self.abi.is_32_bit() { argument & 0xffff_ffff } else { argument }
    }

    /// An argument that is a descriptor.
    pub(crate) fn descriptor(&self, index: usize) -> i32 {
        self.call.arguments[index] as i32
    }

    /// Whether the call still waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.listener.is_waiting(self.call.id).unwrap_or(false)
    }

    /// A file of the thread's in `/proc`.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        proc_file(self.thread(), name)
    }

    /// The memfd that a descriptor of the thread's leads to. `None` for all other files, without asking them anything: a file in user space
    /// may never answer.
    pub(crate) fn memfd(&self, fd: i32) -> Option<FileId> {
        memfd_of(self.thread(), fd)
    }

    /// How a descriptor was opened: its status flags, and whether it is closed on exec.
    pub(crate) fn flags(&self, fd: i32) -> Option<OFlags> {
        flags_of(self.thread(), fd)
    }

    /// Reads all of `buffer`.
    ///
    /// # Errors
    /// EFAULT where something cannot be read.
    pub(crate) fn read_exact(&self, address: u64, buffer: &mut [u8]) -> Outcome<()> {
        let read = sys::read(self.thread(), address, buffer)?;
        if read == buffer.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Reads what there is, at most `buffer.len()` bytes.
    pub(crate) fn read_some(&self, address: u64, buffer: &mut [u8]) -> Outcome<usize> {
        sys::read(self.thread(), address, buffer)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// EFAULT where something cannot be written.
    pub(crate) fn write_all(&self, address: u64, bytes: &[u8]) -> Outcome<()> {
        let written = sys::write(self.thread(), address, bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Reads a path, without its NUL.
    ///
    /// # Errors
    /// EFAULT, ENAMETOOLONG.
    pub(crate) fn read_path(&self, address: u64) -> Outcome<Vec<u8>> {
        const PATH_MAX: usize = 4096;
        // Most paths are short.
        let mut path = vec![0; 256];
        loop {
            let read = self.read_some(address, &mut path)?;
            if let Some(end) = path[..read].iter().position(|&byte| byte == 0) {
                path.truncate(end);
                return Ok(path);
            }
            if read < path.len() {
                return Err(Errno::FAULT);
            }
            if path.len() >= PATH_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            path.resize(PATH_MAX, 0);
        }
    }

    /// Whether the caller is in this process's namespace of that kind (`namespaces(7)`): `mnt`, `pid`, `user`.
    pub(crate) fn shares(&self, namespace: &str) -> bool {
        let name = format!("ns/{namespace}");
        let link = |path: PathBuf| rustix::fs::readlink(path, Vec::new()).ok();
        let own = link(PathBuf::from("/proc/self").join(&name));
        own.is_some() && own == link(self.proc(&name))
    }

    /// Whether the caller may look into a process's files, as `ptrace(2)` has it ("access mode checking"): its own, one of the same user
    /// with no more capabilities, or any with CAP_SYS_PTRACE.
    pub(crate) fn may_look_at(&self, process: i32) -> bool {
        const SYS_PTRACE: u64 = 1 << 19;
        let (Some(own), Some(other)) = (self.status(), Status::of(process)) else { return false };
        if own.process == other.process {
            return true;
        }
        let namespace = |thread| rustix::fs::readlink(proc_file(thread, "ns/user"), Vec::new()).ok();
        let same_namespace = namespace(own.process).is_some_and(|own| namespace(other.process) == Some(own));
        let user = own.users[3];
        let same_user = other.users[..3].iter().all(|&other| other == user)
            && other.groups[..3].iter().all(|&other| other == own.groups[3])
            && other.capabilities & !own.capabilities == 0;
        same_namespace && (same_user || own.capabilities & SYS_PTRACE != 0)
    }

    pub(crate) fn status(&self) -> Option<Status> {
        Status::of(self.thread())
    }

    /// Whether memory that may be read may be executed, too (`personality(2)`).
    pub(crate) fn read_implies_exec(&self) -> bool {
        const READ_IMPLIES_EXEC: u32 = 0x040_0000;
        let text = fs::read_to_string(self.proc("personality")).unwrap_or_default();
        u32::from_str_radix(text.trim(), 16).is_ok_and(|bits| bits & READ_IMPLIES_EXEC != 0)
    }
}

/// What `/proc/PID/status` says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    pub(crate) process: i32,
    pub(crate) parent: i32,
    /// The thread's process's number in its own namespace.
    pub(crate) own_number: i32,
    /// Real, effective, saved user, and the one that files are opened as; and so for the group.
    pub(crate) users: [u32; 4],
    pub(crate) groups: [u32; 4],
    /// Effective capabilities.
    pub(crate) capabilities: u64,
}

impl Status {
    pub(crate) fn of(thread: i32) -> Option<Status> {
        let text = fs::read(proc_file(thread, "status")).ok()?;
        Status::parse(&text)
    }

    fn parse(text: &[u8]) -> Option<Status> {
        let mut status = Status::default();
        for line in text.split(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let mut fields = value.split_ascii_whitespace();
            match key {
                "Tgid" => status.process = fields.next()?.parse().ok()?,
                "PPid" => status.parent = fields.next()?.parse().ok()?,
                "NStgid" => status.own_number = fields.next_back()?.parse().ok()?,
                "Uid" => status.users = four(&mut fields)?,
                "Gid" => status.groups = four(&mut fields)?,
                "CapEff" => status.capabilities = u64::from_str_radix(fields.next()?, 16).ok()?,
                _ => {}
            }
        }
        (status.process > 0).then_some(status)
    }
}

fn four<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<[u32; 4]> {
    let mut numbers = [0; 4];
    for number in &mut numbers {
        *number = fields.next()?.parse().ok()?;
    }
    Some(numbers)
}

pub(crate) fn proc_file(thread: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{thread}/{name}"))
}

/// See [`Task::memfd`].
pub(crate) fn memfd_of(thread: i32, fd: i32) -> Option<FileId> {
    if fd < 0 {
        return None;
    }
    let path = proc_file(thread, &format!("fd/{fd}"));
    let link = rustix::fs::readlink(&path, Vec::new()).ok()?;
    if !link.as_bytes().starts_with(b"/memfd:") {
        return None;
    }
    let flags = AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(rustix::fs::CWD, &path, flags, StatxFlags::INO).ok()?;
    Some(FileId { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino })
}

/// The name of a memfd.
pub(crate) fn memfd_name(thread: i32, fd: i32) -> Option<Vec<u8>> {
    let link = fs::read_link(proc_file(thread, &format!("fd/{fd}"))).ok()?;
    let link = link.into_os_string().into_vec();
    let name = link.strip_prefix(b"/memfd:")?;
    Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
}

pub(crate) fn flags_of(thread: i32, fd: i32) -> Option<OFlags> {
    let text = fs::read(proc_file(thread, &format!("fdinfo/{fd}"))).ok()?;
    let mut lines = text.split(|&byte| byte == b'\n');
    let flags = lines.find_map(|line| line.strip_prefix(b"flags:"))?;
    let flags = std::str::from_utf8(flags).ok()?;
    u32::from_str_radix(flags.trim(), 8).ok().map(OFlags::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_status() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let status = Status::of(own).expect("a status");
        assert_eq!(status.process, own);
        assert_eq!(status.own_number, own);
        assert_eq!(status.users[3], rustix::process::geteuid().as_raw());
    }

    #[test]
    fn tells_memfds_from_other_files() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let memfd = rustix::fs::memfd_create("some name", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        let number = std::os::fd::AsRawFd::as_raw_fd(&memfd);
        assert_eq!(memfd_of(own, number), FileId::of(&memfd).ok());
        assert_eq!(memfd_name(own, number).as_deref(), Some(&b"some name"[..]));
        assert!(flags_of(own, number).expect("flags").contains(OFlags::RDWR | OFlags::CLOEXEC));
        let file = fs::File::open("/proc/self/status").expect("a file");
        assert_eq!(memfd_of(own, std::os::fd::AsRawFd::as_raw_fd(&file)), None);
        assert_eq!(memfd_of(own, -1), None);
        assert_eq!(memfd_of(own, i32::MAX), None);
    }

    #[test]
    fn a_status_is_parsed() {
        let text =
            b"Name:\tx:y\nTgid:\t12\nPPid:\t3\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNStgid:\t12\t5\nCapEff:\t00000000a0000001\n";
        let status = Status::parse(text).expect("a status");
        assert_eq!((status.process, status.parent, status.own_number), (12, 3, 5));
        assert_eq!((status.users, status.groups), ([1, 2, 3, 4], [5, 6, 7, 8]));
        assert_eq!(status.capabilities, 0xa000_0001);
        assert!(Status::parse(b"").is_none());
        assert!(Status::parse(b"Tgid:\n").is_none());
    }
}
