//! Who owns which buffer, as the client knows it. The decoder is believed only where it agrees.

use std::collections::VecDeque;

/// Where a buffer is on its way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The decoder fills or reads it.
    Codec,
    /// It came from the decoder, and waits to be dequeued.
    Waiting,
    /// The client has dequeued it.
    Client,
}

/// The buffers of one kind. `T` is what comes with those that wait.
#[derive(Debug)]
pub(super) struct Buffers<T> {
    owners: Vec<Owner>,
    waiting: VecDeque<(usize, T)>,
}

impl<T> Buffers<T> {
    /// That many, all with the codec.
    pub fn new(count: usize) -> Buffers<T> {
        Buffers { owners: vec![Owner::Codec; count], waiting: VecDeque::with_capacity(count) }
    }

    /// The codec's buffer of this index, if it is one.
    pub fn of_codec(&self, index: u32) -> Option<usize> {
        let index = usize::try_from(index).ok()?;
        (self.owners.get(index) == Some(&Owner::Codec)).then_some(index)
    }

    /// Takes a buffer from the codec that [`Buffers::of_codec`] has named.
    pub fn arrive(&mut self, index: usize, with: T) {
        if let Some(owner) = self.owners.get_mut(index) {
            *owner = Owner::Waiting;
            self.waiting.push_back((index, with));
        }
    }

    /// The one that [`Buffers::dequeue`] would give.
    pub fn next(&self) -> Option<&(usize, T)> {
        self.waiting.front()
    }

    /// Gives the client the buffer that has waited longest.
    pub fn dequeue(&mut self) -> Option<(usize, T)> {
        let (index, with) = self.waiting.pop_front()?;
        if let Some(owner) = self.owners.get_mut(index) {
            *owner = Owner::Client;
        }
        Some((index, with))
    }

    pub fn is_of_client(&self, index: usize) -> bool {
        self.owners.get(index) == Some(&Owner::Client)
    }

    /// Gives a buffer of the client's to the codec.
    pub fn hand_over(&mut self, index: usize) {
        if let Some(owner) = self.owners.get_mut(index) {
            *owner = Owner::Codec;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u32),
        Dequeue,
        HandOver(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u32..6).prop_map(Step::Arrive),
            any::<u32>().prop_map(Step::Arrive),
            Just(Step::Dequeue),
            (0_usize..6).prop_map(Step::HandOver)
        ]
    }

    proptest! {
        /// Against three plain lists: a buffer is in one of them at any time.
        #[test]
        fn every_buffer_has_one_owner(steps in proptest::collection::vec(step(), 0..100)) {
            let mut buffers = Buffers::new(4);
            let (mut codec, mut waiting, mut client) = (vec![0, 1, 2, 3], VecDeque::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Arrive(index) => {
                        let found = buffers.of_codec(index);
                        prop_assert_eq!(found.is_some(), codec.contains(&index));
                        if let Some(found) = found {
                            buffers.arrive(found, index);
                            codec.retain(|kept| *kept != index);
                            waiting.push_back(index);
                        }
                    }
                    Step::Dequeue => {
                        let expected = waiting.pop_front();
                        prop_assert_eq!(buffers.dequeue().map(|(_, index)| index), expected);
                        client.extend(expected);
                    }
                    Step::HandOver(index) => {
                        let is_clients = client.contains(&(index as u32));
                        prop_assert_eq!(buffers.is_of_client(index), is_clients);
                        if is_clients {
                            buffers.hand_over(index);
                            client.retain(|kept| *kept != index as u32);
                            codec.push(index as u32);
                        }
                    }
                }
                prop_assert_eq!(codec.len() + waiting.len() + client.len(), 4);
            }
        }
    }
}
