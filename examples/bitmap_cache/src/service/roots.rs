//! The folders that the service may read, and files below them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2};
use rustix::io::Errno;

use super::Refused;
use crate::{Error, Refusal, Result};

/// The folders, each held open: what is below one stays so when it is renamed.
pub(super) struct Roots(Vec<Root>);

struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// What tells a file from another, and from itself before it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// A regular file that was found, and is not open for reading yet.
pub(super) struct Found {
    place: OwnedFd,
    identity: Identity,
}

impl Identity {
    // The kernel's types differ between machines.
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "they are of another type elsewhere"
    )]
    fn of(stat: &Stat) -> Identity {
        Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a file is still as it was.
    pub(super) fn is_still(&self, file: BorrowedFd<'_>) -> bool {
        fstat(file).is_ok_and(|stat| Identity::of(&stat) == *self)
    }
}

impl Roots {
    pub(super) fn open<P: AsRef<Path>>(folders: &[P]) -> Result<Roots> {
        let root = |folder: &Path| {
            let path = folder.canonicalize()?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(Root { directory: open(&path, flags, Mode::empty())?, path })
        };
        let root = |folder: &P| {
            let folder = folder.as_ref();
            root(folder).map_err(|source: io::Error| Error::File {
                operation: "open folder",
                path: folder.to_owned(),
                source,
            })
        };
        Ok(Roots(folders.iter().map(root).collect::<Result<_>>()?))
    }

    /// Looks for a file. Nothing is opened but for its place, so no device and no pipe notices.
    ///
    /// What is outside is refused by its name alone: whether there is something is not told.
    pub(super) fn find(&self, path: &Path) -> Result<Found, Refused> {
        let is_plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
        let found =
            self.0.iter().find_map(|root| Some((&root.directory, path.strip_prefix(&root.path).ok()?)));
        let found = found.filter(|_| path.components().all(is_plain));
        let Some((root, below)) = found else {
            return Err(Refused::new(Refusal::Outside, "the path is outside of the service's folders"));
        };
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let place = openat2(root, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
        let place = place.map_err(|error| match error {
            Errno::XDEV => Refused::new(Refusal::Outside, "a link leads out of the service's folders"),
            error => Refused::new(Refusal::File, format!("find picture: {}", io::Error::from(error))),
        })?;
        let stat = fstat(&place).map_err(|error| refused("look at picture", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refused::new(Refusal::File, "this is no regular file"));
        }
        Ok(Found { identity: Identity::of(&stat), place })
    }
}

impl Found {
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Opens that very file for reading.
    pub(super) fn read(&self) -> Result<File, Refused> {
        let path = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(open(path, flags, Mode::empty()).map_err(|error| refused("open picture", error))?.into())
    }
}

fn refused(operation: &str, error: Errno) -> Refused {
    Refused::new(Refusal::File, format!("{operation}: {}", io::Error::from(error)))
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_and_nothing_but_files() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        let folder = top.join("pictures");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        std::fs::write(folder.join("below/a.png"), "picture").unwrap();
        std::fs::write(top.join("secret"), "secret").unwrap();
        symlink("below/a.png", folder.join("inside")).unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink(top.join("secret"), folder.join("absolute")).unwrap();
        symlink("..", folder.join("below/up")).unwrap();
        symlink("../..", folder.join("below/top")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();

        let roots = Roots::open(&[&folder]).unwrap();
        for good in ["below/a.png", "inside", "below/up/inside"] {
            let found = roots.find(&folder.join(good)).unwrap();
            assert_eq!(std::io::read_to_string(found.read().unwrap()).unwrap(), "picture");
        }
        for outside in ["out", "absolute", "below/top/secret", "../secret", "below/../below/a.png"] {
            assert_eq!(roots.find(&folder.join(outside)).unwrap_err().refusal, Refusal::Outside, "{outside}");
        }
        for other in ["/etc/passwd", "/dev/zero", "", "pictures/below/a.png"] {
            assert_eq!(roots.find(Path::new(other)).unwrap_err().refusal, Refusal::Outside, "{other}");
        }
        for none in ["", "below", "pipe", "socket", "missing", "loop", "below/a.png/b", "a\0b"] {
            assert_eq!(roots.find(&folder.join(none)).unwrap_err().refusal, Refusal::File, "{none}");
        }
        assert!(matches!(Roots::open(&[top.join("missing")]), Err(Error::File { .. })));
        assert!(matches!(Roots::open(&[top.join("secret")]), Err(Error::File { .. })));
    }

    #[test]
    fn a_file_that_was_changed_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("a");
        std::fs::write(&path, "one").unwrap();
        let roots = Roots::open(&[folder.path()]).unwrap();
        let found = roots.find(&path).unwrap();
        let file = found.read().unwrap();
        assert!(found.identity().is_still(file.as_fd()));
        std::fs::write(&path, "three").unwrap();
        assert!(!found.identity().is_still(file.as_fd()));
        assert_ne!(roots.find(&path).unwrap().identity(), found.identity());
    }
}
