//! Putting a message together from what arrives.
//!
//! A runtime may send its object in several pieces, and closes the connection after it. That end is not waited for: crun's process
//! has the connection open still when it makes its first calls that somebody must look at.

use std::os::fd::OwnedFd;

use super::Refusal;

/// A state has a few kilobytes, most of them annotations.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// A message that arrives.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
    end: End,
    /// What came along, in order.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Message {
    /// Takes more of it, and says whether it is whole.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        for &byte in bytes {
            if self.bytes.len() == BYTES_MAX {
                return Err(Refusal::TooLong);
            }
            self.bytes.push(byte);
            if self.end.see(byte)? {
                // There is one object a connection; what follows is nothing.
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What has arrived.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing has.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.descriptors.is_empty()
    }
}

/// Finds the end of an object in one pass, so that it need not be parsed again with each piece.
#[derive(Debug, Default)]
struct End {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl End {
    /// Whether the object ends with this byte.
    fn see(&mut self, byte: u8) -> Result<bool, Refusal> {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'{' => self.depth += 1,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if self.depth == 0 => return Err(Refusal::NoObject),
            b'"' => self.in_string = true,
            b'}' => {
                self.depth -= 1;
                return Ok(self.depth == 0);
            }
            _ => {}
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ContainerState;
    use super::*;

    #[test]
    fn an_object_ends_where_it_ends() {
        for text in ["{}", " \n{}", r#"{"a":"}\"}"}"#, r#"{"a":{"b":[{}]}}"#, r#"{"a":"\\"}"#] {
            let mut message = Message::default();
            let (last, before) = text.as_bytes().split_last().expect("text");
            assert!(!message.add(before).expect("taken"), "{text}");
            assert!(message.add(&[*last, b'x']).expect("taken"), "{text}");
            assert_eq!(message.bytes(), text.as_bytes());
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        for start in ["[", "x", "}", "\"", " 1"] {
            assert!(matches!(Message::default().add(start.as_bytes()), Err(Refusal::NoObject)), "{start}");
        }
        for piece in [&b"{"[..], b" ", b"{\"", &[0xff]] {
            let mut message = Message::default();
            message.add(b"{").expect("taken");
            let refused = (0..=BYTES_MAX).find_map(|_| message.add(piece).err());
            assert!(matches!(refused, Some(Refusal::TooLong)));
        }
    }

    fn state() -> impl Strategy<Value = serde_json::Value> {
        let text = ".{0,20}";
        (
            prop::collection::vec(text, 0..4),
            any::<i64>(),
            text,
            text,
            prop::collection::btree_map(text, text, 0..4),
        )
            .prop_map(|(fds, pid, metadata, id, annotations)| {
                serde_json::json!({
                    "ociVersion": "1.0.2", "fds": fds, "pid": pid, "metadata": metadata,
                    "state": { "id": id, "pid": pid, "bundle": metadata, "annotations": annotations },
                })
            })
    }

    proptest! {
        #[test]
        fn states_arrive_in_any_pieces(state in state(), cuts in prop::collection::vec(1_usize..40, 1..40)) {
            let text = serde_json::to_vec(&state).expect("text");
            let mut message = Message::default();
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                if message.add(piece).expect("taken") {
                    break;
                }
            }
            prop_assert_eq!(message.bytes(), &text[..]);
            let read = ContainerState::parse(message.bytes()).expect("a state");
            prop_assert_eq!(&read.state.id, state["state"]["id"].as_str().expect("text"));
        }

        #[test]
        fn broken_states_do_no_harm(state in state(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = serde_json::to_vec(&state).expect("text");
            let place = place.index(text.len());
            text[place] = byte;
            let mut message = Message::default();
            if let Ok(true) = message.add(&text) {
                let _ = ContainerState::parse(message.bytes());
            }
        }

        #[test]
        fn noise_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,\\\\a1 ]{0,60}") {
            for noise in [&bytes[..], text.as_bytes()] {
                let mut message = Message::default();
                let _ = message.add(noise);
                let _ = ContainerState::parse(message.bytes());
                let _ = ContainerState::parse(noise);
            }
        }
    }
}
