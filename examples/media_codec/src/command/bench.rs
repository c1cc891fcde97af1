//! The same files decoded by a codec and in this process, in turns.

use std::fmt::Write as _;
use std::io::{self, Cursor};
use std::path::Path;
use std::time::{Duration, Instant};

use media_codec::decoder::{self, Limits, Sink};
use media_codec::{Format, MediaCodec, MediaType, decode_stream};
use serde::Serialize;

use super::plot;
use super::service::Used;
use crate::{Bench, Failure, complain, printable, say};

const PATIENCE: Duration = Duration::from_secs(600);

/// One file.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub file: String,
    pub media_type: &'static str,
    /// Of the file.
    pub bytes: u64,
    /// Of samples or pixels.
    pub decoded_bytes: u64,
    /// Median of decoding in the client's own process, in nanoseconds.
    pub own_nanoseconds: u64,
    /// Median of decoding by a codec, from `configure` to the last byte in the client's memory.
    pub codec_nanoseconds: u64,
    /// The second over the first.
    pub ratio: f64,
    /// Whether both gave the same bytes each time.
    pub is_same: bool,
}

pub fn run(arguments: &Bench) -> Result<(), Failure> {
    let limits = crate::Limits { memory: 2048, deadline: 60_000, codecs: 4 };
    let mut used = Used::start(&limits).map_err(Failure::Trial)?;
    let mut figures = Vec::new();
    for path in &arguments.files {
        match measure(&mut used.codec, path, arguments.rounds) {
            Ok(figure) => figures.push(figure),
            Err(error) => complain(&format!("decode {}: {error}", path.display())),
        }
    }
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::draw(&figures))
            .map_err(|error| Failure::Trial(format!("write {}: {error}", path.display())))?;
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&figures);
        say(&text.map_err(|error| Failure::Trial(error.to_string()))?)?;
    } else {
        say(table(&figures).trim_end())?;
    }
    let is_right = figures.len() == arguments.files.len() && figures.iter().all(|figure| figure.is_same);
    if is_right { Ok(()) } else { Err(Failure::Work) }
}

fn measure(codec: &mut MediaCodec, path: &Path, rounds: u32) -> Result<Figure, String> {
    let file = std::fs::read(path).map_err(|error| format!("read: {error}"))?;
    let media_type = MediaType::of(&file).ok_or("it is none of WAV, FLAC, MP3, PNG and JPEG")?;
    let (mut own_times, mut codec_times) = (Vec::new(), Vec::new());
    let mut is_same = true;
    let mut decoded_bytes = 0;
    // The first round fills caches, and is not counted.
    for round in 0..=rounds {
        let start = Instant::now();
        let mut own = Bytes::default();
        let limits = Limits { image: 1 << 30 };
        decoder::decode(media_type, Cursor::new(&file), &mut own, limits)
            .map_err(|error| error.to_string())?;
        let own_time = start.elapsed();
        let start = Instant::now();
        let mut theirs = Vec::new();
        decode_stream(codec, media_type, Cursor::new(&file), PATIENCE, |_, bytes| {
            theirs.extend_from_slice(bytes);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        let codec_time = start.elapsed();
        is_same &= own.0 == theirs;
        decoded_bytes = own.0.len() as u64;
        if round > 0 {
            own_times.push(own_time);
            codec_times.push(codec_time);
        }
    }
    let (own_nanoseconds, codec_nanoseconds) = (median(own_times), median(codec_times));
    Ok(Figure {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        media_type: media_type.name(),
        bytes: file.len() as u64,
        decoded_bytes,
        own_nanoseconds,
        codec_nanoseconds,
        ratio: codec_nanoseconds as f64 / own_nanoseconds.max(1) as f64,
        is_same,
    })
}

/// Collects what a client collects.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn write(&mut self, _: Format, _: i64, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:>12} {:>12} {:>12} {:>7}  file", "decoded", "own process", "codec", "ratio");
    for figure in figures {
        let wrong = if figure.is_same { "" } else { ", NOT THE SAME" };
        let _ = writeln!(
            text,
            "{:>8.1} MiB {:>9.2} ms {:>9.2} ms {:>6.2}x  {}{wrong}",
            figure.decoded_bytes as f64 / f64::from(1 << 20),
            figure.own_nanoseconds as f64 / 1e6,
            figure.codec_nanoseconds as f64 / 1e6,
            figure.ratio,
            printable(&figure.file),
        );
    }
    text
}
