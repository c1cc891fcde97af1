//! The mixer's process.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ashmem_binder::ServiceManager;
use audio_flinger::output::WavOutput;
use audio_flinger::{Clock, MixerOptions, Server};

use super::figures::Mixed;
use super::process::{READY, die_with_parent};
use super::{Result, Unusable, report, say};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write the mix to this file
    #[arg(long, value_name = "FILE.wav")]
    pub output: Option<PathBuf>,

    /// Frames per second of the mix
    #[arg(long, value_name = "N", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    pub rate: u32,

    /// Frames that are mixed at a time
    #[arg(long, value_name = "FRAMES", default_value_t = 192, value_parser = clap::value_parser!(u32).range(16..=16_384))]
    pub period: u32,

    /// Mix as fast as the clients bring sound, not in real time
    #[arg(long)]
    pub offline: bool,

    /// Go on without a client that brings nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "offline")]
    pub patience: u32,

    /// Play on the sound card, too
    #[cfg(feature = "sound-card")]
    #[arg(long, conflicts_with = "offline")]
    pub sound_card: bool,

    /// Mix nothing before the output is restored
    #[arg(long, hide = true)]
    pub suspended: bool,

    /// Print figures as JSON
    #[arg(long)]
    pub json: bool,

    #[arg(long, hide = true)]
    pub child_of: Option<u32>,
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    if !die_with_parent(arguments.child_of) {
        return Ok(false);
    }
    let options = MixerOptions {
        rate: arguments.rate,
        period: arguments.period as usize,
        clock: clock(arguments),
        suspended: arguments.suspended,
        patience: Duration::from_secs(arguments.patience.into()),
    };
    // First, as another mixer may be writing that very file.
    let server =
        Server::start(&ServiceManager::new()?, options).map_err(|error| Unusable(error.to_string()))?;
    // A disk that is slow holds up a mixer that nobody waits for, and no other.
    let file = arguments.output.as_ref().map(|path| WavOutput::create(path, options.rate, arguments.offline));
    let mut file = file.transpose().map_err(|error| Unusable(error.to_string()))?;
    #[cfg(feature = "sound-card")]
    let mut card = match arguments.sound_card {
        true => Some(
            audio_flinger::output::SoundCard::open(&options).map_err(|error| Unusable(error.to_string()))?,
        ),
        false => None,
    };
    let handle = server.handle();
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        // However it ends, it has ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        handle.finish();
    })?;
    say(READY);
    let result = server.run(&mut |block: &[i16]| {
        if let Some(file) = &mut file {
            file.write(block);
        }
        #[cfg(feature = "sound-card")]
        if let Some(card) = &mut card {
            card.write(block);
        }
        Ok(())
    });
    let written = file.map(WavOutput::finish).transpose();
    #[cfg(feature = "sound-card")]
    let written = written.and_then(|_| card.map(audio_flinger::output::SoundCard::finish).transpose());
    let failure = result.as_ref().err().or(written.as_ref().err()).map(ToString::to_string);
    let mixed = Mixed {
        report: result.unwrap_or_default(),
        rate: options.rate,
        period: options.period as u64,
        failure,
    };
    match (arguments.json || arguments.child_of.is_some(), &mixed.failure) {
        (true, _) => say(&serde_json::to_string(&mixed)?),
        (false, Some(failure)) => return Err(failure.clone().into()),
        (false, None) => say(&report::mixed(&mixed)),
    }
    Ok(arguments.child_of.is_some() || mixed.failure.is_none())
}

fn clock(arguments: &Arguments) -> Clock {
    #[cfg(feature = "sound-card")]
    if arguments.sound_card {
        return Clock::Output;
    }
    if arguments.offline { Clock::Offline } else { Clock::RealTime }
}
