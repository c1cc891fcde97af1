//! What is wrong with a policy file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a policy file is wrong, and what is expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}: {expected}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default(), key.as_ref().map(|key| format!(": `{key}`")).unwrap_or_default())]
pub struct PolicyError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1. None where the file cannot be read.
    pub line: Option<usize>,
    /// The key, where it is about one.
    pub key: Option<String>,
    /// What is wrong and what is expected.
    pub expected: String,
}

impl PolicyError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> PolicyError {
        PolicyError { path: path.to_owned(), line: None, key: None, expected: error.to_string() }
    }

    pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> PolicyError {
        PolicyError::at(path, text, error.span(), error.message())
    }

    pub(super) fn at(path: &Path, text: &str, span: Option<Range<usize>>, expected: &str) -> PolicyError {
        let before = span.as_ref().and_then(|span| text.get(..span.start));
        PolicyError {
            path: path.to_owned(),
            line: before.map(|before| 1 + before.bytes().filter(|&byte| byte == b'\n').count()),
            key: span.zip(before).and_then(|(span, before)| key(before, text.get(span)?)),
            // Some messages have several lines.
            expected: expected.lines().collect::<Vec<_>>().join("; "),
        }
    }
}

/// The key whose value, or which itself, comes after `before`.
fn key(before: &str, marked: &str) -> Option<String> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let key = match before.trim_end().strip_suffix('=') {
        Some(left) => left.trim_end().rsplit(|c| !is_key(c)).next()?,
        None => marked.trim(),
    };
    (!key.is_empty() && key.chars().all(is_key)).then(|| key.to_owned())
}
