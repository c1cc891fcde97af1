//! Streams that are malformed, and decoders that do wrong: an error for their client, and everybody else goes on.

use std::cell::RefCell;
use std::time::Duration;

use media_codec::{Ending, Error, Format, MediaCodec, MediaType, decode_stream};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::place::{Place, decode};
use crate::samples::{self, MediaFile};

type IsExpected = fn(&Error) -> bool;

fn is_exact(codec: &mut MediaCodec, sample: &MediaFile) {
    let (_, decoded, result) = decode(codec, sample.media_type, &sample.file[..]);
    result.unwrap();
    assert!(decoded == sample.decoded);
}

#[test]
fn an_error_for_its_client_and_the_next_file_decodes() {
    let place = Place::new(&["--faults", "--memory", "96", "--deadline", "300"]);
    let sample = &samples::all()[0];
    let mut codec = place.codec();
    // Decodes half of a file, and the rest when all is over.
    let mut other = crate::confined::in_the_middle(&place);
    is_exact(&mut codec, sample);
    let faults: [(&[u8], IsExpected); 9] = [
        (b"a", |error| matches!(error, Error::DecoderEnded(Ending::Killed(libc::SIGABRT)))),
        (b"x", |error| matches!(error, Error::DecoderEnded(Ending::Exited(0)))),
        (b"p", |error| matches!(error, Error::DecoderEnded(Ending::Exited(101)))),
        (b"w", |error| matches!(error, Error::DecoderEnded(Ending::Stuck(300..)))),
        (b"m", |error| matches!(error, Error::DecoderEnded(Ending::Killed(libc::SIGABRT)))),
        (b"i", |error| matches!(error, Error::Corrupt(_))),
        (b"l", |error| matches!(error, Error::Corrupt(_))),
        (b"f", |error| matches!(error, Error::Corrupt(_))),
        (b"?", |error| matches!(error, Error::Malformed(_))),
    ];
    place.wait_until_idle_but(&codec, 1);
    let descriptors = place.descriptors();
    for (order, is_expected) in faults {
        let (_, _, result) = decode(&mut codec, MediaType::Fault, order);
        let error = result.unwrap_err();
        assert!(is_expected(&error), "{}: {error:?}", char::from(order[0]));
        is_exact(&mut codec, sample);
    }
    place.wait_until_idle_but(&codec, 1);
    assert_eq!(place.descriptors(), descriptors);
    assert!(other.next_event(Duration::ZERO).is_ok(), "nobody else noticed");
    assert_eq!(codec.usage().unwrap().codecs, 1);
}

/// A decoder that fills the control block with what it likes, and ends as if all were well.
#[test]
fn rubbish_from_a_decoder_is_an_answer_or_an_error() {
    let place = Place::new(&["--faults"]);
    let sample = &samples::all()[3];
    let mut codec = place.codec();
    for seed in 0_u64..25 {
        let order = [&b"g"[..], &seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()].concat();
        let (_, _, result) = decode(&mut codec, MediaType::Fault, &order[..]);
        match result {
            Ok(()) => {}
            Err(Error::Corrupt(_) | Error::Malformed(_) | Error::DecoderEnded(Ending::Exited(0))) => {}
            Err(error) => panic!("{error}"),
        }
    }
    is_exact(&mut codec, sample);
}

#[test]
fn a_decoder_that_sleeps_is_given_up() {
    let place = Place::new(&["--faults"]);
    let mut codec = place.codec();
    let patience = Duration::from_millis(50);
    let result = decode_stream(&mut codec, MediaType::Fault, &b"s"[..], patience, |_, _| Ok(()));
    assert!(matches!(result, Err(Error::Stalled(_))), "{result:?}");
    is_exact(&mut codec, &samples::all()[0]);
    place.wait_until_idle(&codec);
}

#[test]
fn without_leave_there_are_no_faults() {
    let place = Place::new(&[]);
    let (_, _, result) = decode(&mut place.codec(), MediaType::Fault, &b"a"[..]);
    assert!(matches!(result, Err(Error::Unsupported(MediaType::Fault))));
}

#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    /// A byte near the start, where headers are.
    Header(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = || any::<prop::sample::Index>();
    prop_oneof![
        3 => (place(), 1_u8..).prop_map(|(place, bits)| Change::Flip(place, bits)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), 1_usize..40).prop_map(|(place, length)| Change::Remove(place, length)),
        1 => (place(), proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        3 => (0_usize..64, any::<u8>()).prop_map(|(place, byte)| Change::Header(place, byte)),
    ]
}

fn apply(file: &mut Vec<u8>, change: Change) {
    if file.is_empty() {
        return;
    }
    match change {
        Change::Flip(place, bits) => *place.get_mut(file) ^= bits,
        Change::Cut(place) => file.truncate(place.index(file.len())),
        Change::Remove(place, length) => {
            let start = place.index(file.len());
            file.drain(start..(start + length).min(file.len()));
        }
        Change::Insert(place, bytes) => {
            let start = place.index(file.len());
            file.splice(start..start, bytes);
        }
        Change::Header(place, byte) => {
            let place = place % file.len();
            file[place] = byte;
        }
    }
}

/// Whatever a file has in it, there is output or an error. Only sound can be without any output: when it is cut before its first frame.
#[test]
fn malformed_files_give_output_or_an_error() {
    let place = Place::new(&["--memory", "128"]);
    let samples: Vec<&MediaFile> =
        samples::all().iter().filter(|sample| sample.decoded.len() < 200_000).collect();
    let codec = RefCell::new(place.codec());
    let strategy = (0..samples.len(), proptest::collection::vec(change(), 1..6));
    let mut runner = TestRunner::new(Config { cases: 120, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |(number, changes)| {
            let sample = samples[number];
            let mut file = sample.file.clone();
            changes.into_iter().for_each(|change| apply(&mut file, change));
            let codec = &mut *codec.borrow_mut();
            let (_, decoded, result) = decode(codec, sample.media_type, &file[..]);
            let is_image = matches!(sample.format, Format::Image { .. });
            match result {
                Ok(()) => prop_assert!(!is_image || !decoded.is_empty()),
                Err(Error::Malformed(_) | Error::DecoderEnded(_)) => {}
                Err(error) => panic!("{error}"),
            }
            Ok(())
        })
        .unwrap();
    let mut codec = codec.into_inner();
    samples.iter().take(5).for_each(|sample| is_exact(&mut codec, sample));
    place.wait_until_idle(&codec);
}

#[test]
fn an_image_that_promises_too_much_is_refused() {
    let place = Place::new(&["--memory", "128"]);
    let mut codec = place.codec();
    // 65,000 x 65,000 pixels, said by a header of a few bytes.
    let mut file =
        samples::all().iter().find(|sample| sample.media_type == MediaType::Png).unwrap().file.clone();
    file[16..20].copy_from_slice(&65_000_u32.to_be_bytes());
    file[20..24].copy_from_slice(&65_000_u32.to_be_bytes());
    let checksum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    let (_, decoded, result) = decode(&mut codec, MediaType::Png, &file[..]);
    assert!(decoded.is_empty());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    assert_eq!(codec.usage().unwrap().lost, 0);
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
