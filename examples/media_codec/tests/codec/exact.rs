//! What comes out is what the libraries make of the file in this process, to the sample and to the pixel.

use std::time::Duration;

use media_codec::{BufferFlags, Event, MediaCodec, Output};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::place::{PATIENCE, Place, decode};
use crate::samples::{self, MediaFile};

#[test]
fn every_kind_of_file() {
    let place = Place::new(&[]);
    let mut codec = place.codec();
    let mut count = 0;
    for sample in samples::all() {
        let (format, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
        result.unwrap();
        assert_eq!(format, Some(sample.format));
        assert!(decoded == sample.decoded, "{} {}", sample.media_type, sample.format);
        count += 1;
    }
    let usage = codec.usage().unwrap();
    assert_eq!(usage.lost, 0);
    assert!(usage.started >= count, "a decoder for each");
}

/// With both queues used by hand: buffers of any size, several dequeued at a time and queued, and released, in another order.
fn by_hand(codec: &mut MediaCodec, sample: &MediaFile, sizes: &[usize], keep: usize) -> (Vec<u8>, Vec<i64>) {
    codec.configure(sample.media_type).unwrap();
    codec.start().unwrap();
    let mut sizes = sizes.iter().cycle();
    let (mut rest, mut is_over) = (&sample.file[..], false);
    let (mut decoded, mut times, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let mut dequeued = Vec::new();
        while let Some(index) =
            (!is_over).then(|| codec.dequeue_input_buffer(Duration::ZERO).unwrap()).flatten()
        {
            dequeued.push(index);
        }
        for index in dequeued.into_iter().rev() {
            let length = (*sizes.next().unwrap()).min(rest.len());
            let (part, behind) = rest.split_at(length);
            rest = behind;
            is_over = rest.is_empty();
            let flags = if is_over { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
            codec.write_input(index, 0, part).unwrap();
            codec.queue_input_buffer(index, length, 0, flags).unwrap();
            if is_over {
                break;
            }
        }
        match codec.dequeue_output_buffer(Duration::from_millis(1)).unwrap() {
            Output::Buffer(index, info) => {
                let mut bytes = vec![0; info.length];
                codec.read_output(index, 0, &mut bytes).unwrap();
                decoded.extend(bytes);
                times.push(info.presentation_time);
                kept.push(index);
                if info.flags.contains(BufferFlags::END_OF_STREAM) {
                    break;
                }
                if kept.len() > keep {
                    kept.drain(..).rev().for_each(|index| codec.release_output_buffer(index).unwrap());
                }
            }
            Output::FormatChanged(format) => assert_eq!(format, sample.format),
            Output::TryAgain => {}
        }
    }
    times.pop();
    codec.stop().unwrap();
    (decoded, times)
}

#[test]
fn however_it_is_cut() {
    let place = Place::new(&[]);
    let mut codec = place.codec();
    let samples = samples::all();
    let strategy = (
        0..samples.len(),
        proptest::collection::vec(prop_oneof![1_usize..200, 1_usize..=MediaCodec::INPUT_CAPACITY], 1..5),
        0_usize..6,
    );
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let codec = std::cell::RefCell::new(&mut codec);
    runner
        .run(&strategy, |(sample, sizes, keep)| {
            let (decoded, times) = by_hand(&mut codec.borrow_mut(), &samples[sample], &sizes, keep);
            prop_assert!(decoded == samples[sample].decoded);
            prop_assert!(times.is_sorted());
            Ok(())
        })
        .unwrap();
}

#[test]
fn times_are_those_of_the_samples() {
    let place = Place::new(&[]);
    let mut codec = place.codec();
    let sample = &samples::all()[0];
    codec.configure(sample.media_type).unwrap();
    codec.start().unwrap();
    let mut chunks = sample.file.chunks(MediaCodec::INPUT_CAPACITY);
    let mut bytes = 0;
    loop {
        match codec.next_event(PATIENCE).unwrap() {
            Event::Input(index) => {
                let chunk = chunks.next().unwrap_or_default();
                let flags = if chunk.is_empty() { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
                codec.write_input(index, 0, chunk).unwrap();
                codec.queue_input_buffer(index, chunk.len(), 0, flags).unwrap();
            }
            Event::Output(_, info) if info.flags.contains(BufferFlags::END_OF_STREAM) => break,
            Event::Output(index, info) => {
                let expected = sample.format.duration(bytes);
                assert!((info.presentation_time - expected).abs() <= 1, "{info:?}, not {expected}");
                bytes += info.length;
                codec.release_output_buffer(index).unwrap();
            }
            Event::FormatChanged(_) => assert_eq!(codec.output_format(), Some(sample.format)),
            Event::TryAgain => panic!("nothing came"),
        }
    }
    assert_eq!(bytes, sample.decoded.len());
}

#[test]
fn several_codecs_at_a_time_and_no_more_than_allowed() {
    let place = Place::new(&["--codecs", "3"]);
    let samples = samples::all();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let place = &place;
            scope.spawn(move || {
                let mut codec = place.codec();
                for sample in samples.iter().skip(thread).step_by(4) {
                    // The others' decoders may not be gone yet.
                    let decoded = loop {
                        let (_, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
                        match result {
                            Ok(()) => break decoded,
                            Err(media_codec::Error::Busy) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    };
                    assert!(decoded == sample.decoded);
                }
            });
        }
    });
    let codec = place.codec();
    place.wait_until_idle(&codec);
    let mut codecs: Vec<MediaCodec> = (0..4).map(|_| place.codec()).collect();
    for (number, codec) in codecs.iter_mut().enumerate() {
        codec.configure(samples[0].media_type).unwrap();
        match codec.start() {
            Ok(()) => assert!(number < 3),
            Err(media_codec::Error::Busy) => assert_eq!(number, 3),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A place is free for who has just given one back, however long the decoder before takes to end.
#[test]
fn one_codec_after_another_where_one_is_allowed() {
    let place = Place::new(&["--codecs", "1"]);
    let mut codec = place.codec();
    let sample = &samples::all()[0];
    for _ in 0..10 {
        let (_, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
        result.unwrap();
        assert!(decoded == sample.decoded);
        codec.configure(sample.media_type).unwrap();
        codec.start().unwrap();
        codec.flush().unwrap();
        codec.reset().unwrap();
    }
}
