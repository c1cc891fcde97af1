//! The process of a client: decodes one file into a track.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ashmem_binder::ServiceManager;
use audio_flinger::decode::Decoder;
use audio_flinger::{AudioFlinger, AudioTrack, Error, TrackOptions};

use super::figures::Played;
use super::player::Player;
use super::process::{READY, die_with_parent};
use super::{Result, report, say};

/// Samples of a file that is played as a static track at most; the mixer takes no more either.
const MOST_SAMPLES: usize = 16 << 20;
/// No ring takes longer to play.
const DRAINED: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// WAV, FLAC or MP3
    file: PathBuf,

    /// From 0 to 1
    #[arg(long, value_name = "VOLUME", default_value_t = 1.0, value_parser = volume)]
    volume: f32,

    /// As small a ring as the mixer allows, and a thread that runs before others, where that is allowed
    #[arg(long, conflicts_with = "is_static")]
    low_latency: bool,

    /// Decode all of it before it plays, into a static track
    #[arg(long = "static")]
    is_static: bool,

    /// Print figures as JSON
    #[arg(long)]
    json: bool,

    #[arg(long, hide = true)]
    child_of: Option<u32>,
}

pub fn volume(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|volume| (0.0..=1.0).contains(volume)).ok_or_else(|| "from 0 to 1".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    if !die_with_parent(arguments.child_of) {
        return Ok(false);
    }
    let mut decoder = Decoder::open(&arguments.file)?;
    let flinger = AudioFlinger::connect(&ServiceManager::new()?)?;
    let is_child = arguments.child_of.is_some();
    let mut played = match arguments.is_static {
        true => play_static(&flinger, &mut decoder, arguments, is_child)?,
        false => play_streaming(&flinger, &mut decoder, arguments, is_child)?,
    };
    played.rate = decoder.rate();
    played.damaged = decoder.damaged();
    if arguments.json || is_child {
        say(&serde_json::to_string(&played)?);
    } else {
        say(&report::played(&arguments.file, &played));
    }
    Ok(true)
}

fn play_streaming(
    flinger: &AudioFlinger,
    decoder: &mut Decoder,
    arguments: &Arguments,
    is_child: bool,
) -> Result<Played> {
    let mut options = TrackOptions::streaming(decoder.rate(), decoder.channels());
    if arguments.low_latency {
        ashmem::be_prompt();
        options = options.frames(1);
    }
    let mut player = Player::new(create(flinger, &options, &arguments.file)?, &options);
    player.track().set_volume(arguments.volume, arguments.volume)?;
    let mut has_started = false;
    let mut frames = 0;
    while let Some(mut samples) = decoder.next_samples()? {
        frames += (samples.len() / options.channels as usize) as u64;
        while !samples.is_empty() {
            // As soon as the ring is full it plays.
            let at_once = Some(Duration::ZERO).filter(|_| !has_started);
            let written = player.write_once(samples, at_once)?;
            samples = &samples[written..];
            if written == 0 {
                start(&player, is_child)?;
                has_started = true;
            }
        }
    }
    if !has_started {
        start(&player, is_child)?;
    }
    player.track().stop()?;
    player.track().wait_until_stopped(DRAINED)?;
    let (underruns, underrun_frames) = player.track().underruns()?;
    Ok(Played { frames, underruns, underrun_frames, latency: player.latency().clone(), ..Played::default() })
}

/// What the mixer does not play is said of the file: it may be one of many.
fn create(flinger: &AudioFlinger, options: &TrackOptions, file: &Path) -> Result<AudioTrack> {
    flinger.create_track(options).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn start(player: &Player, is_child: bool) -> Result<(), Error> {
    player.track().start()?;
    if is_child {
        say(READY);
    }
    Ok(())
}

fn play_static(
    flinger: &AudioFlinger,
    decoder: &mut Decoder,
    arguments: &Arguments,
    is_child: bool,
) -> Result<Played> {
    let mut sound = Vec::new();
    while let Some(samples) = decoder.next_samples()? {
        if sound.len() + samples.len() > MOST_SAMPLES {
            return Err(format!("{}: it is too long for a static track", arguments.file.display()).into());
        }
        sound.extend_from_slice(samples);
    }
    let channels = decoder.channels();
    let frames = (sound.len() / channels as usize) as u64;
    let options = TrackOptions::of_static(decoder.rate(), channels, frames);
    let mut player = Player::new(create(flinger, &options, &arguments.file)?, &options);
    player.track().set_volume(arguments.volume, arguments.volume)?;
    player.write(&sound)?;
    start(&player, is_child)?;
    player.track().wait_until_stopped(DRAINED)?;
    Ok(Played { frames, ..Played::default() })
}
