//! Where the daemon listens, and who may be one.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::peer::peer;

/// The variable that names a socket, in place of those below; or `off`, so that nobody is asked.
pub const VARIABLE: &str = "ASHMEM_DRIVER";

/// The socket for all users of the system.
pub const SYSTEM: &str = "/run/ashmem/driver";

/// The sockets to try, in this order: `$ASHMEM_DRIVER` alone if that is set; else the user's, then the system's.
#[must_use]
pub fn candidates() -> Vec<PathBuf> {
    candidates_of(VARIABLE, own, SYSTEM)
}

pub(super) fn candidates_of(variable: &str, own: fn() -> PathBuf, system: &str) -> Vec<PathBuf> {
    match std::env::var_os(variable) {
        Some(value) => chosen(&value),
        None => vec![own(), PathBuf::from(system)],
    }
}

fn chosen(value: &OsStr) -> Vec<PathBuf> {
    if value.is_empty() || value == "off" { Vec::new() } else { vec![PathBuf::from(value)] }
}

/// The user's socket: `$XDG_RUNTIME_DIR/ashmem/driver`; `/run/user/UID/ashmem/driver` without that variable, and
/// `/tmp/ashmem-UID/driver` where there is no such directory either.
#[must_use]
pub fn own() -> PathBuf {
    own_named("driver")
}

/// A socket of that name where the user's sockets are.
pub(super) fn own_named(name: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| dir.as_bytes().starts_with(b"/"));
    own_in(runtime, Path::new("/run/user"), Path::new("/tmp"), rustix::process::geteuid().as_raw()).join(name)
}

fn own_in(runtime: Option<OsString>, users: &Path, temporary: &Path, user: u32) -> PathBuf {
    let runtime = runtime.map(PathBuf::from).or_else(|| {
        let dir = users.join(user.to_string());
        dir.is_dir().then_some(dir)
    });
    match runtime {
        Some(dir) => dir.join("ashmem"),
        None => temporary.join(format!("ashmem-{user}")),
    }
}

/// Whether who listens at the other end of a socket may see this process's regions: the same user, root, or whom root has given
/// the directory of the system's socket.
#[must_use]
pub fn is_trusted(socket: BorrowedFd<'_>, path: &Path) -> bool {
    is_trusted_as(socket, path, SYSTEM)
}

pub(super) fn is_trusted_as(socket: BorrowedFd<'_>, path: &Path, system: &str) -> bool {
    let Ok(peer) = peer(socket) else { return false };
    peer.user == 0
        || peer.user == rustix::process::geteuid().as_raw()
        || path == Path::new(system) && owner_of_directory(path) == Some(peer.user)
}

fn owner_of_directory(path: &Path) -> Option<u32> {
    let stat = rustix::fs::lstat(path.parent()?).ok()?;
    let is_private = FileType::from_raw_mode(stat.st_mode).is_dir() && stat.st_mode & 0o022 == 0;
    is_private.then_some(stat.st_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_alone_counts() {
        assert_eq!(chosen(OsStr::new("/a/b")), [Path::new("/a/b")]);
        for off in ["", "off"] {
            assert!(chosen(OsStr::new(off)).is_empty());
        }
    }

    #[test]
    fn where_the_user_s_sockets_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let (users, temporary) = (dir.path(), Path::new("/t"));
        let own = |runtime: Option<&str>, user| own_in(runtime.map(OsString::from), users, temporary, user);
        assert_eq!(own(Some("/run/x"), 7), Path::new("/run/x/ashmem"));
        assert_eq!(own(None, 7), Path::new("/t/ashmem-7"));
        std::fs::create_dir(users.join("7")).expect("made");
        assert_eq!(own(None, 7), users.join("7/ashmem"));
    }
}
