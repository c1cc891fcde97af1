//! One end of the shared region: its queues, bells and buffers as the client or the decoder sees them.

use std::time::Duration;

use ashmem::Mapping;

use crate::bell;
use crate::layout::{
    self, CLIENT_BELL, DECODER_BELL, INPUT_EMPTY, INPUT_FILLED, OUTPUT_EMPTY, OUTPUT_FILLED,
};
use crate::queue::{Corrupt, Receiver, Sender, WORDS};
use crate::record::Record;

/// What is received at an end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming {
    Input,
    Output,
}

/// What the two of them have in common: each sends what the other receives.
#[derive(Debug)]
pub(crate) struct Port {
    pub mapping: Mapping,
    bell: u64,
    peer_bell: u64,
    input: Ends,
    output: Ends,
}

/// The two queues that the buffers of one kind go round in.
#[derive(Debug)]
struct Ends {
    sender: (u64, Sender),
    receiver: (u64, Receiver),
}

impl Ends {
    fn new(sender: u64, receiver: u64) -> Ends {
        Ends { sender: (sender, Sender::default()), receiver: (receiver, Receiver::default()) }
    }
}

impl Port {
    /// The client's end of a new region. `None` if the mapping is not of that size, or not writable.
    pub fn of_client(mapping: Mapping) -> Option<Port> {
        let input = Ends::new(INPUT_FILLED, INPUT_EMPTY);
        let output = Ends::new(OUTPUT_EMPTY, OUTPUT_FILLED);
        Port::new(mapping, CLIENT_BELL, DECODER_BELL, input, output)
    }

    /// The decoder's end of a new region.
    pub fn of_decoder(mapping: Mapping) -> Option<Port> {
        let input = Ends::new(INPUT_EMPTY, INPUT_FILLED);
        let output = Ends::new(OUTPUT_FILLED, OUTPUT_EMPTY);
        Port::new(mapping, DECODER_BELL, CLIENT_BELL, input, output)
    }

    fn new(mapping: Mapping, bell: u64, peer_bell: u64, input: Ends, output: Ends) -> Option<Port> {
        let fits = mapping.len() == layout::SIZE && mapping.atomic_u32(0).is_ok();
        fits.then_some(Port { mapping, bell, peer_bell, input, output })
    }

    fn ends(&mut self, kind: Incoming) -> (&Mapping, &mut Ends) {
        match kind {
            Incoming::Input => (&self.mapping, &mut self.input),
            Incoming::Output => (&self.mapping, &mut self.output),
        }
    }

    /// Hands a buffer of this kind to the peer, and wakes it.
    pub fn push(&mut self, kind: Incoming, record: Record) -> ashmem::Result<()> {
        let (mapping, ends) = self.ends(kind);
        let (place, sender) = &mut ends.sender;
        sender.push(mapping.atomic_u32s(*place, WORDS as u64)?, record.to_words());
        let peer = self.mapping.atomic_u32(self.peer_bell)?;
        if bell::is_up(peer) {
            bell::wake(peer);
        }
        Ok(())
    }

    /// Takes the next buffer of this kind that the peer has handed over.
    pub fn pop(&mut self, kind: Incoming) -> ashmem::Result<Result<Option<Record>, Corrupt>> {
        let (mapping, ends) = self.ends(kind);
        let (place, receiver) = &mut ends.receiver;
        let popped = receiver.pop(mapping.atomic_u32s(*place, WORDS as u64)?);
        Ok(popped.map(|record| record.map(Record::from_words)))
    }

    /// Sleeps until the peer has handed something over, no longer than `timeout`, if there is one. It may end for no reason.
    pub fn wait(&self, timeout: Option<Duration>) -> ashmem::Result<()> {
        let bell = self.mapping.atomic_u32(self.bell)?;
        bell::put_up(bell);
        let is_waiting = self.is_waiting(&self.input)? || self.is_waiting(&self.output)?;
        if !is_waiting {
            bell::sleep(bell, timeout);
        }
        bell::take_down(bell);
        Ok(())
    }

    fn is_waiting(&self, ends: &Ends) -> ashmem::Result<bool> {
        let (place, receiver) = &ends.receiver;
        Ok(receiver.is_waiting(self.mapping.atomic_u32s(*place, WORDS as u64)?))
    }
}
