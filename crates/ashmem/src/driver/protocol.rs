//! What processes and the daemon say to each other: one message a packet of a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! | kind: u32 | count: u32 | count words: u64 |
//! ```
//!
//! Both sides run on one machine, so numbers are in its byte order. Whatever is not exactly a message is refused; neither side
//! trusts the other.

use std::ops::Range;

/// The version of what is said here. Both sides say theirs first, and part if it is another one.
pub const VERSION: u64 = 1;

/// Descriptors in one message, at most. (The kernel allows 253.)
pub const REGIONS_MAX: usize = 64;

/// Words in one message, at most.
pub const WORDS_MAX: usize = 500;

/// The length of the longest message in bytes.
pub const MESSAGE_MAX: usize = 8 + WORDS_MAX * 8;

const _: () = assert!(REGIONS_MAX <= WORDS_MAX);

/// What a process says to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Comes first.
    Hello {
        /// [`VERSION`].
        version: u64,
    },
    /// Here are descriptors of regions, as many as there are numbers. A process gives each of its regions a number of its own, and
    /// never the same again.
    Register(Vec<u64>),
    /// These regions are not in use any more.
    Release(Vec<u64>),
    /// Whether [`Reply::Purged`] is wanted.
    Listen(bool),
    /// Is somebody there?
    Ping(u64),
    /// What is going on?
    Ask(Question),
}

/// What can be asked. The answers are documents in a sealed memfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Everything, as JSON.
    Snapshot,
    /// Counters, in the text format of Prometheus.
    Metrics,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Comes first, after [`Request::Hello`].
    Welcome {
        /// [`VERSION`].
        version: u64,
        /// Whether the daemon watches all limits on memory that apply to this process. If not, the process looks itself, too.
        sees_limits: bool,
    },
    /// The daemon does not serve a region.
    Refused {
        /// The number of the region.
        id: u64,
        /// Why.
        reason: Reason,
    },
    /// Pages of a region were taken away.
    Purged {
        /// The number of the region.
        id: u64,
        /// Where they were, in bytes.
        range: Range<u64>,
        /// Bytes of memory that this freed.
        freed: u64,
    },
    /// The answer to a [`Request::Ping`] of that number.
    Pong(u64),
    /// The answer to a question; a descriptor of so many bytes comes with it.
    Answer(u64),
    /// There will be no answer to a question.
    Declined(Reason),
}

/// Why the daemon does not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The descriptor is no region with a control block that can be written to.
    NotARegion,
    /// The user has as many regions, or as large ones, as one may have.
    Quota,
    /// The daemon has no free descriptor or memory.
    Exhausted,
    /// The daemon is at many answers already.
    Busy,
    /// Another reason, which a newer daemon knows.
    Other(u64),
}

impl Reason {
    fn word(self) -> u64 {
        match self {
            Reason::NotARegion => 1,
            Reason::Quota => 2,
            Reason::Exhausted => 3,
            Reason::Busy => 4,
            Reason::Other(word) => word,
        }
    }

    fn from_word(word: u64) -> Reason {
        match word {
            1 => Reason::NotARegion,
            2 => Reason::Quota,
            3 => Reason::Exhausted,
            4 => Reason::Busy,
            word => Reason::Other(word),
        }
    }
}

impl Request {
    /// The message. Of more than [`WORDS_MAX`] numbers only so many are said.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Hello { version } => encode(1, &[*version]),
            Request::Register(ids) => encode(2, ids),
            Request::Release(ids) => encode(3, ids),
            Request::Listen(wanted) => encode(4, &[u64::from(*wanted)]),
            Request::Ping(number) => encode(5, &[*number]),
            Request::Ask(Question::Snapshot) => encode(6, &[1]),
            Request::Ask(Question::Metrics) => encode(6, &[2]),
        }
    }

    /// The meaning of a packet, if it has one.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Request> {
        let (kind, words) = decode(packet)?;
        Some(match (kind, words.as_slice()) {
            (1, [version]) => Request::Hello { version: *version },
            (2, [_, ..]) if words.len() <= REGIONS_MAX => Request::Register(words),
            (3, [_, ..]) => Request::Release(words),
            (4, [wanted @ 0..=1]) => Request::Listen(*wanted == 1),
            (5, [number]) => Request::Ping(*number),
            (6, [1]) => Request::Ask(Question::Snapshot),
            (6, [2]) => Request::Ask(Question::Metrics),
            _ => return None,
        })
    }
}

