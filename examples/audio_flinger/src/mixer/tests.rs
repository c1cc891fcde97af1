//! The mixer without processes and clocks: what comes out, what clients are told, and what peers that write nonsense can do.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::shared::positions::{Cursor, Side};
use crate::{Fault, Mode, State, TrackOptions};

const PERIOD: usize = 16;
const RATE: u32 = 8_000;
const FULL: u64 = 64;

/// A client without a process.
struct Client {
    id: u64,
    block: ControlBlock,
    cursor: Cursor,
}

impl Client {
    fn new(mixer: &mut Mixer, options: TrackOptions) -> Client {
        let (track, descriptor) = Track::new(&options, 1, RATE, PERIOD).unwrap();
        let frames = track.block().frames();
        let (id, descriptor) = mixer.add(track, descriptor).unwrap();
        let block = ControlBlock::open(descriptor, options.channels.into(), frames).unwrap().unwrap();
        Client { id, cursor: Cursor::new(Side::Client, frames), block }
    }

    fn streaming(mixer: &mut Mixer) -> Client {
        Client::new(mixer, TrackOptions::streaming(RATE, 1).frames(FULL))
    }

    /// Numbers its samples from `first` on, as 16 bits.
    fn write(&mut self, first: u64, frames: u64) {
        let samples: Vec<f32> = (first..first + frames).map(|i| (i % 32_768) as f32 / 32_768.0).collect();
        self.block.write(self.cursor.place().0, &samples).unwrap();
        self.block.commit(Side::Client, self.cursor.advance(frames)).unwrap();
    }

    fn position(&self) -> u64 {
        self.block.pair(Side::Client).unwrap().their_position()
    }

    fn state(&self) -> State {
        self.block.state().unwrap().unwrap()
    }
}

fn mixer() -> Mixer {
    Mixer::new(MixerOptions { rate: RATE, period: PERIOD, clock: Clock::Offline, ..MixerOptions::default() })
}

fn step(mixer: &mut Mixer) -> Vec<i16> {
    let mix = mixer.mix().iter().copied().step_by(2).collect();
    mixer.publish(7);
    mix
}

fn numbers(first: u64, frames: u64) -> Vec<i16> {
    (first..first + frames).map(|i| i as i16).chain(std::iter::repeat(0)).take(PERIOD).collect()
}

#[test]
fn a_ring_plays_in_order_counts_underruns_and_drains() {
    let mut mixer = mixer();
    let mut client = Client::streaming(&mut mixer);
    client.write(0, 20);
    mixer.command(client.id, Command::Start).unwrap();
    assert_eq!(step(&mut mixer), numbers(0, 0), "two periods have to be there first");
    assert_eq!(client.block.underruns().unwrap(), (0, 0));
    client.write(20, 20);
    assert_eq!(step(&mut mixer), numbers(0, 16));
    assert_eq!((client.position(), client.state()), (16, State::Active));
    assert_eq!(
        client.block.timestamp().unwrap().read().unwrap(),
        crate::Timestamp { position: 0, nanoseconds: 7 }
    );
    assert_eq!(step(&mut mixer), numbers(16, 16));
    assert_eq!(step(&mut mixer), numbers(32, 8));
    assert_eq!(client.block.underruns().unwrap(), (1, 8));
    client.write(40, 10);
    mixer.command(client.id, Command::Stop).unwrap();
    assert_eq!(client.state(), State::Stopping);
    assert_eq!(step(&mut mixer), numbers(40, 10));
    assert_eq!((client.position(), client.state()), (50, State::Stopped));
    assert_eq!(client.block.underruns().unwrap(), (1, 8), "an end is no underrun");
    assert!(!mixer.is_heard());
}

#[test]
fn an_end_that_is_announced_is_no_underrun() {
    let mut mixer = mixer();
    let mut client = Client::streaming(&mut mixer);
    client.write(0, 5);
    mixer.command(client.id, Command::Start).unwrap();
    assert!(mixer.awaited().is_some());
    client.block.set_end(Some(5)).unwrap();
    assert!(mixer.awaited().is_none());
    assert_eq!(step(&mut mixer), numbers(0, 5));
    assert_eq!((client.state(), client.block.underruns().unwrap()), (State::Stopped, (0, 0)));
}

