//! The program as its users meet it: what comes out of several processes is what one makes, and whoever is killed or sends rubbish
//! harms nobody else.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ashmem::{Mapping, Region};
use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{self, Parcel, SIBinder, Status};
use audio_flinger::decode::Decoder;
use audio_flinger::mixer::{Sum, Voice};
use audio_flinger::{AudioTrack, Error, State, TrackOptions};
use rustix::process::{Pid, Signal, kill_process};

use common::{LONG, Place, Process, data, noise, samples, until};

const RATE: u32 = 48_000;
const PERIOD: usize = 192;

/// The same decoding and mixing in one process, without rings or services.
fn mix_in_one_process(files: &[PathBuf], volume: f32) -> Vec<i16> {
    let mut tracks: Vec<(Voice, Vec<f32>, usize, usize)> = files
        .iter()
        .map(|file| {
            let mut decoder = Decoder::open(file).unwrap();
            let channels = decoder.channels() as usize;
            let mut sound = Vec::new();
            while let Some(samples) = decoder.next_samples().unwrap() {
                sound.extend_from_slice(samples);
            }
            (Voice::new(decoder.rate(), channels, RATE, PERIOD).unwrap(), sound, 0, channels)
        })
        .collect();
    let mut mix = Vec::new();
    while !tracks.is_empty() {
        let mut sum = Sum::new(PERIOD);
        let mut rendered = vec![0.0; 2 * PERIOD];
        tracks.retain_mut(|(voice, sound, at, channels)| {
            let wanted = voice.wanted() * *channels;
            let end = sound.len().min(*at + wanted);
            let mut samples = sound[*at..end].to_vec();
            *at = end;
            let is_short = samples.len() < wanted;
            voice.render(&mut samples, &mut rendered).unwrap();
            sum.add(&rendered, [volume; 2], [volume; 2]);
            !(is_short && voice.is_drained())
        });
        let mut block = vec![0; 2 * PERIOD];
        sum.write(&mut block);
        mix.extend_from_slice(&block);
    }
    mix
}

