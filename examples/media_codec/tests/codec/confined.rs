//! A decoder can do nothing but compute.

use std::fs;

use media_codec::{BufferFlags, Ending, Error, Event, MediaCodec, MediaType};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::place::{PATIENCE, Place, decode};
use crate::samples::STEREO;

/// A codec whose decoder has decoded something, and waits for more.
pub fn in_the_middle(place: &Place) -> MediaCodec {
    let mut codec = place.codec();
    codec.configure(MediaType::Flac).unwrap();
    codec.start().unwrap();
    let Event::Input(index) = codec.next_event(PATIENCE).unwrap() else { panic!("no input buffer") };
    codec.write_input(index, 0, STEREO).unwrap();
    codec.queue_input_buffer(index, STEREO.len() - 100, 0, BufferFlags::empty()).unwrap();
    while !matches!(codec.next_event(PATIENCE).unwrap(), Event::Output(..)) {}
    codec
}

/// The soft and the hard limit of a codec's decoder.
fn limit(codec: &MediaCodec, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", codec.decoder_process().unwrap())).unwrap();
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_lower_limit_of_the_service_stays() {
    let place = Place::new(&["--memory", "2048"]);
    let lower = Some(1 << 30);
    let service = Pid::from_raw(i32::try_from(place.process()).unwrap());
    prlimit(service, Resource::As, Rlimit { current: lower, maximum: lower }).unwrap();
    // The first one was started before that.
    drop(in_the_middle(&place));
    assert_eq!(limit(&in_the_middle(&place), "Max address space"), ["1073741824", "1073741824"]);
}

#[test]
fn the_kernel_says_so() {
    let place = Place::new(&["--memory", "100"]);
    let codec = in_the_middle(&place);
    let decoder = format!("/proc/{}", codec.decoder_process().unwrap());
    let status = fs::read_to_string(format!("{decoder}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("Seccomp"), "2", "a filter");
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Threads"), "1");
    assert_eq!(fs::read_dir(format!("{decoder}/fd")).unwrap().count(), 0, "not one descriptor");
    assert!(fs::read(format!("{decoder}/environ")).unwrap().is_empty());
    assert_eq!(limit(&codec, "Max address space"), ["104857600", "104857600"]);
    assert_eq!(limit(&codec, "Max open files"), ["0", "0"]);
    assert_eq!(limit(&codec, "Max core file size"), ["0", "0"]);
    let mapped = fs::read_to_string(format!("{decoder}/maps")).unwrap();
    assert_eq!(mapped.lines().filter(|line| line.contains("/memfd:")).count(), 1, "the region");
}

#[test]
fn a_call_that_is_not_allowed_ends_it() {
    let place = Place::new(&["--faults"]);
    let mut codec = place.codec();
    // Opens a file; makes a socket, a process, a thread; sends a signal.
    for order in [b"o", b"n", b"e", b"t", b"k"] {
        let (_, decoded, result) = decode(&mut codec, MediaType::Fault, &order[..]);
        assert!(decoded.is_empty());
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::DecoderEnded(Ending::Killed(libc::SIGSYS))),
            "{}: {error}",
            char::from(order[0])
        );
    }
    assert_eq!(codec.usage().unwrap().lost, 5);
}
