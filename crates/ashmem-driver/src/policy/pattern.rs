//! Which cgroups are meant.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

/// The path of a cgroup as `/proc/PID/cgroup` has it, as `/system.slice/web.service`. A `*` stands for any characters but `/`. A last
/// part of `**` stands for all that is below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; `None` where it has no `/` in front, a part that is empty, or `**` elsewhere than as its last part.
    #[must_use]
    pub fn new(text: &str) -> Option<Pattern> {
        let parts = text.strip_prefix('/')?;
        let last = parts.rsplit('/').next();
        let mut before = parts.rsplit('/').skip(1);
        let is_plain = |part: &str| !part.is_empty() && !part.contains("**");
        let is_sound = parts.is_empty()
            || last.is_some_and(|last| last == "**" || is_plain(last)) && before.all(is_plain);
        is_sound.then(|| Pattern(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a cgroup is meant.
    #[must_use]
    pub fn matches(&self, cgroup: &Path) -> bool {
        let parts = |text: &[u8]| -> Vec<Vec<u8>> {
            text.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let (pattern, cgroup) = (parts(self.0.as_bytes()), parts(cgroup.as_os_str().as_bytes()));
        let (fixed, is_enough) = match pattern.split_last() {
            Some((last, before)) if last == b"**" => (before, cgroup.len() > before.len()),
            _ => (&pattern[..], cgroup.len() == pattern.len()),
        };
        is_enough && fixed.iter().zip(&cgroup).all(|(pattern, part)| part_matches(pattern, part))
    }
}

/// One part of a path. Goes back to the last `*` only, so it takes no more than the product of the lengths.
fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match &mut star {
                Some((place, from)) => {
                    *from += 1;
                    (at, seen) = (*place + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "the path of a cgroup as in /proc/PID/cgroup, with `*` in parts of it, and `**` as its last part for all below";
        Pattern::new(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, cgroup: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").matches(Path::new(cgroup))
    }

    #[test]
    fn exact_paths() {
        assert!(matches("/a/b", "/a/b") && matches("/", "/"));
        assert!(!matches("/a", "/a/b") && !matches("/a/b", "/a") && !matches("/", "/a"));
    }

    #[test]
    fn a_star_stays_in_its_part() {
        assert!(matches("/user.slice/user-*.slice", "/user.slice/user-1000.slice"));
        assert!(matches("/*/b", "/a/b") && matches("/a*b*c", "/axbxbxc") && matches("/a*", "/a"));
        assert!(!matches("/*", "/a/b") && !matches("/*/b", "/b") && !matches("/a*b", "/axc"));
    }

    #[test]
    fn two_stars_are_all_that_is_below() {
        assert!(matches("/a/**", "/a/b") && matches("/a/**", "/a/b/c") && matches("/**", "/a"));
        assert!(!matches("/a/**", "/a") && !matches("/**", "/") && !matches("/a/**", "/b/c"));
    }

    #[test]
    fn patterns_that_mean_nothing() {
        for bad in ["", "a", "/a//b", "/a/", "/**/a", "/a**"] {
            assert_eq!(Pattern::new(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn says_what_a_naive_search_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn naive(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
                    Some((byte, rest)) => text.split_first().is_some_and(|(first, tail)| byte == first && naive(rest, tail)),
                }
            }
            prop_assert_eq!(part_matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
