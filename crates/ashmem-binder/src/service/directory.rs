//! The directory of services: what lies in it, whose it must be, and who may change it when.
//!
//! ```text
//! DIR/NAME                    a symbolic link to .servers/PID-RANDOM: who serves that name
//! DIR/.servers/PID-RANDOM     the socket of one process
//! DIR/.servers/PID-RANDOM.alive   locked by that process as long as it lives
//! DIR/.lock                   held by whoever removes what dead processes left
//! ```
//!
//! A link claims its name: `symlink(2)` fails where there is one. The locks are record locks (`fcntl(2)`),
//! because those end with the process that took them, even when a forked child goes on with copies of all its
//! descriptors. Whoever opens and closes such a file in the same process ends the lock, so
//! [`Process::owns`](super::process::Process::owns) is asked first, everywhere.
//!
//! Only a process removes its own link, and others remove links of dead processes, only while they hold
//! `.lock` and after having looked again. So nobody removes a link that somebody else has just made.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::address::Place;
use super::options::Options;
use super::process::Process;
use super::server_file::ServerFile;
use crate::{Error, Result};

const SERVERS: &str = ".servers";
const LOCK: &str = ".lock";
/// How long somebody else may keep the lock: a moment, unless he was stopped in the middle of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Sockets have at most so many bytes of path, with the NUL.
const SUN_PATH: usize = 108;
const OPEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What the name of a service stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A process claimed it, which may have ended since.
    Server(ServerFile),
    /// A link to something else. It serves nothing, and may be replaced like one of a dead process.
    Foreign,
    /// No link at all, so not ours to remove.
    Other,
}

/// An open directory of services that was found to be private.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    mode: u32,
    /// Tells it from other directories, however it was reached.
    pub(super) id: (u64, u64),
}

/// `DIR/.servers`.
#[derive(Debug)]
pub(super) struct Servers {
    fd: OwnedFd,
    path: PathBuf,
}

/// Nobody else removes or replaces entries meanwhile.
pub(super) struct Lock<'a> {
    #[allow(dead_code, reason = "held for its drop, which comes before that of the mutex")]
    file: OwnedFd,
    #[allow(dead_code, reason = "held for its drop")]
    threads: MutexGuard<'a, ()>,
}

impl Directory {
    /// Opens the directory, and makes it if that is wanted; `None` if it is not there.
    pub(super) fn open(place: &Place, options: &Options, make: bool) -> Result<Option<Directory>> {
        let mut path = place.base.clone();
        let mut fd = match fs::open(&path, OPEN.difference(OFlags::NOFOLLOW), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(error) => return Err(failed("open the directory of services", error)),
        };
        let mut found = None;
        for name in &place.below {
            path.push(name);
            match open_private(fd, name, &path, options, make.then_some(Mode::RWXU))? {
                Some((below, stat)) => {
                    fd = below;
                    found = Some(stat);
                }
                None => return Ok(None),
            }
        }
        let Some(stat) = found else { return Ok(None) };
        Ok(Some(Directory { fd, path, mode: stat.st_mode, id: (stat.st_dev, stat.st_ino) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The sockets. Who made the directory readable for others means its sockets, too.
    pub(super) fn servers(&self, options: &Options, make: bool) -> Result<Option<Servers>> {
        let mode = Mode::from_raw_mode(self.mode & 0o755 | 0o700);
        let path = self.path.join(SERVERS);
        let parent = self.fd.try_clone().map_err(Error::system("open the sockets of services"))?;
        let opened = open_private(parent, OsStr::new(SERVERS), &path, options, make.then_some(mode))?;
        Ok(opened.map(|(fd, _)| Servers { fd, path }))
    }

    /// What stands at a name; `None` for nothing.
    pub(super) fn entry(&self, file: &str) -> Result<Option<Entry>> {
        match fs::readlinkat(&self.fd, file, Vec::new()) {
            Ok(target) => {
                let server = target.as_bytes().strip_prefix(b".servers/").and_then(ServerFile::parse);
                Ok(Some(server.map_or(Entry::Foreign, Entry::Server)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) => Ok(Some(Entry::Other)),
            Err(error) => Err(failed("read the entry of a service", error)),
        }
    }

    /// Every file that may stand for a service.
    pub(super) fn files(&self) -> Result<Vec<Vec<u8>>> {
        names(&self.fd).map_err(Error::system("list the directory of services"))
    }

    /// Claims a name; `false` if there is something.
    pub(super) fn link(&self, file: &str, server: &ServerFile) -> Result<bool> {
        match fs::symlinkat(format!("{SERVERS}/{server}"), &self.fd, file) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(failed("add a service to its directory", error)),
        }
    }

    /// Takes a link away. `Lock`: only after having looked under it.
    pub(super) fn unlink(&self, file: &str, _: &Lock<'_>) -> Result<()> {
        match fs::unlinkat(&self.fd, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("remove the entry of a service", error)),
        }
    }

    /// Waits until nobody else has the lock, at most so long.
    pub(super) fn lock<'a>(&self, process: &'a Process, patience: Duration) -> Result<Lock<'a>> {
        let until = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.try_lock(process) {
                Ok(lock) => return Ok(lock),
                Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < until => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(error) => return Err(failed("lock the directory of services", error)),
            }
        }
    }

    fn try_lock<'a>(&self, process: &'a Process) -> Result<Lock<'a>, Errno> {
        // Record locks do not exclude the threads of one process, and closing the file in one ends the lock
        // of the other.
        let threads = process.directory_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // EACCES is said of a lock that is held as well, so the file that may not be opened gets another
        // name.
        let file = fs::openat(&self.fd, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| if error == Errno::ACCESS { Errno::PERM } else { error })?;
        fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock { file, threads })
    }

    /// Removes what a dead process left at a name, if it still stands there. Not worth waiting for: whoever
    /// comes next does it.
    pub(super) fn clean(&self, process: &Process, servers: Option<&Servers>, file: &str, dead: &ServerFile) {
        let cleaned = self.try_lock(process).map_err(|error| failed("lock", error)).and_then(|lock| {
            let server = Entry::Server(dead.clone());
            if self.entry(file)? == Some(server) && !Servers::lives(servers, process, dead)? {
                self.unlink(file, &lock)?;
            }
            if let Some(servers) = servers {
                servers.remove_dead(process, dead, &lock)?;
            }
            Ok(())
        });
        if let Err(error) = cleaned {
            log::debug!("{} of a dead process is left in {}: {error}", file, self.path.display());
        }
    }
}

