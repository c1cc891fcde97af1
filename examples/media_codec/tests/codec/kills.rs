//! SIGKILL for each of the three at random moments.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use media_codec::{BufferFlags, Ending, Error, Event, MediaCodec, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::place::{PATIENCE, Place, decode, wait_until};
use crate::samples::{self, MediaFile};

fn kill(process: u32) {
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    // It may have finished, and been waited for.
    let _ = rustix::process::kill_process(process, Signal::KILL);
}

fn pidfd(process: u32) -> Option<OwnedFd> {
    let process = Pid::from_raw(i32::try_from(process).ok()?)?;
    pidfd_open(process, PidfdFlags::empty()).ok()
}

/// Decodes, and does `strike` after that many events. Small buffers make many events.
fn decode_until(
    codec: &mut MediaCodec,
    sample: &MediaFile,
    events: usize,
    mut strike: impl FnMut(&mut MediaCodec),
) -> Result<Vec<u8>, Error> {
    codec.configure(sample.media_type)?;
    codec.start()?;
    let mut chunks = sample.file.chunks(2000);
    let mut decoded = Vec::new();
    for number in 0.. {
        if number == events {
            strike(codec);
        }
        match codec.next_event(PATIENCE)? {
            Event::Input(index) => {
                let chunk = chunks.next().unwrap_or_default();
                let flags = if chunk.is_empty() { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
                codec.write_input(index, 0, chunk)?;
                codec.queue_input_buffer(index, chunk.len(), 0, flags)?;
            }
            Event::Output(index, info) => {
                let mut bytes = vec![0; info.length];
                codec.read_output(index, 0, &mut bytes)?;
                codec.release_output_buffer(index)?;
                decoded.extend(bytes);
                if info.flags.contains(BufferFlags::END_OF_STREAM) {
                    break;
                }
            }
            Event::FormatChanged(_) => {}
            Event::TryAgain => panic!("nothing came"),
        }
    }
    codec.stop()?;
    Ok(decoded)
}

#[test]
fn of_decoders() {
    let place = Place::new(&[]);
    let sample = &samples::all()[0];
    let mut codec = place.codec();
    let mut killed = 0;
    for events in 0..24 {
        let strike = |codec: &mut MediaCodec| kill(codec.decoder_process().unwrap());
        match decode_until(&mut codec, sample, events, strike) {
            // All of it was there already.
            Ok(decoded) => assert!(decoded == sample.decoded),
            Err(Error::DecoderEnded(Ending::Killed(libc::SIGKILL))) => {
                killed += 1;
                assert_eq!(codec.state(), State::Error);
                assert!(matches!(codec.start(), Err(Error::IllegalState { .. })));
                codec.reset().unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(killed > 0);
    // Also the one that waits for its first client.
    for _ in 0..5 {
        place.wait_until_idle(&codec);
        place.decoders().into_iter().for_each(kill);
        let (_, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
        match result {
            Ok(()) => assert!(decoded == sample.decoded),
            // It was taken before its end was known.
            Err(Error::DecoderEnded(Ending::Killed(libc::SIGKILL))) => {}
            Err(error) => panic!("{error}"),
        }
    }
    place.wait_until_idle(&codec);
}

#[test]
fn of_the_service() {
    let place = std::cell::RefCell::new(Place::new(&[]));
    let sample = &samples::all()[0];
    let mut codec = place.borrow().codec();
    for events in [0, 3, 7, 12] {
        let decoders = std::cell::RefCell::new(Vec::new());
        let strike = |codec: &mut MediaCodec| {
            let mut place = place.borrow_mut();
            let processes = place.decoders();
            assert!(processes.contains(&codec.decoder_process().unwrap()));
            // One that has ended meanwhile has none.
            *decoders.borrow_mut() = processes.into_iter().filter_map(pidfd).collect::<Vec<_>>();
            place.kill();
        };
        match decode_until(&mut codec, sample, events, strike) {
            Ok(decoded) => assert!(decoded == sample.decoded),
            Err(Error::ServiceGone) => codec.reset().unwrap(),
            Err(error) => panic!("{error}"),
        }
        // Whoever waits for them now, if anybody does.
        for decoder in decoders.take() {
            let mut events = [PollFd::new(&decoder, PollFlags::IN)];
            let patience = Timespec::try_from(PATIENCE).unwrap();
            assert_eq!(poll(&mut events, Some(&patience)).unwrap(), 1, "the decoder has ended");
        }
        place.borrow_mut().restart();
        let (_, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
        result.unwrap();
        assert!(decoded == sample.decoded, "the codec has found the new one");
    }
}

#[test]
fn of_clients() {
    let place = Place::new(&[]);
    let codec = place.codec();
    let sample = &samples::all()[0];
    place.wait_until_idle(&codec);
    let descriptors = place.descriptors();
    let path = place.directory.path().join("stream.flac");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for length in [16, 2000, 20_000, sample.file.len() - 1] {
        // It reads from a pipe that does not end, so it is killed in the middle of the stream.
        let mut client = place
            .program()
            .args([Path::new("decode"), &path, Path::new("--output"), place.directory.path()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        pipe.write_all(&sample.file[..length]).unwrap();
        wait_until("it has a codec", || codec.usage().unwrap().codecs == 1);
        std::thread::sleep(Duration::from_micros(7 * length as u64 % 3000));
        client.kill().unwrap();
        client.wait().unwrap();
        drop(pipe);
        place.wait_until_idle(&codec);
    }
    // The connection of a client that was killed is noticed by threads of their own.
    wait_until("all descriptors are closed", || place.descriptors() <= descriptors);
}