#[test]
fn pauses_keep_the_place_and_flushes_discard() {
    let mut mixer = mixer();
    let mut client = Client::streaming(&mut mixer);
    client.write(0, 64);
    mixer.command(client.id, Command::Start).unwrap();
    assert_eq!(step(&mut mixer), numbers(0, 16));
    assert!(mixer.command(client.id, Command::Flush).is_err());
    mixer.command(client.id, Command::Pause).unwrap();
    assert!(!mixer.is_heard());
    assert_eq!(step(&mut mixer), numbers(0, 0));
    mixer.command(client.id, Command::Start).unwrap();
    assert_eq!(step(&mut mixer), numbers(16, 16));
    mixer.command(client.id, Command::Pause).unwrap();
    mixer.command(client.id, Command::Flush).unwrap();
    assert_eq!(client.position(), 64);
    client.cursor.see(64).unwrap();
    client.write(100, 32);
    mixer.command(client.id, Command::Start).unwrap();
    assert_eq!(step(&mut mixer), numbers(100, 16));
}

#[test]
fn a_static_track_plays_as_often_as_it_is_started() {
    let mut mixer = mixer();
    let mut client = Client::new(&mut mixer, TrackOptions::of_static(RATE, 1, 20));
    client.write(1, 20);
    for _ in 0..2 {
        mixer.command(client.id, Command::Start).unwrap();
        assert_eq!(step(&mut mixer), numbers(1, 16));
        assert_eq!(step(&mut mixer), numbers(17, 4));
        assert_eq!((client.state(), client.block.underruns().unwrap()), (State::Stopped, (0, 0)));
    }
    mixer.command(client.id, Command::Start).unwrap();
    step(&mut mixer);
    mixer.command(client.id, Command::Pause).unwrap();
    mixer.command(client.id, Command::Flush).unwrap();
    mixer.command(client.id, Command::Start).unwrap();
    assert_eq!(step(&mut mixer), numbers(1, 16), "from the beginning");
}

#[test]
fn released_tracks_play_what_is_there_and_go() {
    let mut mixer = mixer();
    let mut heard = Client::streaming(&mut mixer);
    let mut paused = Client::streaming(&mut mixer);
    for client in [&mut heard, &mut paused] {
        client.write(0, 40);
        mixer.command(client.id, Command::Start).unwrap();
    }
    mixer.command(paused.id, Command::Pause).unwrap();
    mixer.release(paused.id);
    mixer.release(heard.id);
    assert_eq!(mixer.tracks(), 1);
    for (first, frames) in [(0, 16), (16, 16), (32, 8)] {
        assert_eq!(step(&mut mixer), numbers(first, frames));
    }
    assert_eq!(mixer.tracks(), 0);
    assert!(mixer.command(heard.id, Command::Start).is_err());
}

#[test]
fn what_cannot_be_had_is_refused() {
    let mut mixer = mixer();
    for options in [
        TrackOptions::streaming(3_999, 1),
        TrackOptions::streaming(192_001, 1),
        TrackOptions::streaming(RATE, 0),
        TrackOptions::streaming(RATE, 3),
        TrackOptions::of_static(RATE, 1, 0),
        TrackOptions::of_static(RATE, 2, u64::MAX),
    ] {
        assert!(Track::new(&options, 1, RATE, PERIOD).is_err(), "{options:?}");
    }
    let mut add = |owner| {
        let options = TrackOptions::streaming(RATE, 1);
        let (track, descriptor) = Track::new(&options, owner, RATE, PERIOD).unwrap();
        mixer.add(track, descriptor).is_ok()
    };
    assert!((0..MOST_TRACKS_OF_ONE).all(|_| add(1)));
    assert!(!add(1), "one process has enough");
    assert!((0..MOST_TRACKS - MOST_TRACKS_OF_ONE).all(|i| add(i as i32 + 2)));
    assert!(!add(-1), "there are enough");
}

#[test]
fn positions_that_lie_end_the_track_and_nothing_else() {
    for (lie, fault) in [
        (16 + FULL + 1, Fault::PositionOutOfRange),
        (u64::MAX, Fault::PositionOutOfRange),
        (1 << 63, Fault::PositionOutOfRange),
        (39, Fault::PositionWentBack),
    ] {
        let mut mixer = mixer();
        let (mut liar, mut other) = (Client::streaming(&mut mixer), Client::streaming(&mut mixer));
        liar.write(0, 40);
        other.write(0, 64);
        liar.block.set_volumes([0.0; 2]).unwrap();
        mixer.command(liar.id, Command::Start).unwrap();
        mixer.command(other.id, Command::Start).unwrap();
        assert_eq!(step(&mut mixer), numbers(0, 16));
        liar.block.commit(Side::Client, lie).unwrap();
        assert_eq!(step(&mut mixer), numbers(16, 16));
        assert_eq!((liar.state(), other.state()), (State::Broken(fault), State::Active));
        assert!(mixer.command(liar.id, Command::Start).is_err());
        mixer.release(liar.id);
        assert_eq!((mixer.tracks(), mixer.report().broken), (1, 1));
    }
    let mut mixer = mixer();
    let liar = Client::new(&mut mixer, TrackOptions::of_static(RATE, 1, 20));
    liar.block.commit(Side::Client, 21).unwrap();
    mixer.command(liar.id, Command::Start).unwrap();
    assert_eq!(liar.state(), State::Broken(Fault::PositionOutOfRange));
}

