//! All at once: a mixer, and a client for each file, which start with the same frame.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ashmem_binder::ServiceManager;
use audio_flinger::AudioFlinger;
use serde::Serialize;

use super::figures::{Mixed, Played, Quantiles};
use super::process::{Process, temporary_directory};
use super::{Result, Unusable, report, say};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// WAV, FLAC or MP3
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write the mix to this file
    #[arg(long, value_name = "FILE.wav", default_value = "mix.wav")]
    output: PathBuf,

    /// Frames per second of the mix
    #[arg(long, value_name = "N", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    rate: u32,

    /// Mix as fast as the files can be decoded, not in real time
    #[arg(long)]
    offline: bool,

    /// Go on without a file that brings nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "offline")]
    patience: u32,

    /// Decode each file before it plays, into a static track
    #[arg(long = "static")]
    is_static: bool,

    /// Of each file, from 0 to 1
    #[arg(long, value_name = "VOLUME", default_value_t = 1.0, value_parser = super::track::volume)]
    volume: f32,

    /// Play on the sound card, too
    #[cfg(feature = "sound-card")]
    #[arg(long, conflicts_with = "offline")]
    sound_card: bool,

    /// Print figures as JSON
    #[arg(long)]
    json: bool,
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub files: Vec<FileOutcome>,
    pub mixer: Option<Mixed>,
}

#[derive(Debug, Serialize)]
pub struct FileOutcome {
    pub file: PathBuf,
    /// None when it could not be played to its end.
    pub played: Option<Played>,
    /// From a write to the time of its last frame at the output, in milliseconds.
    pub latency: Option<Quantiles>,
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.files.iter().any(|file| is_same(file, &arguments.output)) {
        return Err(Unusable(format!("{} would be overwritten", arguments.output.display())).into());
    }
    let directory = temporary_directory()?;
    let address = format!("unix://{}/services", directory.path().display());
    let mut mixer = Process::start(&address, "mixer", &mixer_arguments(arguments))?;
    if !mixer.wait_until_ready() {
        return Err(Unusable("there is no mixer".to_owned()).into());
    }
    let flinger = AudioFlinger::connect(&ServiceManager::at(&address)?)?;
    let clients: Vec<Process> = arguments
        .files
        .iter()
        .map(|file| Process::start(&address, "track", &track_arguments(arguments, file)))
        .collect::<Result<_>>()?;
    let mut clients: Vec<(Process, bool)> = clients
        .into_iter()
        .map(|mut client| {
            let is_ready = client.wait_until_ready();
            (client, is_ready)
        })
        .collect();
    // All are connected. Who is killed from here on leaves nothing.
    drop(directory);
    flinger.restore_output()?;
    let mut files = Vec::new();
    for (file, (client, is_ready)) in arguments.files.iter().zip(clients.drain(..)) {
        let played = client.finish::<Played>()?.filter(|_| is_ready);
        let latency = played.as_ref().filter(|_| !arguments.offline);
        let latency = latency.and_then(|played| Quantiles::of(&played.latency));
        files.push(FileOutcome { file: file.clone(), played, latency });
    }
    mixer.end_input();
    let outcome = Outcome { files, mixer: mixer.finish()? };
    say(&if arguments.json { serde_json::to_string_pretty(&outcome)? } else { report::outcome(&outcome) });
    let is_mixed = outcome.mixer.as_ref().is_some_and(|mixed| mixed.failure.is_none());
    if is_mixed && !arguments.json {
        say(&format!("wrote {}", super::printable(&arguments.output.display().to_string())));
    }
    Ok(is_mixed && outcome.files.iter().all(|file| file.played.is_some()))
}

fn mixer_arguments(arguments: &Arguments) -> Vec<OsString> {
    let mut output = OsString::from("--output=");
    output.push(&arguments.output);
    let mut list = vec!["--suspended".into(), format!("--rate={}", arguments.rate).into(), output];
    if arguments.offline {
        list.extend(["--offline".into(), format!("--patience={}", arguments.patience).into()]);
    }
    #[cfg(feature = "sound-card")]
    if arguments.sound_card {
        list.push("--sound-card".into());
    }
    list
}

fn track_arguments(arguments: &Arguments, file: &Path) -> Vec<OsString> {
    let mut list = vec![format!("--volume={}", arguments.volume).into()];
    if arguments.is_static {
        list.push("--static".into());
    }
    // A file may be called like an option.
    list.extend(["--".into(), file.into()]);
    list
}

fn is_same(one: &Path, other: &Path) -> bool {
    // By whatever name, links included.
    let [one, other] = [one, other].map(|path| path.metadata().ok().map(|file| (file.dev(), file.ino())));
    one.is_some() && one == other
}
