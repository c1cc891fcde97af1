//! Values of the policy file.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::least;

/// A size: a page at least.
pub(super) struct Bytes(pub(super) u64);

/// How many: at least one.
pub(super) struct Count(pub(super) u64);

/// A time.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

/// What is to stay available.
#[derive(Default)]
pub(super) struct Headroom(pub(super) super::Headroom);

/// A value, or "none".
pub(super) struct OrNone<T>(pub(super) Option<T>);

impl<T> Default for OrNone<T> {
    fn default() -> Self {
        OrNone(None)
    }
}

/// A value that is written as a number or as text.
trait Value: Sized {
    const EXPECTED: &str;

    fn from_number(number: u64) -> Option<Self>;

    fn from_text(text: &str) -> Option<Self>;
}

impl Value for Bytes {
    const EXPECTED: &str = "a size of at least a page: bytes, or text as \"64M\" (K, M, G or T)";

    fn from_number(number: u64) -> Option<Bytes> {
        (number >= least()).then_some(Bytes(number))
    }

    fn from_text(text: &str) -> Option<Bytes> {
        Bytes::from_number(bytes(text)?)
    }
}

impl Value for Count {
    const EXPECTED: &str = "a number of at least 1";

    fn from_number(number: u64) -> Option<Count> {
        (number > 0).then_some(Count(number))
    }

    fn from_text(_: &str) -> Option<Count> {
        None
    }
}

impl Value for Time {
    const EXPECTED: &str = "a time, as \"150ms\" or \"2s\", of at most a day";

    fn from_number(_: u64) -> Option<Time> {
        None
    }

    fn from_text(text: &str) -> Option<Time> {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let number = digits.parse().ok()?;
        let time = match unit {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            _ => return None,
        };
        (time <= Duration::from_secs(24 * 60 * 60)).then_some(Time(time))
    }
}

impl Value for Headroom {
    const EXPECTED: &str = "\"auto\", a size as \"64M\", or a share of the limit of at most \"50%\"";

    fn from_number(number: u64) -> Option<Headroom> {
        Some(Headroom(super::Headroom::Bytes(number)))
    }

    fn from_text(text: &str) -> Option<Headroom> {
        let headroom = match text.strip_suffix('%') {
            Some(percent) => super::Headroom::Share(share(percent).filter(|&share| share <= 5000)?),
            None if text == "auto" => super::Headroom::Automatic,
            None => super::Headroom::Bytes(bytes(text)?),
        };
        Some(Headroom(headroom))
    }
}

impl<T: Value> Value for OrNone<T> {
    const EXPECTED: &str = "a size of at least a page: bytes, or text as \"64M\" (K, M, G or T), or \"none\"";

    fn from_number(number: u64) -> Option<Self> {
        T::from_number(number).map(|value| OrNone(Some(value)))
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(OrNone(None));
        }
        T::from_text(text).map(|value| OrNone(Some(value)))
    }
}

/// "64M" and the like.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Hundredths of "12.25".
fn share(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 2 {
        return None;
    }
    let part = part.parse::<u32>().ok()? * if part.len() == 1 { 10 } else { 1 };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

struct Reader<T>(PhantomData<T>);

impl<T: Value> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let value = u64::try_from(number).ok().and_then(T::from_number);
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

macro_rules! read {
    ($($name:ty),+) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(PhantomData))
            }
        })+
    };
}

read!(Bytes, Count, Time, Headroom, OrNone<Bytes>);