#[test]
fn volumes_that_are_none_are_silence_and_loud_ones_are_full() {
    for (volume, loudness) in
        [(f32::NAN, 0.0), (f32::NEG_INFINITY, 0.0), (-1.0, 0.0), (f32::INFINITY, 1.0), (9.0, 1.0), (0.5, 0.5)]
    {
        let mut mixer = mixer();
        let mut client = Client::streaming(&mut mixer);
        client.write(1_000, 64);
        client.block.set_volumes([volume; 2]).unwrap();
        mixer.command(client.id, Command::Start).unwrap();
        assert_eq!(step(&mut mixer)[0], (1_000.0 * loudness) as i16, "{volume}");
    }
}

/// What a hostile client does between two periods.
#[derive(Clone, Debug)]
enum Act {
    /// Eight bytes of the control block.
    Word(u64, u64),
    /// A position near the mixer's, so that some are taken.
    Near(u64),
    Sample(u64, u32),
    Command(Command),
}

fn act() -> impl Strategy<Value = Act> {
    let command = prop_oneof![3 => Just(Command::Start), 1 => Just(Command::Pause), 1 => Just(Command::Flush), 1 => Just(Command::Stop)];
    let value = prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0..200u64];
    prop_oneof![
        2 => (0..32u64, value).prop_map(|(word, value)| Act::Word(word * 8, value)),
        4 => (0..80u64).prop_map(Act::Near),
        2 => (0..FULL, any::<u32>()).prop_map(|(frame, bits)| Act::Sample(frame, bits)),
        3 => command.prop_map(Act::Command),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Random words in every place: the mixer goes on, and the other track plays every frame in time.
    #[test]
    fn hostile_clients_disturb_nobody(is_static: bool, other_rate: bool, acts in prop::collection::vec(act(), 1..60)) {
        let mut mixer = mixer();
        let rate = if other_rate { 11_025 } else { RATE };
        let mode = if is_static { Mode::Static } else { Mode::Streaming };
        let hostile = Client::new(&mut mixer, TrackOptions { rate, channels: 1, mode, frames: FULL });
        let mut honest = Client::streaming(&mut mixer);
        honest.write(0, FULL);
        mixer.command(honest.id, Command::Start).unwrap();
        for (period, act) in acts.into_iter().enumerate() {
            match act {
                Act::Word(offset, value) => {
                    hostile.block.mapping().atomic_u64(offset).unwrap().store(value, Ordering::SeqCst);
                }
                Act::Near(frames) => {
                    let near = hostile.position().wrapping_add(frames);
                    hostile.block.commit(Side::Client, near).unwrap();
                }
                Act::Sample(frame, bits) => hostile.block.write(frame, &[f32::from_bits(bits)]).unwrap(),
                Act::Command(command) => { let _ = mixer.command(hostile.id, command); }
            }
            // The offline clock may wait for it, or not.
            if mixer.awaited().is_some_and(|awaited| awaited.track == hostile.id) {
                mixer.lose_patience(hostile.id);
            }
            let is_alone = !mixer.tracks[&hostile.id].life().is_heard();
            let mix = step(&mut mixer);
            let played = period as u64 * PERIOD as u64;
            if is_alone {
                prop_assert_eq!(mix, numbers(played, 16));
            }
            prop_assert_eq!(honest.position(), played + 16);
            prop_assert_eq!((honest.state(), honest.block.underruns().unwrap()), (State::Active, (0, 0)));
            honest.cursor.see(honest.position()).unwrap();
            honest.write(played + FULL, 16);
        }
        mixer.release(hostile.id);
        // What it left plays out at most.
        for _ in 0..FULL { step(&mut mixer); }
        prop_assert_eq!(mixer.tracks(), 1);
    }
}
