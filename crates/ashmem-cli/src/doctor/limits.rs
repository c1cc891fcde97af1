//! The directory of the services, and how many regions a process can have.

use std::path::Path;

use ashmem_binder::ServiceManager;
use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};

use super::Finding;

/// A process with fewer descriptors comes to an end with some hundred regions.
const DESCRIPTORS: u64 = 4096;

pub fn services() -> Finding {
    const FEATURE: &str = "services";
    let unusable = |reason: String| {
        Finding::missing(
            FEATURE,
            format!("share, cat and services do not work without --at: {reason}"),
            "set XDG_RUNTIME_DIR to a directory of this user's alone, or ASHMEM_BINDER to unix:///DIRECTORY",
        )
    };
    let (services, address) = match ServiceManager::new() {
        Ok(services) => {
            let address = services.address();
            (services, address)
        }
        Err(error) => return unusable(crate::with_causes(&error)),
    };
    if let Err(error) = services.list_services() {
        return unusable(crate::with_causes(&error));
    }
    let Some(directory) = address.strip_prefix("unix://") else {
        return Finding::ok(FEATURE, format!("they are at {address}"));
    };
    // It is made when a service is added, and so is the one above it where nobody has chosen another.
    let is_chosen = std::env::var_os("ASHMEM_BINDER").is_some_and(|address| !address.is_empty());
    let made = if is_chosen { 1 } else { 2 };
    // What is to be done with escapes is the library's.
    if !directory.contains('%') && !could_be_made(Path::new(directory), made) {
        return unusable(format!("{directory} cannot be written to"));
    }
    if directory.starts_with("/tmp/ashmem-") && !is_chosen {
        return Finding::limited(
            FEATURE,
            format!(
                "they are in {directory}, as there is no runtime directory, and others could take its name"
            ),
            "set XDG_RUNTIME_DIR, as a login session does",
        );
    }
    Finding::ok(FEATURE, format!("they are in {directory}"))
}

/// Whether a directory can be written to, or else made, with so many above it less one.
fn could_be_made(directory: &Path, made: usize) -> bool {
    let nearest = directory.ancestors().take(made + 1).find(|path| path.symlink_metadata().is_ok());
    nearest.is_some_and(|path| path.is_dir() && access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}

pub fn descriptors() -> Finding {
    const FEATURE: &str = "descriptors";
    let limit = getrlimit(Resource::Nofile);
    let shown = |limit: Option<u64>| limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string());
    let meaning = format!("{} for each process: a region takes one, or two", shown(limit.current));
    if limit.current.is_none_or(|current| current >= DESCRIPTORS) {
        return Finding::ok(FEATURE, meaning);
    }
    let advice = if limit.maximum == limit.current {
        "raise it for this user (limits.conf(5), or LimitNOFILE= of systemd), for programs with many regions"
            .to_owned()
    } else {
        format!("ulimit -n {}, for programs with many regions", shown(limit.maximum))
    };
    Finding::limited(FEATURE, meaning, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_can_be_made_below_those_that_can_be_written_to() {
        let place = tempfile::tempdir().expect("a directory");
        assert!(could_be_made(&place.path().join("a/b"), 2));
        assert!(
            !could_be_made(&place.path().join("a/b"), 1) && !could_be_made(&place.path().join("a/b/c"), 2)
        );
        std::fs::write(place.path().join("file"), "").expect("written");
        assert!(!could_be_made(&place.path().join("file/b"), 2));
    }
}
