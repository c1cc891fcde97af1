//! A decoder that writes what it likes, against the client's side alone.

use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ashmem::Region;
use proptest::prelude::*;

use super::service::Created;
use super::session::Session;
use crate::layout::{CONTROL, INPUT_FILLED, INPUTS, OUTPUT_SIZE, OUTPUTS, SIZE};
use crate::port::{Incoming, Port};
use crate::record::{BufferFlags, Record};
use crate::{Ending, Error, Format, MediaType};

/// A client's session, the decoder's end of its region, and the service's end of its lifeline.
fn session() -> (Session, Port, UnixStream) {
    let region = Region::create("hostile", SIZE).unwrap();
    let port = Port::of_decoder(region.map().unwrap()).unwrap();
    let (ours, lifeline) = UnixStream::pair().unwrap();
    let created = Created { region, lifeline, process: 0 };
    (Session::new(created, MediaType::Wav).unwrap(), port, ours)
}

#[derive(Clone, Debug)]
enum Step {
    /// A word of the control block.
    Word(u64, u32),
    /// A record that a decoder could send.
    Record(bool, Record),
    Input(usize),
    Output,
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let small = prop_oneof![0_u32..10, any::<u32>()];
    // The queues' words, and their tails most of all.
    let place = prop_oneof![0..CONTROL / 4, (0_u64..4).prop_map(|queue| INPUT_FILLED / 4 + queue * 80)];
    let format = prop_oneof![Just([1, 44_100, 2]), Just([3, 8, 8]), any::<[u32; 3]>()];
    let length = prop_oneof![Just(64_u32), Just(0), Just(OUTPUT_SIZE as u32), any::<u32>()];
    let flags = prop_oneof![4 => Just(0_u32), 1 => Just(4), 1 => Just(1 << 31), 1 => any::<u32>()];
    let record = (small.clone(), length, flags, any::<i64>(), format);
    let record =
        record.prop_map(|(index, length, flags, time, format)| Record { index, length, flags, time, format });
    prop_oneof![
        1 => (place, small).prop_map(|(place, value)| Step::Word(4 * place, value)),
        3 => (any::<bool>(), record).prop_map(|(is_input, record)| Step::Record(is_input, record)),
        3 => (0_usize..6).prop_map(Step::Input),
        3 => Just(Step::Output),
        2 => (0_usize..10).prop_map(Step::Release),
    ]
}

proptest! {
    /// Every call returns, with an answer that makes sense or an error.
    #[test]
    fn any_words_give_an_answer_or_an_error(steps in proptest::collection::vec(step(), 0..60)) {
        let (mut session, mut port, _ours) = session();
        for step in steps {
            let result = match step {
                Step::Word(place, value) => {
                    session.mapping().atomic_u32(place).unwrap().store(value, Ordering::Release);
                    Ok(())
                }
                Step::Record(is_input, record) => {
                    let kind = if is_input { Incoming::Input } else { Incoming::Output };
                    port.push(kind, record).unwrap();
                    Ok(())
                }
                Step::Input(index) => session
                    .wait_for(Duration::ZERO, Session::dequeue_input)
                    .and_then(|found| {
                        let index = found.unwrap_or(index);
                        session.write_input("test", index, 0, b"input")?;
                        session.queue_input("test", index, 5, 0, BufferFlags::empty())
                    }),
                Step::Output => session
                    .wait_for(Duration::from_micros(10), |session| {
                        let format = session.next_output_format()?;
                        session.dequeue_output().map(|(index, info)| (format, index, info))
                    })
                    .and_then(|found| {
                        let Some((format, index, info)) = found else { return Ok(()) };
                        assert!(index < OUTPUTS && info.length <= OUTPUT_SIZE);
                        assert_eq!(info.length % format.unit(), 0);
                        assert_eq!(Format::from_words(format.to_words()), Some(format));
                        let mut bytes = vec![0; info.length];
                        session.read_output("test", index, 0, &mut bytes)
                    }),
                Step::Release(index) => session.release_output("test", index),
            };
            match result {
                Ok(()) => {}
                Err(error) if error.is_callers() => {}
                Err(Error::Corrupt(_) | Error::Malformed(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn output(session: &mut Session) -> Result<Option<usize>, Error> {
    let found = session.wait_for(Duration::ZERO, Session::dequeue_output);
    found.map(|found| found.map(|(index, _)| index))
}

#[test]
fn what_came_before_an_end_comes_first() {
    let frames = Record { length: 8, format: [1, 44_100, 2], ..Record::default() };
    for (bytes, expected) in [
        (Ending::Killed(9).to_bytes().to_vec(), "the decoder was killed by signal 9"),
        (Ending::Exited(0).to_bytes().to_vec(), "the decoder ended before the stream did"),
        (vec![1, 2, 3], "the codec service is gone"),
        (vec![0xff; 8], "the codec service is gone"),
        (vec![], "the codec service is gone"),
    ] {
        let (mut session, mut port, mut ours) = session();
        port.push(Incoming::Output, Record { index: 3, ..frames }).unwrap();
        std::io::Write::write_all(&mut ours, &bytes).unwrap();
        drop(ours);
        assert_eq!(output(&mut session).unwrap(), Some(3));
        assert_eq!(output(&mut session).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_failure_comes_behind_the_output_and_is_harmless_text() {
    let (mut session, mut port, _ours) = session();
    let frames = Record { length: 8, format: [1, 44_100, 2], ..Record::default() };
    port.push(Incoming::Output, frames).unwrap();
    let reason = b"bad \x1b[31m \xff";
    port.mapping.write_at(crate::layout::output(1), reason).unwrap();
    let failure = Record { index: 1, length: reason.len() as u32, flags: 1 << 31, ..frames };
    port.push(Incoming::Output, failure).unwrap();
    // Who waits for input does not lose the output.
    for _ in 0..INPUTS {
        assert!(session.wait_for(Duration::ZERO, Session::dequeue_input).unwrap().is_some());
    }
    assert!(session.wait_for(Duration::ZERO, Session::dequeue_input).unwrap().is_none());
    assert_eq!(output(&mut session).unwrap(), Some(0));
    let error = output(&mut session).unwrap_err().to_string();
    assert_eq!(error, "the stream cannot be decoded: bad \u{fffd}[31m \u{fffd}");
}

#[test]
fn the_bell_wakes_a_client_that_sleeps() {
    let (mut session, mut port, _ours) = session();
    let frames = Record { length: 8, format: [1, 44_100, 2], ..Record::default() };
    let pushing = std::thread::spawn(move || port.push(Incoming::Output, frames).unwrap());
    let found = session.wait_for(Duration::from_secs(60), Session::dequeue_output).unwrap();
    assert_eq!(found.map(|(index, _)| index), Some(0));
    pushing.join().unwrap();
}
