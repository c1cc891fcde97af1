//! How the files of one process's services are called.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

const ALIVE: &str = ".alive";
/// See [`super::server::Server`]: bound and removed at once.
const UNUSED: &str = ".unused";

/// `PID-RANDOM`: one process, in one directory. Two of the same process differ, and so do two processes with
/// the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerFile(String);

impl ServerFile {
    /// A new one, of this process.
    pub(super) fn new() -> ServerFile {
        // Seeded by the kernel, once a thread, and counted up. A forked thread counts on from the same, but
        // has another id.
        let random = RandomState::new().build_hasher().finish();
        ServerFile(format!("{}-{random:016x}", std::process::id()))
    }

    /// Takes nothing but what [`ServerFile::new`] makes: one plain file name, whatever a link says.
    pub(super) fn parse(name: &[u8]) -> Option<ServerFile> {
        let name = std::str::from_utf8(name).ok()?;
        let (pid, random) = name.split_once('-')?;
        let number = (1..=10).contains(&pid.len()) && pid.bytes().all(|byte| byte.is_ascii_digit());
        let hex = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        (number && hex).then(|| ServerFile(name.to_owned()))
    }

    /// Whose file this is.
    pub(super) fn of(file: &[u8]) -> Option<ServerFile> {
        let end = file.iter().position(|byte| *byte == b'.').unwrap_or(file.len());
        let server = ServerFile::parse(file.get(..end)?)?;
        server.files().iter().any(|own| own.as_bytes() == file).then_some(server)
    }

    /// Whether a process with this id made it; it may have been another one before.
    pub(super) fn is_of_process(&self, id: u32) -> bool {
        self.0.split_once('-').is_some_and(|(pid, _)| pid.parse() == Ok(id))
    }

    pub(super) fn socket(&self) -> &str {
        &self.0
    }

    pub(super) fn alive(&self) -> String {
        format!("{self}{ALIVE}")
    }

    pub(super) fn unused(&self) -> String {
        format!("{self}{UNUSED}")
    }

    /// All its files. The one that says whether the process lives is the last.
    pub(super) fn files(&self) -> [String; 3] {
        [self.0.clone(), self.unused(), self.alive()]
    }
}

impl fmt::Display for ServerFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let server = ServerFile::new();
        assert_ne!(server, ServerFile::new());
        assert!(server.is_of_process(std::process::id()) && !server.is_of_process(1 << 30));
        assert_eq!(ServerFile::parse(server.socket().as_bytes()), Some(server.clone()));
        for file in server.files() {
            assert_eq!(ServerFile::of(file.as_bytes()), Some(server.clone()), "{file}");
        }
    }

    #[test]
    fn nothing_else_is_a_server() {
        for name in [
            "",
            ".",
            "..",
            "-",
            "1-",
            "1-0",
            "../1-0123456789abcdef",
            "1-0123456789abcdef/..",
            "/1-0123456789abcdef",
            "1-0123456789abcdeg",
            "-0123456789abcdef",
            "12345678901-0123456789abcdef",
            "1-0123456789abcdef0",
            "+1-0123456789abcdef",
            "1-+123456789abcdef",
        ] {
            assert_eq!(ServerFile::parse(name.as_bytes()), None, "{name}");
        }
        for file in [
            "1-0123456789abcdef.",
            "1-0123456789abcdef.alive.alive",
            "1-0123456789abcdef.x",
            "x.alive",
            ".alive",
            "",
        ] {
            assert_eq!(ServerFile::of(file.as_bytes()), None, "{file}");
        }
    }
}
