//! Where services are found: addresses, and the directory that is the user's own.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use rsbinder::Uri;
use rsbinder::entry::WireProfile;

use crate::{Error, Result};

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A directory of sockets.
    Directory(Place),
    /// The kernel's binder; the endpoint says which driver.
    Kernel(rsbinder::Endpoint),
}

/// A directory, and which of the directories above it belong to it: those are made and checked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Must be there.
    pub(super) base: PathBuf,
    /// One plain name each; the last one is the directory itself.
    pub(super) below: Vec<OsString>,
}

impl Place {
    pub(super) fn path(&self) -> PathBuf {
        let mut path = self.base.clone();
        path.extend(&self.below);
        path
    }
}

impl Address {
    /// Takes an address apart.
    pub(super) fn parse(address: &str) -> Result<Address> {
        let invalid =
            |reason: &str| Error::InvalidAddress { address: address.to_owned(), reason: reason.to_owned() };
        if address.contains('\0') || address.contains("%00") {
            return Err(invalid("it has a NUL"));
        }
        let uri = Uri::parse(address).map_err(|error| invalid(&error.to_string()))?;
        if uri.service().is_some() || address.contains('#') {
            return Err(invalid("it names a service; an address is where services are found"));
        }
        match uri.endpoint() {
            rsbinder::Endpoint::Unix(path) => {
                if uri.wire() != WireProfile::default() {
                    return Err(invalid("the wire cannot be chosen"));
                }
                Place::of(path).map(Address::Directory).map_err(invalid)
            }
            endpoint @ rsbinder::Endpoint::Kernel(_) => Ok(Address::Kernel(endpoint.clone())),
            _ => Err(invalid("services are found at unix:///DIRECTORY or at binder://")),
        }
    }
}

impl Place {
    fn of(path: &Path) -> Result<Place, &'static str> {
        if !path.is_absolute() {
            return Err("the directory's path is not absolute");
        }
        match (path.parent(), path.components().next_back()) {
            (Some(base), Some(Component::Normal(name))) => {
                Ok(Place { base: base.to_owned(), below: vec![name.to_owned()] })
            }
            _ => Err("the path does not end in a directory's name"),
        }
    }

    /// The directory that is `uid`'s own, for a process with that `XDG_RUNTIME_DIR`. `owner` says whose a
    /// directory is.
    ///
    /// A runtime directory of somebody else's, as root has it after `sudo`, is passed over. One that is not
    /// there is not: better an error than a directory where nobody else looks.
    pub(super) fn own(uid: u32, runtime: Option<&OsStr>, owner: impl Fn(&Path) -> Option<u32>) -> Place {
        let below = |base: PathBuf, name: &str| Place { base, below: vec![name.into(), "services".into()] };
        if let Some(runtime) = runtime.map(Path::new).filter(|runtime| runtime.is_absolute()) {
            if owner(runtime).is_none_or(|owner| owner == uid) {
                return below(runtime.to_owned(), "ashmem");
            }
        }
        let session = PathBuf::from(format!("/run/user/{uid}"));
        if owner(&session) == Some(uid) {
            return below(session, "ashmem");
        }
        below("/tmp".into(), &format!("ashmem-{uid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(address: &str) -> PathBuf {
        match Address::parse(address).expect(address) {
            Address::Directory(place) => place.path(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn directories_are_absolute_paths() {
        assert_eq!(directory("unix:///run/services"), Path::new("/run/services"));
        assert_eq!(directory("unix:///a"), Path::new("/a"));
        assert_eq!(directory("unix:///a%20b/c%23"), Path::new("/a b/c#"));
        assert_eq!(directory("unix:///a/b/"), Path::new("/a/b"));
    }

    #[test]
    fn the_kernels_binder_has_a_driver() {
        for (address, driver) in
            [("binder://", None), ("binder://?driver=/dev/hwbinder", Some(Path::new("/dev/hwbinder")))]
        {
            match Address::parse(address).expect(address) {
                Address::Kernel(rsbinder::Endpoint::Kernel(kernel)) => assert_eq!(kernel.driver(), driver),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in [
            "",
            "/run/services",
            "unix:",
            "unix://",
            "unix:///",
            "unix:///a/..",
            "unix://relative/path",
            "unix:///a#b",
            "unix:///a#",
            "unix:///a%00b",
            "unix:///a?profile=android13plus",
            "unix:///a?x=y",
            "binder://name",
            "binder://#name",
            "binder://?x=y",
            "tcp://localhost:1",
            "unix-abstract://x",
            "http://x/",
            "unix:///a\0",
        ] {
            assert!(matches!(Address::parse(address), Err(Error::InvalidAddress { .. })), "{address:?}");
        }
    }

    #[test]
    fn the_users_own_directory() {
        let own = |runtime: Option<&str>, owners: &[(&str, u32)]| {
            let owner =
                |path: &Path| owners.iter().find(|(of, _)| Path::new(of) == path).map(|(_, uid)| *uid);
            Place::own(1000, runtime.map(OsStr::new), owner).path()
        };
        let session = [("/run/user/1000", 1000), ("/x", 1000), ("/y", 0)];
        assert_eq!(own(Some("/x"), &session), Path::new("/x/ashmem/services"));
        assert_eq!(own(Some("/missing"), &session), Path::new("/missing/ashmem/services"));
        for unset in [None, Some(""), Some("relative"), Some("./x"), Some("/y")] {
            assert_eq!(own(unset, &session), Path::new("/run/user/1000/ashmem/services"), "{unset:?}");
            assert_eq!(own(unset, &[("/y", 0)]), Path::new("/tmp/ashmem-1000/services"), "{unset:?}");
            let others = [("/run/user/1000", 0), ("/y", 0)];
            assert_eq!(own(unset, &others), Path::new("/tmp/ashmem-1000/services"), "{unset:?}");
        }
    }
}
