//! Random calls on a codec, against the table of states and plain sets of buffers.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use media_codec::{BufferFlags, Error, MediaCodec, MediaType, Output, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::place::Place;
use crate::samples::STEREO;

#[derive(Clone, Debug)]
enum Call {
    Configure,
    Start,
    DequeueInput,
    Write(usize, usize),
    Queue(usize, usize, bool),
    DequeueOutput,
    Read(usize),
    ReleaseOutput(usize),
    Flush,
    Stop,
    Reset,
}

fn call() -> impl Strategy<Value = Call> {
    let length = || prop_oneof![Just(0_usize), 1_usize..9000, Just(MediaCodec::INPUT_CAPACITY + 1)];
    prop_oneof![
        4 => Just(Call::Configure),
        4 => Just(Call::Start),
        6 => Just(Call::DequeueInput),
        2 => (0_usize..6, length()).prop_map(|(index, length)| Call::Write(index, length)),
        6 => (0_usize..6, length(), prop::bool::weighted(0.2)).prop_map(|(index, length, end)| Call::Queue(index, length, end)),
        6 => Just(Call::DequeueOutput),
        2 => (0_usize..10).prop_map(Call::Read),
        3 => (0_usize..10).prop_map(Call::ReleaseOutput),
        1 => Just(Call::Flush),
        1 => Just(Call::Stop),
        1 => Just(Call::Reset),
    ]
}

/// What the documentation of Android's draws, with the client's buffers.
#[derive(Debug)]
struct Model {
    state: State,
    inputs: BTreeSet<usize>,
    outputs: BTreeSet<usize>,
}

impl Model {
    fn go(&mut self, from: &[State], to: State) -> bool {
        let is_legal = from.contains(&self.state);
        if is_legal {
            self.state = to;
            self.inputs.clear();
            self.outputs.clear();
        }
        is_legal
    }

    fn is_executing(&self) -> bool {
        matches!(self.state, State::Flushed | State::Running | State::EndOfStream)
    }
}

fn check(codec: &mut MediaCodec, model: &mut Model, call: &Call) {
    use State::{Configured, EndOfStream, Flushed, Running, Uninitialized};
    let capacity = MediaCodec::INPUT_CAPACITY;
    let mut failed = None;
    let mut expect = |is_legal: bool, result: Result<(), Error>| match result {
        Ok(()) => assert!(is_legal, "{call:?} in {:?}", codec_state(is_legal)),
        Err(error) if error.is_callers() => assert!(!is_legal, "{call:?}: {error}"),
        // The stream is cut anyhow, so it may be found malformed at any time.
        Err(error) => failed = Some(error),
    };
    match *call {
        Call::Configure => {
            expect(model.go(&[Uninitialized], Configured), codec.configure(MediaType::Flac));
        }
        Call::Start => expect(model.go(&[Configured], Flushed), codec.start()),
        Call::DequeueInput => {
            let is_legal = matches!(model.state, Flushed | Running);
            let result = codec.dequeue_input_buffer(Duration::ZERO).map(|found| {
                if let Some(index) = found {
                    assert!(index < 4 && model.inputs.insert(index), "given twice");
                    model.state = Running;
                }
            });
            expect(is_legal, result);
        }
        Call::Write(index, length) => {
            let is_legal = model.state == Running && model.inputs.contains(&index) && length <= capacity;
            let bytes = STEREO.iter().copied().cycle().take(length).collect::<Vec<u8>>();
            expect(is_legal, codec.write_input(index, 0, &bytes));
        }
        Call::Queue(index, length, end) => {
            let is_legal = model.state == Running && model.inputs.contains(&index) && length <= capacity;
            let flags = if end { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
            expect(is_legal, codec.queue_input_buffer(index, length, 0, flags));
            if is_legal {
                model.inputs.remove(&index);
                model.state = if end { EndOfStream } else { Running };
            }
        }
        Call::DequeueOutput => {
            let result = codec.dequeue_output_buffer(Duration::ZERO).map(|found| {
                if let Output::Buffer(index, _) = found {
                    assert!(index < 8 && model.outputs.insert(index), "given twice");
                }
            });
            expect(model.is_executing(), result);
        }
        Call::Read(index) => {
            let is_legal = model.is_executing() && model.outputs.contains(&index);
            expect(is_legal, codec.read_output(index, 0, &mut []));
        }
        Call::ReleaseOutput(index) => {
            let is_legal = model.is_executing() && model.outputs.remove(&index);
            expect(is_legal, codec.release_output_buffer(index));
        }
        Call::Flush => expect(model.go(&[Flushed, Running, EndOfStream], Flushed), codec.flush()),
        Call::Stop => {
            expect(model.go(&[Configured, Flushed, Running, EndOfStream], Uninitialized), codec.stop());
        }
        Call::Reset => {
            let any = [Uninitialized, Configured, Flushed, Running, EndOfStream, State::Error];
            expect(model.go(&any, Uninitialized), codec.reset());
        }
    }
    if let Some(error) = failed {
        assert!(matches!(error, Error::Malformed(_)), "{error}");
        model.state = State::Error;
    }
    assert_eq!(codec.state(), model.state);
}

fn codec_state(is_legal: bool) -> &'static str {
    if is_legal { "a legal state" } else { "a state that forbids it" }
}

#[test]
fn calls_are_those_of_the_table() {
    let place = Place::new(&["--codecs", "200"]);
    let place = &place;
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let codecs = RefCell::new(Vec::new());
    runner
        .run(&proptest::collection::vec(call(), 0..60), |calls| {
            let mut codec = place.codec();
            let mut model =
                Model { state: State::Uninitialized, inputs: BTreeSet::new(), outputs: BTreeSet::new() };
            calls.iter().for_each(|call| check(&mut codec, &mut model, call));
            codec.release();
            assert_eq!(codec.state(), State::Released);
            assert!(matches!(codec.reset(), Err(Error::IllegalState { .. })));
            codecs.borrow_mut().push(codec);
            Ok(())
        })
        .unwrap();
    let codec = codecs.take().pop().unwrap();
    place.wait_until_idle(&codec);
}
