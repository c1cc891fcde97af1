//! Sounds to play, for who has none.

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use super::Result;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file to write
    #[arg(value_name = "FILE.wav")]
    output: PathBuf,

    /// In Hz
    #[arg(long, value_name = "HZ", default_value_t = 440.0, value_parser = frequency)]
    frequency: f64,

    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// Frames per second
    #[arg(long, value_name = "N", default_value_t = 44_100, value_parser = clap::value_parser!(u32).range(4_000..=192_000))]
    rate: u32,

    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=2))]
    channels: u16,

    /// From 0 to 1
    #[arg(long, value_name = "VOLUME", default_value_t = 0.25, value_parser = super::track::volume)]
    volume: f32,
}

fn frequency(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|hz| (1.0..=96_000.0).contains(hz)).ok_or_else(|| "from 1 to 96000".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    let frames = arguments.seconds * arguments.rate;
    let samples = tone(arguments.frequency, arguments.volume, arguments.rate).take(frames as usize);
    write(&arguments.output, samples, arguments.rate, arguments.channels)
        .map_err(|error| format!("write {}: {error}", arguments.output.display()))?;
    Ok(true)
}

/// A tone without end.
pub fn tone(frequency: f64, volume: f32, rate: u32) -> impl Iterator<Item = f32> {
    let step = frequency * std::f64::consts::TAU / f64::from(rate);
    (0u32..).map(move |i| (f64::from(i) * step).sin() as f32 * volume)
}

/// The same samples on all channels, as 16 bits.
pub fn write(
    path: &Path,
    samples: impl Iterator<Item = f32>,
    rate: u32,
    channels: u16,
) -> Result<(), hound::Error> {
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut file = WavWriter::create(path, spec)?;
    for sample in samples {
        for _ in 0..channels {
            file.write_sample((sample * 32_767.0) as i16)?;
        }
    }
    file.finalize()
}