impl Servers {
    /// Whether the process lives that has this socket.
    pub(super) fn lives(this: Option<&Servers>, process: &Process, server: &ServerFile) -> Result<bool> {
        if process.owns(server) {
            return Ok(true);
        }
        let Some(this) = this else { return Ok(false) };
        if server.is_of_process(process.id) {
            return this.answers(server);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match fs::openat(&this.fd, server.alive(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(failed("look whether a service lives", error)),
        };
        // Shared, so that those who look do not take each other for the server.
        match fs::fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
            Err(error) => Err(failed("look whether a service lives", error)),
        }
    }

    /// The same for a file that may be of this process, but is not ours: there can be two copies of this
    /// crate in a process, and the lock of the other one must not be touched. (Or it was another process with
    /// the same id, which is dead or in another namespace.)
    fn answers(&self, server: &ServerFile) -> Result<bool> {
        let connected = self.with_path(server.socket(), |path| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
        });
        match connected {
            Ok(()) | Err(Errno::AGAIN) => Ok(true),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
            Err(error) => Err(failed("look whether a service lives", error)),
        }
    }

    /// Makes the file that says that this process lives. Under the lock, or it would be taken for a dead
    /// one's before it says so.
    pub(super) fn make_alive(&self, server: &ServerFile, others: bool, _: &Lock<'_>) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || {
            let file = fs::openat(&self.fd, server.alive(), flags, Mode::RUSR | Mode::WUSR)?;
            fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
            if others {
                // Not before it is locked, or they could lock it.
                fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
            }
            Ok(file)
        };
        make().map_err(|error: Errno| failed("make the socket of a process's services", error))
    }

    /// Lets other users connect, who may get as far as the directory.
    pub(super) fn open_to_others(&self, server: &ServerFile) -> Result<()> {
        fs::chmodat(&self.fd, server.socket(), Mode::from_raw_mode(0o666), AtFlags::empty())
            .map_err(Error::system("let other users connect to services"))
    }

    pub(super) fn remove(&self, file: &str) {
        // What is not there need not be removed; and what may not be removed stays.
        let _ = fs::unlinkat(&self.fd, file, AtFlags::empty());
    }

    fn remove_dead(&self, process: &Process, server: &ServerFile, _: &Lock<'_>) -> Result<()> {
        if !Servers::lives(Some(self), process, server)? {
            for file in server.files() {
                self.remove(&file);
            }
        }
        Ok(())
    }

    /// Removes the files of all processes that have ended.
    pub(super) fn sweep(&self, process: &Process, lock: &Lock<'_>) -> Result<()> {
        for name in names(&self.fd).map_err(Error::system("list the sockets of services"))? {
            if let Some(server) = ServerFile::of(&name) {
                self.remove_dead(process, &server, lock)?;
            }
        }
        Ok(())
    }

    /// Does something with a path of the socket that is short enough for `sockaddr_un`.
    pub(super) fn with_path<T>(&self, file: &str, action: impl FnOnce(&Path) -> T) -> T {
        let path = self.path.join(file);
        if path.as_os_str().len() < SUN_PATH {
            return action(&path);
        }
        // The descriptor is open until the action is done.
        action(&Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(file))
    }
}

/// Opens, or makes, one directory that must be private.
fn open_private(
    parent: OwnedFd,
    name: &OsStr,
    path: &Path,
    options: &Options,
    make: Option<Mode>,
) -> Result<Option<(OwnedFd, fs::Stat)>> {
    let refused = |reason| Error::NotPrivate { path: path.to_owned(), reason };
    if let Some(mode) = make {
        match fs::mkdirat(&parent, name, Mode::RWXU) {
            // The umask has no say in it. Through a descriptor: who may write to the parent may have replaced it.
            Ok(()) => fs::openat(&parent, name, OPEN.difference(OFlags::PATH), Mode::empty())
                .and_then(|made| fs::fchmod(made, mode))
                .map_err(Error::system("make the directory of services"))?,
            Err(Errno::EXIST) => {}
            // It may be there all the same.
            Err(error) => {
                if fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                    return Err(failed("make the directory of services", error));
                }
            }
        }
    }
    let fd = match fs::openat(&parent, name, OPEN, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if make.is_none() => return Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused("it is not a directory")),
        Err(error) => return Err(failed("open the directory of services", error)),
    };
    let stat = fs::fstat(&fd).map_err(Error::system("look at the directory of services"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(refused("it is not a directory"));
    }
    if !options.trusts(stat.st_uid) {
        return Err(refused("it is another user's"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(refused("others than its owner may write to it"));
    }
    Ok(Some((fd, stat)))
}

/// The names in a directory of which only the path was opened.
fn names(directory: &OwnedFd) -> std::io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = fs::openat(directory, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in fs::Dir::new(readable)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.as_bytes().to_vec());
        }
    }
    Ok(names)
}

fn failed(operation: &'static str, error: Errno) -> Error {
    Error::System { operation, source: error.into() }
}
