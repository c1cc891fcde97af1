//! The socket that processes connect to, and the files around it.
//!
//! ```text
//! DIR/driver         the socket: bound and listening under another name, and then put here
//! DIR/driver.lock    locked by the daemon as long as it lives, with its number in it
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Error, Result};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 1024;
/// Sockets have at most so many bytes of path, with the NUL.
const SUN_PATH: usize = 108;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Whom a daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The user that it runs as, and root.
    OwnUser,
    /// All users of the system.
    Everyone,
}

impl Audience {
    fn directory_mode(self) -> u32 {
        if self == Audience::OwnUser { 0o700 } else { 0o755 }
    }

    fn socket_mode(self) -> u32 {
        if self == Audience::OwnUser { 0o600 } else { 0o666 }
    }
}

/// A socket that listens. Dropping it removes the socket's file, if it is still there.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    /// As people call it.
    path: Option<PathBuf>,
    audience: Audience,
    /// What to remove in the end.
    file: Option<SocketFile>,
    #[allow(dead_code, reason = "held for its lock, which ends last")]
    lock: Option<File>,
}

#[derive(Debug)]
struct SocketFile {
    directory: OwnedFd,
    name: OsString,
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.directory, &self.name) == Some(self.id) {
            // What may not be removed stays.
            let _ = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl Listener {
    /// Listens at `path`. Makes its directory, if only that is missing, and takes the place of a socket that nobody listens to.
    ///
    /// # Errors
    /// [`Error::Running`] when there is a daemon, [`Error::Directory`] when others could put something there, [`Error::InTheWay`],
    /// [`Error::Path`], [`Error::System`].
    pub fn bind(path: &Path, audience: Audience) -> Result<Listener> {
        let refused = |reason| Error::Path { path: path.to_owned(), reason };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused("it names no file"));
        };
        if path.as_os_str().len() >= SUN_PATH {
            return Err(refused("it is too long for a socket"));
        }
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let directory = open_directory(parent, audience)?;
        let lock = lock(&directory, name, path)?;
        clear_the_way(&directory, name, path)?;
        let (socket, id) = put(&directory, name, audience).map_err(Error::system("make the socket"))?;
        let file = SocketFile { directory, name: name.to_owned(), id };
        Ok(Listener { socket, path: Some(path.to_owned()), audience, file: Some(file), lock: Some(lock) })
    }

    /// Listens on a socket that somebody else has made, as systemd does, who keeps it when the daemon ends.
    ///
    /// # Errors
    /// [`Error::Passed`] unless it is a listening `SOCK_SEQPACKET` socket of the Unix domain; [`Error::Running`] when there is a daemon
    /// that has made its own socket in the same place.
    pub fn passed(socket: OwnedFd, audience: Audience) -> Result<Listener> {
        let refused = |reason| Error::Passed { reason };
        match net::sockopt::socket_domain(&socket) {
            Ok(AddressFamily::UNIX) => {}
            Ok(_) => return Err(refused("it is not of the Unix domain")),
            Err(_) => return Err(refused("it is no socket")),
        }
        if net::sockopt::socket_type(&socket) != Ok(SocketType::SEQPACKET) {
            return Err(refused("it is not of the type SOCK_SEQPACKET (ListenSequentialPacket=)"));
        }
        if net::sockopt::socket_acceptconn(&socket) != Ok(true) {
            return Err(refused("it does not listen"));
        }
        rustix::io::ioctl_fionbio(&socket, true).map_err(Error::system("set up the socket"))?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)
            .map_err(Error::system("set up the socket"))?;
        let path = path_of(&socket);
        let lock = path.as_deref().map_or(Ok(None), lock_beside)?;
        Ok(Listener { socket, path, audience, file: None, lock })
    }

    /// Where it listens, if that has a name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn audience(&self) -> Audience {
        self.audience
    }

    /// Whether somebody else made it.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.file.is_none()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn path_of(socket: &OwnedFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(net::getsockname(socket).ok()?).ok()?;
    address.path_bytes().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
}