fn is_sound_and_silence(mix: &[i16], sound: &[i16]) -> bool {
    mix.starts_with(sound) && mix[sound.len()..].iter().all(|sample| *sample == 0)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Exact mixes wait for each client, however long a busy machine stalls it.
const PATIENT: [&str; 3] = ["--offline", "--patience", "3600"];

fn play<'a>(files: &'a [PathBuf], more: &[&'a str]) -> Vec<&'a str> {
    ["play"]
        .into_iter()
        .chain(PATIENT)
        .chain(more.iter().copied())
        .chain(files.iter().map(|file| text(file)))
        .collect()
}

#[test]
fn several_processes_mix_what_one_does() {
    let place = Place::new();
    let files = [
        data("tone.flac"),
        data("tone.mp3"),
        place.wav("noise.wav", 44_100, 2, &noise(2 * 30_000, 1, 9_000)),
        place.wav("mono.wav", RATE, 1, &noise(20_001, 2, 9_000)),
        place.wav("slow.wav", 8_000, 1, &noise(5_000, 3, 9_000)),
        place.wav("fast.wav", 192_000, 2, &noise(2 * 50_000, 4, 9_000)),
        place.wav("short.wav", RATE, 2, &[1, 2, 3, 4]),
    ];
    let expected = mix_in_one_process(&files, 0.3);
    for more in [&["--volume", "0.3"][..], &["--volume", "0.3", "--static"]] {
        let output = place.run(&play(&files, more));
        assert!(output.status.success(), "{output:?}");
        let mix = samples(&place.path("mix.wav"));
        assert_eq!(mix.len(), expected.len());
        let different = mix.iter().zip(&expected).position(|(one, other)| one != other);
        assert_eq!(different, None, "{more:?}");
    }
}

#[test]
fn one_file_comes_out_as_it_was() {
    let place = Place::new();
    let sound = noise(2 * 48_000, 5, 32_767);
    let files = [place.wav("sound.wav", RATE, 2, &sound)];
    let output = place.run(&play(&files, &["--json"]));
    assert!(output.status.success(), "{output:?}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["files"][0]["played"]["frames"], 48_000);
    assert_eq!(figures["files"][0]["played"]["underruns"], 0);
    assert!(is_sound_and_silence(&samples(&place.path("mix.wav")), &sound));
    // MP3 has what its encoder adds in front and behind taken off again.
    let mut decoder = Decoder::open(&data("tone.mp3")).unwrap();
    let mut frames = 0;
    while let Some(samples) = decoder.next_samples().unwrap() {
        frames += samples.len();
    }
    assert_eq!(frames, 44_100);
}

/// Files that are no sound, or only in part: an error for each, and the others play.
#[test]
fn broken_files_are_named_and_the_others_play() {
    let place = Place::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.path(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let flac = fs::read(data("tone.flac")).unwrap();
    let mp3 = fs::read(data("tone.mp3")).unwrap();
    let good = place.wav("good.wav", RATE, 1, &noise(9_600, 6, 9_000));
    let wav = fs::read(&good).unwrap();
    let mut files = vec![
        write("empty.wav", &[]),
        write("text.mp3", b"no sound at all\n"),
        write("header.flac", &flac[..30]),
        place.path("missing.wav"),
        place.path("tmp"),
        place.path("pipe"),
    ];
    place.pipe("pipe");
    // A header that promises 4 GiB.
    let mut liar = wav[..44].to_vec();
    liar[40..44].fill(0xff);
    files.push(write("liar.wav", &liar));
    let output = place.run(&play(&[&files[..], std::slice::from_ref(&good)].concat(), &[]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let messages = String::from_utf8(output.stderr).unwrap();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            messages.lines().any(|line| line.starts_with("audio_flinger: ") && line.contains(name)),
            "{messages}"
        );
    }
    assert!(samples(&place.path("mix.wav")) == mix_in_one_process(&[good], 1.0));

    // Damaged in random places, or cut off: an answer, in time and without a panic.
    let mut places = noise(600, 7, 16_000).into_iter().map(|number| number.unsigned_abs() as usize);
    for (i, bytes) in [flac, mp3, wav].iter().cycle().take(60).enumerate() {
        let mut bytes = bytes.clone();
        for place in places.by_ref().take(i / 6) {
            let index = place % bytes.len();
            bytes[index] = place as u8;
        }
        bytes.truncate(bytes.len() - places.next().unwrap_or(0) % bytes.len() * (i % 2));
        let path = write("damaged", &bytes);
        let mut frames = 0;
        if let Ok(mut decoder) = Decoder::open(&path) {
            while let Ok(Some(samples)) = decoder.next_samples() {
                frames += samples.len();
            }
        }
        assert!(frames < 10_000_000);
    }
}

#[test]
fn what_cannot_be_tried_is_said() {
    let place = Place::new();
    let file = place.wav("file.wav", RATE, 1, &[1; 100]);
    let before = fs::read(&file).unwrap();
    fs::hard_link(&file, place.path("link.wav")).unwrap();
    place.pipe("pipe");
    for (arguments, status) in [
        (&["play"][..], 2),
        (&["play", "file.wav", "--output", "./file.wav"], 2),
        (&["play", "file.wav", "--output", "link.wav"], 2),
        (&["play", "file.wav", "--output", "no/such/directory.wav"], 2),
        (&["play", "file.wav", "--output", "pipe"], 2),
        (&["play", "file.wav", "--patience", "5"], 2),
        (&["play", "file.wav", "--volume", "NaN"], 2),
        (&["play", "file.wav", "--rate", "1"], 2),
        (&["track", "file.wav", "--volume", "2"], 2),
        (&["tone", "no/such/directory.wav"], 1),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    let nowhere = place.program(&["play", "file.wav"]).env("TMPDIR", place.path("nowhere")).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
}

/// The mix is not written any more, and the clients do not notice.
#[test]
fn a_full_disk_is_an_error_of_the_mixer_alone() {
    let place = Place::new();
    let file = place.wav("long.wav", RATE, 1, &noise(150_000, 8, 9_000));
    let program = place.program(&[]);
    let mut command = Command::new("sh");
    // Files of 256 KiB at most, and an error instead of a signal.
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 512; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_audio_flinger"),
    ]);
    command.args(["play", "--offline", "--json", text(&file)]).current_dir(place.path("."));
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["files"][0]["played"]["frames"], 150_000);
    let failure = figures["mixer"]["failure"].as_str().unwrap();
    assert!(failure.contains("mix.wav"), "{failure}");
}

fn write_some(track: &mut AudioTrack, sound: &mut &[f32], frames: usize) {
    let (now, later) = sound.split_at(sound.len().min(2 * frames));
    track.write(now).unwrap();
    *sound = later;
}

/// Clients are killed at random moments, while they decode, write, wait or end. Their tracks are silent ones, so the mix has to be
/// exactly what the one that lives has played.
#[test]
fn killed_clients_leave_nothing_and_disturb_nobody() {
    let place = Place::new();
    let sound = noise(2 * 96_000, 9, 20_000);
    let (mut mixer, flinger) = place.mixer(&[&PATIENT[..], &["--output", "mix.wav"]].concat());
    let victim = place.wav("victim.wav", 44_100, 1, &noise(400_000, 10, 20_000));
    let floats: Vec<f32> = sound.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    let mut rest = &floats[..];
    let mut track = flinger.create_track(&TrackOptions::streaming(RATE, 2)).unwrap();
    write_some(&mut track, &mut rest, 1_000);
    track.start().unwrap();
    let descriptors = mixer.descriptors();
    for round in 0..12_u64 {
        let start = || Process::start(place.program(&["track", "--volume", "0", text(&victim)]));
        let mut victims = [start(), start()];
        if round % 3 != 0 {
            until("a victim has a track", || flinger.tracks().unwrap() > 1);
        }
        // A random moment: as long as so many frames take to be mixed.
        write_some(&mut track, &mut rest, (round as usize * 2_711) % 9_000);
        victims.iter_mut().for_each(Process::kill);
        write_some(&mut track, &mut rest, 500);
    }
    while !rest.is_empty() {
        write_some(&mut track, &mut rest, 1_000);
    }
    track.stop().unwrap();
    assert!(track.wait_until_stopped(LONG).unwrap());
    assert_eq!(track.underruns().unwrap(), (0, 0));
    until("what the victims left is played", || flinger.tracks().unwrap() == 1);
    until("descriptors are closed", || mixer.descriptors() <= descriptors);
    assert_eq!(mixer.mapped_tracks(), 1);
    drop(track);
    until("the last track is gone", || mixer.mapped_tracks() == 0);
    assert!(mixer.child.try_wait().unwrap().is_none());
    let (figures, is_well) = mixer.finish();
    assert!(is_well, "{figures}");
    // What a victim left when this track had ended is silence.
    let mix = samples(&place.path("mix.wav"));
    assert!(is_sound_and_silence(&mix, &sound));
}

/// In real time nobody is waited for: a client that is stopped underruns, the others play on.
#[test]
fn stopped_clients_are_not_waited_for() {
    play_beside_one_that_is_stopped(&[]);
}

#[test]
fn stopped_clients_are_not_waited_for_offline_when_patience_ends() {
    play_beside_one_that_is_stopped(&["--offline", "--patience", "1"]);
}

fn play_beside_one_that_is_stopped(arguments: &[&str]) {
    let place = Place::new();
    let (mixer, flinger) = place.mixer(arguments);
    let long = place.wav("long.wav", RATE, 1, &noise(48_000 * 60, 11, 9_000));
    let stopped = Process::start(place.program(&["track", text(&long)]));
    until("it has a track", || flinger.tracks().unwrap() == 1);
    let pid = Pid::from_child(&stopped.child);
    kill_process(pid, Signal::STOP).unwrap();
    let mut track = flinger.create_track(&TrackOptions::streaming(RATE, 2)).unwrap();
    track.start().unwrap();
    track.write(&vec![0.1; 2 * 9_600]).unwrap();
    track.stop().unwrap();
    assert!(track.wait_until_stopped(LONG).unwrap());
    let timestamp = track.timestamp().unwrap().unwrap();
    assert!(timestamp.position < 9_600 && timestamp.nanoseconds > 0);
    kill_process(pid, Signal::CONT).unwrap();
    drop(stopped);
    drop(track);
    until("both are gone", || flinger.tracks().unwrap() == 0);
    let (report, is_well) = mixer.finish();
    assert!(is_well, "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["report"]["tracks"], 2);
}

/// Clients learn that their mixer was killed, whatever they are doing; what it has written is a WAV file.
#[test]
fn a_killed_mixer_is_an_error_to_its_clients() {
    let place = Place::new();
    for round in 0..4_u32 {
        let (mut mixer, flinger) = place.mixer(&["--output", "mix.wav"]);
        let long = place.wav("long.wav", RATE, 1, &noise(48_000 * 20, 12, 9_000));
        let client =
            place.program(&["track", text(&long)]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        until("it has a track", || flinger.tracks().unwrap() == 1);
        let mut track = flinger.create_track(&TrackOptions::streaming(RATE, 1)).unwrap();
        track.write(&[0.1; 1_000]).unwrap();
        track.start().unwrap();
        if round > 0 {
            until("it plays", || {
                track.timestamp().unwrap().is_some_and(|at| at.position > u64::from(round) * 250)
            });
        }
        mixer.kill();
        // For ever, if nobody told.
        let error = loop {
            if let Err(error) = track.write(&[0.1; 480]) {
                break error;
            }
        };
        assert!(matches!(error, Error::MixerDied { .. }), "{error}");
        assert!(matches!(track.wait_until_stopped(LONG), Err(Error::MixerDied { .. })));
        assert!(track.stop().is_err());
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("the mixer has ended"), "{message}");
        assert_eq!(hound::WavReader::open(place.path("mix.wav")).unwrap().spec().sample_rate, RATE);
    }
}

/// Whoever starts the others is killed: nobody and nothing stays.
#[test]
fn children_die_with_their_parent() {
    let place = Place::new();
    let long = place.wav("long.wav", RATE, 1, &noise(48_000 * 60, 13, 9_000));
    let mut parent = Process::start(place.program(&["play", text(&long), text(&long)]));
    let pid = parent.child.id();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    until("there are three", || children().split_whitespace().count() == 3);
    until("it plays", || fs::read_dir(place.path("tmp")).unwrap().count() == 0);
    let children: Vec<String> = children().split_whitespace().map(str::to_owned).collect();
    // One that died before it had become this program is dead as well.
    let lives = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("audio_flinger") && !stat.contains(") Z")
    };
    parent.kill();
    until("nobody stays", || !children.iter().any(lives));
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}

/// The commands of a track, between processes.
#[test]
fn tracks_are_paused_flushed_and_refused() {
    let place = Place::new();
    let (mixer, flinger) = place.mixer(&["--period", "64", "--output", "mix.wav"]);
    let second = place.run(&["mixer", "--output", "mix.wav"]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert!(fs::metadata(place.path("mix.wav")).unwrap().len() > 0, "the first one's file is left alone");
    assert_eq!((flinger.sample_rate().unwrap(), flinger.frame_count().unwrap()), (RATE, 64));
    assert!(matches!(
        flinger.create_track(&TrackOptions::streaming(1, 1)),
        Err(Error::InvalidOptions { .. })
    ));
    let mut track = flinger.create_track(&TrackOptions::streaming(RATE, 1).frames(4_096)).unwrap();
    assert_eq!((track.buffer_size(), track.state().unwrap()), (4_096, State::Stopped));
    track.write(&[0.1; 4_096]).unwrap();
    assert_eq!(track.write_within(&[0.1; 10], Some(Duration::ZERO)).unwrap(), 0);
    track.start().unwrap();
    assert!(track.wait_for_room(Some(LONG)).unwrap() > 0);
    track.pause().unwrap();
    assert_eq!(track.state().unwrap(), State::Paused);
    track.flush().unwrap();
    assert_eq!(track.wait_for_room(Some(Duration::ZERO)).unwrap(), 4_096);
    track.stop().unwrap();
    assert_eq!(track.state().unwrap(), State::Stopped);
    flinger.suspend_output().unwrap();
    track.write(&[0.1; 1_000]).unwrap();
    track.start().unwrap();
    assert!(matches!(track.flush(), Err(Error::Refused { .. })));
    track.stop().unwrap();
    assert!(!track.wait_until_stopped(Duration::from_millis(1)).unwrap(), "the output is suspended");
    flinger.restore_output().unwrap();
    assert!(track.wait_until_stopped(LONG).unwrap());
    let tracks: Vec<AudioTrack> =
        std::iter::from_fn(|| flinger.create_track(&TrackOptions::streaming(RATE, 1)).ok())
            .take(100)
            .collect();
    assert_eq!(tracks.len(), 63, "64 for one process");
    drop(tracks);
    until("they are gone", || flinger.tracks().unwrap() == 1);
    drop(track);
    assert!(mixer.finish().1);
}

#[test]
fn measuring_and_making_tones_works() {
    let place = Place::new();
    let output = place.run(&["bench", "--tracks", "3", "--seconds", "1", "--json", "--plot", "plot.svg"]);
    assert!(output.status.success(), "{output:?}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["tracks"], 3);
    assert!(
        figures["latency"]["count"].as_u64() > Some(0) && figures["ratio"].as_f64() > Some(0.0),
        "{figures}"
    );
    assert!(fs::read_to_string(place.path("plot.svg")).unwrap().ends_with("</svg>\n"));
    let tone = ["tone", "tone.wav", "--seconds", "1", "--rate", "8000", "--channels", "1"];
    assert!(place.run(&tone).status.success());
    assert_eq!(samples(&place.path("tone.wav")).len(), 8_000);
}

/// Any call, with what `write` writes.
fn transact(
    binder: &SIBinder,
    interface: &str,
    code: u32,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(interface)?;
    write(&mut request)?;
    let mut reply = proxy.transact(code, &request, 0)?.unwrap();
    let status: Status = reply.read()?;
    if status.is_ok() { Ok(reply) } else { Err(status.transaction_error()) }
}

/// A streaming track, without this crate's client: its binder, and all of its region.
fn raw_track(flinger: &SIBinder) -> (SIBinder, Mapping) {
    let options = [RATE, 1, 0];
    let mut reply = transact(flinger, "ashmem.example.IAudioFlinger", 1, |request| {
        options.iter().try_for_each(|word| request.write_u32(*word))?;
        request.write_u64(0)
    })
    .unwrap();
    let track = reply.read().unwrap();
    let memory: ParcelFileDescriptor = reply.read().unwrap();
    (track, Region::from_fd(memory.into()).unwrap().map().unwrap())
}

/// Rubbish in calls and in control blocks, while another track plays.
#[test]
fn hostile_clients_are_refused_and_the_others_play() {
    let place = Place::new();
    let (mixer, flinger) = place.mixer(&[]);
    let service = place.services().get_service("media.audio_flinger").unwrap();
    let mut honest = flinger.create_track(&TrackOptions::streaming(RATE, 1)).unwrap();
    honest.start().unwrap();
    for code in [0, 1, 2, 4, 5, 99, u32::MAX] {
        for interface in ["ashmem.example.IAudioFlinger", "another.Interface"] {
            let _ = transact(&service, interface, code, |request| request.write(&[0xff_u8; 5][..]));
        }
    }
    // One of those suspended the output.
    flinger.restore_output().unwrap();
    let mut words = noise(4_000, 14, 32_767).into_iter();
    for _ in 0..20 {
        let (track, mapping) = raw_track(&service);
        for round in 0..20_u64 {
            let word = words.next().unwrap().unsigned_abs();
            let value =
                (words.next().unwrap() as u64).wrapping_mul(if word % 2 == 0 { 1 } else { 0x1_0001_0001 });
            mapping.write_at(u64::from(word) % 32 * 8, &value.to_ne_bytes()).unwrap();
            let _ = transact(&track, "ashmem.example.IAudioTrack", 1 + (round % 5) as u32, |_| Ok(()));
        }
        honest.write(&[0.1; 480]).unwrap();
    }
    honest.stop().unwrap();
    assert!(honest.wait_until_stopped(LONG).unwrap());
    // Further than any ring, and told so in its own control block.
    let (track, mapping) = raw_track(&service);
    mapping.write_at(0, &u64::MAX.to_ne_bytes()).unwrap();
    transact(&track, "ashmem.example.IAudioTrack", 1, |_| Ok(())).unwrap();
    until("its state is that", || mapping.load_u32(140).unwrap() == 4);
    assert!(transact(&track, "ashmem.example.IAudioTrack", 1, |_| Ok(())).is_err());
    drop((track, honest));
    until("all of them are gone", || flinger.tracks().unwrap() == 0);
    let (report, is_well) = mixer.finish();
    assert!(is_well, "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["report"]["tracks"], 22);
    assert!(report["report"]["broken"].as_u64() > Some(0), "{report}");
}
