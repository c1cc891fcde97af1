//! Names of services, and the file names that stand for them in a directory.

use crate::{Error, Result};

/// As Android's `isValidServiceName` has it.
const MAX_LEN: usize = 127;

/// What stands for a `/` in a file name; no name of a service has it.
const SLASH: char = '%';
/// What stands for a dot at the start of a file name; no name of a service has it.
const LEADING_DOT: char = '@';

/// A name that a service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// Fails for what Android's service manager refuses.
    pub(super) fn new(name: &'a str) -> Result<Name<'a>> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
        if name.is_empty() || name.len() > MAX_LEN || !name.bytes().all(allowed) {
            return Err(Error::InvalidServiceName { name: name.chars().take(MAX_LEN).collect() });
        }
        Ok(Name(name))
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// One plain file name, as long as the service's, and never hidden: what a directory keeps for itself
    /// starts with a dot.
    pub(super) fn to_file(self) -> String {
        let slashes = self.0.replace('/', SLASH.encode_utf8(&mut [0; 4]));
        match slashes.strip_prefix('.') {
            Some(rest) => format!("{LEADING_DOT}{rest}"),
            None => slashes,
        }
    }

    /// The service that a file stands for, if any.
    pub(super) fn from_file(file: &[u8]) -> Option<String> {
        let file = std::str::from_utf8(file).ok()?;
        let name = match file.strip_prefix(LEADING_DOT) {
            Some(rest) => format!(".{rest}"),
            None => file.to_owned(),
        };
        let name = name.replace(SLASH, "/");
        let same = Name::new(&name).ok()?.to_file() == file;
        same.then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_androids() {
        let longest = "x".repeat(MAX_LEN);
        for name in ["a", "AnonymousSharedMemory", "android.hardware.foo@", &longest, "a/b-c_d.e", "..", "/"]
        {
            let valid = !name.contains('@');
            assert_eq!(Name::new(name).is_ok(), valid, "{name}");
        }
        let too_long = "x".repeat(MAX_LEN + 1);
        for name in ["", " ", "a b", "a\0", "ä", "a%2Fb", "a\n", &too_long] {
            assert!(matches!(Name::new(name), Err(Error::InvalidServiceName { .. })), "{name:?}");
        }
    }

    #[test]
    fn file_names_are_plain_and_come_back() {
        for name in
            ["a", ".", "..", "../x", "/etc/passwd", "a/b", ".a", "a.", "./.", "android.foo.IFoo/default"]
        {
            let file = Name::new(name).expect("valid").to_file();
            assert_eq!(file.len(), name.len());
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(Name::from_file(file.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_files_stand_for_nothing() {
        for file in [&b""[..], b".", b"..", b".servers", b".lock", b"a@", b"@@", b"a b", b"\xff", b"a/b"] {
            assert_eq!(Name::from_file(file), None, "{file:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_comes_back(name in "[A-Za-z0-9_./-]{1,127}") {
            let file = Name::new(&name).expect("valid").to_file();
            proptest::prop_assert_eq!(Name::from_file(file.as_bytes()), Some(name));
        }

        #[test]
        fn no_file_stands_for_two_names(file in "[A-Za-z0-9_./@%-]{0,130}") {
            if let Some(name) = Name::from_file(file.as_bytes()) {
                proptest::prop_assert_eq!(Name::new(&name).expect("valid").to_file(), file);
            }
        }
    }
}