impl Reply {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Welcome { version, sees_limits } => encode(1, &[*version, u64::from(*sees_limits)]),
            Reply::Refused { id, reason } => encode(2, &[*id, reason.word()]),
            Reply::Purged { id, range, freed } => encode(3, &[*id, range.start, range.end, *freed]),
            Reply::Pong(number) => encode(4, &[*number]),
            Reply::Answer(length) => encode(5, &[*length]),
            Reply::Declined(reason) => encode(6, &[reason.word()]),
        }
    }

    /// The meaning of a packet, if it has one.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Reply> {
        let (kind, words) = decode(packet)?;
        Some(match (kind, words.as_slice()) {
            (1, [version, sees @ 0..=1]) => Reply::Welcome { version: *version, sees_limits: *sees == 1 },
            (2, [id, reason]) => Reply::Refused { id: *id, reason: Reason::from_word(*reason) },
            (3, [id, start, end, freed]) if start < end => {
                Reply::Purged { id: *id, range: *start..*end, freed: *freed }
            }
            (4, [number]) => Reply::Pong(*number),
            (5, [length]) => Reply::Answer(*length),
            (6, [reason]) => Reply::Declined(Reason::from_word(*reason)),
            _ => return None,
        })
    }
}

fn encode(kind: u32, words: &[u64]) -> Vec<u8> {
    let words = &words[..words.len().min(WORDS_MAX)];
    let mut packet = Vec::with_capacity(8 + words.len() * 8);
    packet.extend(kind.to_ne_bytes());
    packet.extend((words.len() as u32).to_ne_bytes());
    words.iter().for_each(|word| packet.extend(word.to_ne_bytes()));
    packet
}

fn decode(packet: &[u8]) -> Option<(u32, Vec<u64>)> {
    let (kind, rest) = packet.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let count = u32::from_ne_bytes(*count) as usize;
    let is_whole = count <= WORDS_MAX && rest.len() == count * 8;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    is_whole.then(|| (u32::from_ne_bytes(*kind), rest.chunks_exact(8).map(word).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            any::<u64>().prop_map(|version| Request::Hello { version }),
            prop::collection::vec(any::<u64>(), 1..=REGIONS_MAX).prop_map(Request::Register),
            prop::collection::vec(any::<u64>(), 1..=WORDS_MAX).prop_map(Request::Release),
            any::<bool>().prop_map(Request::Listen),
            any::<u64>().prop_map(Request::Ping),
            Just(Request::Ask(Question::Snapshot)),
            Just(Request::Ask(Question::Metrics)),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let reason = || any::<u64>().prop_map(Reason::from_word);
        prop_oneof![
            (any::<u64>(), any::<bool>())
                .prop_map(|(version, sees_limits)| Reply::Welcome { version, sees_limits }),
            (any::<u64>(), reason()).prop_map(|(id, reason)| Reply::Refused { id, reason }),
            (any::<u64>(), 0..u64::MAX, 1..u64::MAX, any::<u64>()).prop_map(|(id, start, len, freed)| {
                Reply::Purged { id, range: start..start.saturating_add(len), freed }
            }),
            any::<u64>().prop_map(Reply::Pong),
            any::<u64>().prop_map(Reply::Answer),
            reason().prop_map(Reply::Declined),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(request in request(), reply in reply()) {
            prop_assert!(request.encode().len() <= MESSAGE_MAX);
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
            prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }

        #[test]
        fn what_is_understood_is_said_so(packet in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(request) = Request::decode(&packet) {
                prop_assert_eq!(request.encode(), &packet[..]);
            }
            if let Some(reply) = Reply::decode(&packet) {
                prop_assert_eq!(reply.encode(), &packet[..]);
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let good = Request::Register(vec![7, 8]).encode();
        for length in 0..good.len() {
            assert_eq!(Request::decode(&good[..length]), None);
        }
        assert_eq!(Request::decode(&[&good[..], &[0]].concat()), None);
        assert_eq!(Request::decode(&encode(2, &[])), None);
        assert_eq!(Request::decode(&encode(2, &[1; REGIONS_MAX + 1])), None);
        assert_eq!(Request::decode(&encode(4, &[2])), None);
        assert_eq!(Request::decode(&encode(9, &[1])), None);
        assert_eq!(Reply::decode(&encode(3, &[1, 5, 5, 0])), None);
    }
}
