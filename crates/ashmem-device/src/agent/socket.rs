//! The socket that runtimes connect to.
//!
//! ```text
//! DIR/NAME         the socket: bound and listening under another name, and then put here
//! DIR/NAME.lock    locked by the agent as long as it lives
//! ```

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Error;

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 1024;
/// Sockets have at most so many bytes of path, with the NUL.
const SUN_PATH: usize = 108;
pub(super) const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that listens. Dropping it removes the socket's file, if it is still there.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
    id: (u64, u64),
    #[allow(dead_code, reason = "held for its lock, which ends last")]
    lock: OwnedFd,
}

impl Listener {
    /// Listens at `path`, for this user and root. Makes its directory, if only that is missing, and takes the place of a socket that
    /// nobody listens to.
    ///
    /// # Errors
    /// [`Error::Running`] when there is an agent; [`Error::Path`] when something else is there, or others could put something there;
    /// [`Error::System`].
    pub fn bind(path: &Path) -> Result<Listener, Error> {
        let refused = |reason| Error::Path { path: path.to_owned(), reason };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused("it names no file"));
        };
        if !path.is_absolute() {
            return Err(refused("runtimes need an absolute path"));
        }
        if path.as_os_str().len() >= SUN_PATH {
            return Err(refused("it is too long for a socket"));
        }
        let directory = open_directory(parent, path)?;
        let lock = lock(&directory, name, path)?;
        clear_the_way(&directory, name, path)?;
        let (socket, id) = put(&directory, name).map_err(Error::system("make the socket"))?;
        Ok(Listener { socket, path: path.to_owned(), directory, name: name.to_owned(), id, lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if identity(&self.directory, &self.name) == Some(self.id) {
            // What may not be removed stays.
            let _ = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Opens the directory, or makes it, and sees to it that nobody else writes there.
fn open_directory(parent: &Path, path: &Path) -> Result<OwnedFd, Error> {
    let refused = |reason| Error::Path { path: path.to_owned(), reason };
    // Opening it says what else is wrong.
    if fs::mkdir(parent, Mode::RWXU) == Err(Errno::NOENT) {
        return Err(refused("the directory that its directory should be made in is not there"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        fs::open(parent, flags, Mode::empty()).map_err(Error::system("open the directory of the socket"))?;
    let stat = fs::fstat(&directory).map_err(Error::system("look at the directory of the socket"))?;
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("the directory is another user's"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(refused("others than its owner may write to the directory"));
    }
    Ok(directory)
}

/// Says that an agent lives, until the descriptor is closed.
fn lock(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, Error> {
    let mut lock = name.to_owned();
    lock.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = fs::openat(directory, lock, flags, Mode::RUSR | Mode::WUSR);
    let lock = lock.map_err(Error::system("open the lock beside the socket"))?;
    match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(Error::Running { path: path.to_owned() }),
        Err(errno) => Err(Error::system("lock the socket")(errno)),
    }
}

/// Whatever is at the socket's place is to be a socket that nobody listens to.
fn clear_the_way(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Error> {
    let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Error::system("look at the socket's place")(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Error::Path { path: path.to_owned(), reason: "something else is there" });
    }
    let connected = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)
        .and_then(|socket| net::connect(&socket, &SocketAddrUnix::new(through(directory, name))?));
    match connected {
        // Another program's: ours would have the lock.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(Error::Running { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// A short path, and one that leads into this directory whatever becomes of its name.
fn through(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Makes the socket under another name, and puts it in its place once it listens.
fn put(directory: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, (u64, u64)), Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let mut temporary = OsString::from(format!(".{}.", std::process::id()));
    temporary.push(name);
    // Left by a process with our number that was killed: we have the lock.
    let _ = fs::unlinkat(directory, &temporary, AtFlags::empty());
    net::bind(&socket, &SocketAddrUnix::new(through(directory, &temporary))?)?;
    let placed = || {
        fs::chmodat(directory, &temporary, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn only_its_user_may_connect_and_the_file_goes_in_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made/agent.sock");
        let listener = Listener::bind(&path).expect("listening");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).expect("connected");
        assert!(matches!(Listener::bind(&path), Err(Error::Running { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("agent.sock");
        let other = UnixListener::bind(&path).expect("another program");
        assert!(matches!(Listener::bind(&path), Err(Error::Running { .. })));
        drop(other);
        drop(Listener::bind(&path).expect("nobody listens there"));
        std::fs::write(&path, b"x").expect("written");
        assert!(matches!(Listener::bind(&path), Err(Error::Path { .. })));
        assert_eq!(std::fs::read(&path).expect("read"), b"x");
    }

    #[test]
    fn a_socket_that_has_another_s_place_is_not_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("agent.sock");
        let listener = Listener::bind(&path).expect("listening");
        std::fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("another program");
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn places_that_are_no_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = dir.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("changed");
        let long = dir.path().join("x".repeat(108));
        for path in [open.join("agent"), long, "agent.sock".into(), "/".into(), dir.path().join("a/b/c")] {
            assert!(matches!(Listener::bind(&path), Err(Error::Path { .. })), "{}", path.display());
        }
    }
}
