//! The states of a codec, and what each call does to them. Nothing but values.
//!
//! ```text
//!                 configure            start
//!   Uninitialized ---------> Configured ----> Flushed --dequeue input--> Running --queue the end--> EndOfStream
//!         ^                      |              ^  |                        |                            |
//!         |                      |              +--|--------- flush --------+-------- flush -------------+
//!         +------ stop, reset ---+-----------------+------------------------+----------------------------+
//!         +------ reset ---------- Error <-- any of these, when something fails
//!   Released <-- release -- any state
//! ```

use std::fmt;

/// The state of a [`MediaCodec`](crate::MediaCodec), as the documentation of Android's draws them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// New, stopped or reset.
    Uninitialized,
    /// It knows what it is to decode.
    Configured,
    /// It has a decoder that waits for the start of a stream. All input buffers can be dequeued.
    Flushed,
    /// Buffers go round.
    Running,
    /// The end of the stream was queued. What is still to come comes out.
    EndOfStream,
    /// Something failed. Only `reset` and `release` are possible.
    Error,
    /// It is over.
    Released,
}

/// A call, as far as states care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Configure,
    Start,
    DequeueInput,
    /// With the flag for the end of the stream, or without.
    QueueInput(bool),
    /// To dequeue, read or release output, and to ask for what has happened.
    UseOutput,
    Flush,
    Stop,
    Reset,
    Release,
}

impl State {
    /// The state after a call that succeeds; `None` if the call is illegal.
    pub(crate) fn after(self, call: Call) -> Option<State> {
        use State::{Configured, EndOfStream, Error, Flushed, Released, Running, Uninitialized};
        match (call, self) {
            (Call::Release, _) => Some(Released),
            (_, Released) => None,
            (Call::Reset, _) => Some(Uninitialized),
            (_, Error) => None,
            (Call::Configure, Uninitialized) => Some(Configured),
            (Call::Start, Configured) => Some(Flushed),
            (Call::DequeueInput, Flushed | Running) => Some(Running),
            (Call::QueueInput(false), Running) => Some(Running),
            (Call::QueueInput(true), Running) => Some(EndOfStream),
            (Call::UseOutput, Flushed | Running | EndOfStream) => Some(self),
            (Call::Flush, Flushed | Running | EndOfStream) => Some(Flushed),
            (Call::Stop, Configured | Flushed | Running | EndOfStream) => Some(Uninitialized),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            State::Uninitialized => "uninitialized",
            State::Configured => "configured, not started",
            State::Flushed => "flushed",
            State::Running => "running",
            State::EndOfStream => "at the end of its stream",
            State::Error => "in an error",
            State::Released => "released",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] = [
        State::Uninitialized,
        State::Configured,
        State::Flushed,
        State::Running,
        State::EndOfStream,
        State::Error,
        State::Released,
    ];

    /// The whole table, a row for each call and a column for each state: the first letter of where it leads.
    #[test]
    fn the_table() {
        let table = [
            (Call::Configure, "C------"),
            (Call::Start, "-F-----"),
            (Call::DequeueInput, "--RR---"),
            (Call::QueueInput(false), "---R---"),
            (Call::QueueInput(true), "---E---"),
            (Call::UseOutput, "--FRE--"),
            (Call::Flush, "--FFF--"),
            (Call::Stop, "-UUUU--"),
            (Call::Reset, "UUUUUU-"),
            (Call::Release, "LLLLLLL"),
        ];
        let letter = |state| match state {
            None | Some(State::Error) => '-',
            Some(State::Uninitialized) => 'U',
            Some(State::Configured) => 'C',
            Some(State::Flushed) => 'F',
            Some(State::Running) => 'R',
            Some(State::EndOfStream) => 'E',
            Some(State::Released) => 'L',
        };
        for (call, row) in table {
            let found: String = STATES.iter().map(|state| letter(state.after(call))).collect();
            assert_eq!(found, row, "{call:?}");
        }
    }
}
