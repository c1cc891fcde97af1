//! The agent of containers: takes the descriptors of seccomp's notifications that container runtimes send (`listenerPath` of the OCI
//! runtime specification), for as many containers as there are.
//!
//! ```text
//! runtime                                  agent
//!   connect ─────────────────────────────▶   who is it? (SO_PEERCRED: root, or the agent's own user)
//!   sendmsg {"fds": ["seccompFd"], …} ───▶   one JSON object, with the descriptors (SCM_RIGHTS)
//!   close                                    the descriptor goes to `attach`; all others are closed
//! ```
//!
//! One thread serves all connections, and waits for none of them: each has [`PATIENCE`] to say all that it has to say, in at most a
//! mebibyte, and when there are too many, the oldest goes. What is refused is closed by a thread of its own, for the last close of a
//! file may take as long as it likes.

mod connection;
mod message;
mod serve;
mod socket;
mod state;

use std::path::PathBuf;

use rustix::io::Errno;

pub use self::serve::{Agent, PATIENCE};
pub use self::socket::Listener;
pub use self::state::{ContainerState, State};

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is no good.
    #[error("listen at {}: {reason}", path.display())]
    Path {
        /// Where it was to listen.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Somebody listens there.
    #[error("an agent listens at {} already", path.display())]
    Running {
        /// Where.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Errno,
    },
}

impl Error {
    fn system(operation: &'static str) -> impl Fn(Errno) -> Error {
        move |source| Error::System { operation, source }
    }
}

/// Why something that was sent is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The sender is neither root nor the agent's user.
    #[error("user {user} may not send descriptors")]
    Stranger {
        /// The sender's user.
        user: u32,
    },
    /// It begins with something else.
    #[error("what was sent is no JSON object")]
    NoObject,
    /// It has more than a mebibyte.
    #[error("what was sent is too long")]
    TooLong,
    /// The connection ended in its middle.
    #[error("the connection ended before everything was said")]
    Incomplete,
    /// Not everything was said in time.
    #[error("not everything was said in time")]
    Late,
    /// There were too many connections.
    #[error("others came in between, too many of them")]
    Crowded,
    /// It is not a container process state.
    #[error("what was sent is no container process state: {0}")]
    Malformed(#[source] serde_json::Error),
    /// There was no room for descriptors.
    #[error("descriptors were lost: the agent has as many open as it may")]
    Lost,
    /// Descriptors came more than once.
    #[error("more descriptors were sent than may be sent at once")]
    TooMany,
    /// `fds` names no `seccompFd` that was sent.
    #[error("no descriptor is called seccompFd")]
    NoDescriptor,
    /// The descriptor is something else.
    #[error("the descriptor is none of seccomp's notifications")]
    NoListener,
    /// Who was to take it would not.
    #[error("the descriptor was refused: {0}")]
    Attach(Errno),
    /// The connection failed.
    #[error("receive: {0}")]
    Receive(Errno),
}
