//! Many low-latency tracks in real time, each of a process of its own, and the same sound mixed by one process from its own memory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ashmem_binder::ServiceManager;
use audio_flinger::AudioFlinger;
use audio_flinger::mixer::{Sum, Voice};
use audio_flinger::time::{Histogram, now};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use tempfile::TempDir;

use super::figures::{Mixed, Played, Quantiles};
use super::process::{Process, temporary_directory};
use super::{Result, Unusable, plot, report, say, tone};

const RATE: u32 = 48_000;
/// Every other track has to be resampled.
const RATES: [u32; 2] = [RATE, 44_100];
const CHANNELS: u16 = 2;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many, each of a process of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    tracks: u32,

    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// Frames that are mixed at a time, of 48,000 a second
    #[arg(long, value_name = "FRAMES", default_value_t = 192, value_parser = clap::value_parser!(u32).range(16..=4_096))]
    period: u32,

    /// On all cores, not on one
    #[arg(long)]
    all_cores: bool,

    /// Draw the latencies, too
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Print figures as JSON
    #[arg(long)]
    json: bool,
}

/// What was measured; times are in milliseconds.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub tracks: u32,
    pub seconds: u32,
    pub one_core: bool,
    /// From the moment a client writes to the moment at which the last frame of that is due at the output.
    pub latency: Option<Quantiles>,
    pub underruns: u64,
    pub underrun_frames: u64,
    pub late_periods: u64,
    pub periods: u64,
    /// How long a period is.
    pub period: f64,
    /// What mixing one takes, telling the clients included.
    pub mixing: Option<Quantiles>,
    /// What the same takes in one process, from its own memory.
    pub in_one_process: Option<Quantiles>,
    /// Of the medians of both.
    pub ratio: Option<f64>,
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    if !arguments.all_cores {
        stay_on_one_core().map_err(|error| Unusable(format!("stay on one core: {error}")))?;
    }
    let directory = temporary_directory()?;
    let files: Vec<PathBuf> = RATES
        .iter()
        .map(|rate| {
            let path = directory.path().join(format!("{rate}.wav"));
            let frames = (arguments.seconds * rate) as usize;
            tone::write(&path, tone::tone(440.0, 1.0 / 128.0, *rate).take(frames), *rate, CHANNELS)?;
            Ok(path)
        })
        .collect::<Result<_>>()?;
    let (played, mixed) = play(arguments, directory, &files)?;
    let local = mix_in_one_process(arguments)?;

    let mut latency = Histogram::default();
    played.iter().for_each(|played| latency.merge(&played.latency));
    let mixing = Quantiles::of(&mixed.report.mixing);
    let in_one_process = Quantiles::of(&local);
    let measured = Measured {
        tracks: arguments.tracks,
        seconds: arguments.seconds,
        one_core: !arguments.all_cores,
        latency: Quantiles::of(&latency),
        underruns: mixed.report.underruns,
        underrun_frames: mixed.report.underrun_frames,
        late_periods: mixed.report.late_periods,
        periods: mixed.report.periods,
        period: f64::from(arguments.period) * 1000.0 / f64::from(RATE),
        mixing,
        in_one_process,
        ratio: mixing.zip(in_one_process).map(|(many, one)| many.median / one.median),
    };
    if let Some(path) = &arguments.plot {
        let svg = plot::draw(&latency, &measured);
        std::fs::write(path, svg).map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    say(&if arguments.json { serde_json::to_string_pretty(&measured)? } else { report::measured(&measured) });
    Ok(played.len() == arguments.tracks as usize)
}

fn play(arguments: &Arguments, directory: TempDir, files: &[PathBuf]) -> Result<(Vec<Played>, Mixed)> {
    let address = &format!("unix://{}/services", directory.path().display());
    let options = ["--suspended".into(), format!("--period={}", arguments.period).into()];
    let mut mixer = Process::start(address, "mixer", &options)?;
    if !mixer.wait_until_ready() {
        return Err(Unusable("there is no mixer".to_owned()).into());
    }
    let flinger = AudioFlinger::connect(&ServiceManager::at(address)?)?;
    let client = |file: &Path| -> Result<Process> {
        let list: [OsString; 3] = ["--low-latency".into(), "--".into(), file.into()];
        Process::start(address, "track", &list)
    };
    let files = files.iter().cycle().take(arguments.tracks as usize);
    let mut clients: Vec<Process> = files.map(|file| client(file)).collect::<Result<_>>()?;
    for client in &mut clients {
        client.wait_until_ready();
    }
    // Files are open, and all are connected. Who is killed from here on leaves nothing.
    drop(directory);
    flinger.restore_output()?;
    let mut played = Vec::new();
    for client in clients {
        played.extend(client.finish::<Played>()?);
    }
    mixer.end_input();
    let mixed = mixer.finish::<Mixed>()?.ok_or("the mixer has died")?;
    Ok((played, mixed))
}

/// What each period takes.
fn mix_in_one_process(arguments: &Arguments) -> Result<Histogram> {
    let period = arguments.period as usize;
    let mut tracks = Vec::new();
    for rate in RATES.into_iter().cycle().take(arguments.tracks as usize) {
        let voice = Voice::new(rate, CHANNELS.into(), RATE, period)?;
        // As much as a ring has, again and again.
        let mono = tone::tone(440.0, 1.0 / 128.0, rate).take(2 * voice.wanted_at_most());
        let sound: Vec<f32> = mono.flat_map(|sample| [sample, sample]).collect();
        tracks.push((voice, sound));
    }
    let mut sum = Sum::new(period);
    let (mut samples, mut rendered, mut mix) = (Vec::new(), vec![0.0; 2 * period], vec![0; 2 * period]);
    let mut times = Histogram::default();
    for _ in 0..u64::from(arguments.seconds) * u64::from(RATE) / u64::from(arguments.period) {
        let start = now();
        sum.clear();
        for (voice, sound) in &mut tracks {
            samples.clear();
            samples.extend_from_slice(&sound[..2 * voice.wanted()]);
            voice.render(&mut samples, &mut rendered)?;
            sum.add(&rendered, [1.0; 2], [1.0; 2]);
        }
        sum.write(&mut mix);
        times.add(now() - start);
    }
    Ok(times)
}

/// The last one that this process may use, and its children with it.
fn stay_on_one_core() -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)) {
        one.set(core);
    }
    sched_setaffinity(None, &one)
}