/// Opens the directory, or makes it, and sees to it that nobody else writes there.
fn open_directory(path: &Path, audience: Audience) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let refused = |reason| Error::Directory { path: path.to_owned(), reason };
    let made = match fs::mkdir(path, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(Errno::NOENT) => return Err(refused("the directory that it should be made in is not there")),
        // It may be there all the same.
        Err(_) if fs::lstat(path).is_ok() => false,
        Err(error) => return Err(Error::system("make the directory of the socket")(error)),
    };
    let directory = match fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused("it is not a directory, or a link to one")),
        Err(error) => return Err(Error::system("open the directory of the socket")(error)),
    };
    let stat = fs::fstat(&directory).map_err(Error::system("look at the directory of the socket"))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("the directory is another user's"));
    }
    if made {
        // The umask has no say in it.
        fs::fchmod(&directory, Mode::from_raw_mode(audience.directory_mode()))
            .map_err(Error::system("make the directory of the socket"))?;
    } else if stat.st_mode & 0o022 != 0 {
        return Err(refused("others than its owner may write to the directory"));
    }
    Ok(directory)
}

fn lock_name(name: &OsStr) -> OsString {
    let mut lock = name.to_owned();
    lock.push(".lock");
    lock
}

/// Says that a daemon lives, until the file is closed.
fn lock(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::openat(directory, lock_name(name), flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(Error::system("open the lock beside the socket"))?);
    match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = (&file).take(20).read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::Running { path: path.to_owned(), process });
        }
        Err(error) => return Err(Error::system("lock the socket")(error)),
    }
    // For messages alone, so a full disk is no matter.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The same for a socket of somebody else's, in whose directory there need be no room for a lock of ours.
fn lock_beside(path: &Path) -> Result<Option<File>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let Ok(directory) = open_directory(parent, Audience::OwnUser) else { return Ok(None) };
    match lock(&directory, name, path) {
        Err(Error::System { source, .. }) => {
            log::debug!("no lock beside {}: {source}", path.display());
            Ok(None)
        }
        locked => locked.map(Some),
    }
}

/// Whatever is at the socket's place is to be a socket that nobody listens to.
fn clear_the_way(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
    let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::system("look at the socket's place")(error)),
    };
    let in_the_way = |what| Err(Error::InTheWay { path: path.to_owned(), what });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {}
        FileType::Directory => return in_the_way("a directory"),
        FileType::Symlink => return in_the_way("a link"),
        FileType::RegularFile => return in_the_way("a file"),
        _ => return in_the_way("something special"),
    }
    // Who listens without the lock has got the socket from systemd, or is systemd.
    let connected = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)
        .and_then(|socket| net::connect(&socket, &SocketAddrUnix::new(through(directory, name))?));
    match connected {
        Ok(()) | Err(Errno::AGAIN) => Err(Error::Running { path: path.to_owned(), process: None }),
        // Nobody is there, or it is a socket of another type, which is none of ours.
        Err(_) => Ok(()),
    }
}

/// A short path, and one that leads into this directory whatever becomes of its name.
fn through(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Makes the socket under another name, and puts it in its place once it listens.
fn put(directory: &OwnedFd, name: &OsStr, audience: Audience) -> Result<(OwnedFd, (u64, u64)), Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    let mut temporary = OsString::from(format!(".{}.", std::process::id()));
    temporary.push(name);
    // Left by a process with our number that was killed: we have the lock.
    let _ = fs::unlinkat(directory, &temporary, AtFlags::empty());
    net::bind(&socket, &SocketAddrUnix::new(through(directory, &temporary))?)?;
    let placed = || {
        let mode = Mode::from_raw_mode(audience.socket_mode());
        fs::chmodat(directory, &temporary, mode, AtFlags::empty())?;
        net::listen(&socket, BACKLOG)?;
        let id = identity(directory, &temporary).ok_or(Errno::NOENT)?;
        fs::renameat(directory, &temporary, directory, name)?;
        Ok(id)
    };
    let placed: Result<_, Errno> = placed();
    if placed.is_err() {
        let _ = fs::unlinkat(directory, &temporary, AtFlags::empty());
    }
    Ok((socket, placed?))
}

fn identity(directory: &OwnedFd, name: &OsStr) -> Option<(u64, u64)> {
    let stat = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_dev, stat.st_ino))
}
