//! The container process state: what a runtime says of the container whose descriptor it sends.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use serde::{Deserialize, Deserializer};

use super::Refusal;

/// The name of the descriptor in `fds`, as the specification has it.
const SECCOMP_FD: &str = "seccompFd";

/// "The Container Process State" of the OCI runtime specification (`config-linux.md`). Nobody vouches for what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// The version of the specification.
    #[serde(default, deserialize_with = "or_default")]
    pub oci_version: String,
    /// The names of the descriptors that came along, in their order.
    #[serde(default, deserialize_with = "or_default")]
    pub fds: Vec<String>,
    /// The process that has the filter, as the runtime sees it.
    #[serde(default, deserialize_with = "or_default")]
    pub pid: i64,
    /// `listenerMetadata` of the profile.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: String,
    /// The container.
    #[serde(default, deserialize_with = "or_default")]
    pub state: State,
}

/// "State" of the specification (`runtime.md`), as far as it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct State {
    /// The container's name.
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// `creating`, or `running` when the process joins it.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// Its first process, as the runtime sees it.
    #[serde(default, deserialize_with = "or_default")]
    pub pid: i64,
    /// The directory that it was made from.
    #[serde(default, deserialize_with = "or_default")]
    pub bundle: String,
    /// What its configuration was annotated with.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl ContainerState {
    /// Reads one.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for what is none.
    pub fn parse(json: &[u8]) -> Result<ContainerState, Refusal> {
        serde_json::from_slice(json).map_err(Refusal::Malformed)
    }

    /// Takes the descriptor of the notifications out of those that came along, and leaves the others.
    ///
    /// # Errors
    /// [`Refusal::NoDescriptor`] when it is not among them; [`Refusal::NoListener`] when it is something else.
    pub fn take_listener(&self, descriptors: &mut Vec<OwnedFd>) -> Result<OwnedFd, Refusal> {
        let place = self.fds.iter().position(|name| name == SECCOMP_FD);
        let place = place.filter(|&place| place < descriptors.len()).ok_or(Refusal::NoDescriptor)?;
        if !is_listener(&descriptors[place]) {
            return Err(Refusal::NoListener);
        }
        Ok(descriptors.remove(place))
    }
}

/// Asks `/proc` rather than the descriptor, which may belong to a driver that does anything with an unknown request.
fn is_listener(fd: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // Files that have a path are called by it, from the root directory on.
    link.is_ok_and(|name| name.as_os_str() == "anon_inode:seccomp notify")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{
        "ociVersion": "1.0.2", "fds": ["other", "seccompFd"], "pid": 4422, "metadata": "ashmem", "more": [1, {}],
        "state": {"ociVersion": "1.0.2", "id": "one", "status": "creating", "pid": 4422, "bundle": "/b", "annotations": {"k": "v"}}
    }"#;

    #[test]
    fn the_specification_s_example_is_read() {
        let state = ContainerState::parse(EXAMPLE.as_bytes()).expect("a state");
        assert_eq!((state.pid, state.metadata.as_str()), (4422, "ashmem"));
        assert_eq!((state.state.id.as_str(), state.state.bundle.as_str()), ("one", "/b"));
        assert_eq!(state.state.annotations["k"], "v");
    }

    #[test]
    fn what_is_left_out_or_null_is_empty() {
        let state =
            ContainerState::parse(br#"{"fds": null, "pid": 1, "state": {"id": "x", "annotations": null}}"#);
        let state = state.expect("a state");
        assert!(state.fds.is_empty() && state.state.annotations.is_empty());
        assert_eq!(ContainerState::parse(b"{}").expect("a state"), ContainerState::default());
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "[", "[]x", "{", "1", r#"{"pid": "1"}"#, r#"{"fds": "seccompFd"}"#, "{}{}"] {
            assert!(ContainerState::parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(ContainerState::parse(format!("{{\"fds\":{deep}}}").as_bytes()).is_err());
        assert!(ContainerState::parse(format!("{{\"x\":{deep}}}").as_bytes()).is_ok());
    }

    #[test]
    fn other_descriptors_are_no_listeners() {
        let mut descriptors: Vec<OwnedFd> = (0..2)
            .map(|_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("a descriptor"))
            .collect();
        let state = ContainerState::parse(EXAMPLE.as_bytes()).expect("a state");
        assert!(matches!(state.take_listener(&mut descriptors), Err(Refusal::NoListener)));
        descriptors.truncate(1);
        assert!(matches!(state.take_listener(&mut descriptors), Err(Refusal::NoDescriptor)));
        assert_eq!(descriptors.len(), 1);
    }
}
