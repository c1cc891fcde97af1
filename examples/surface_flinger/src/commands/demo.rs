//! All in one go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use surface_flinger::{Result, Size};

use super::children::Family;
use super::text;
use crate::say;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Frames that are composed
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    frames: u64,

    /// Of the screen; the windows go with it
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "960x540")]
    size: Size,

    /// Write each frame to DIRECTORY, and which frames of which windows it has
    #[arg(long, value_name = "DIRECTORY")]
    png: Option<PathBuf>,

    /// Show it in a window of the Wayland compositor $WAYLAND_DISPLAY
    #[arg(long)]
    wayland: bool,

    /// As fast as it goes, and each frame with a new one of every producer
    #[arg(long, conflicts_with = "wayland")]
    lockstep: bool,

    /// Show a picture in one of the windows
    #[arg(long, value_name = "FILE.png")]
    image: Option<PathBuf>,

    /// Print what it took as one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let with_path = |option: &str, path: &Path| {
        let mut word = OsString::from(option);
        word.push(path);
        word
    };
    let mut compositor: Vec<OsString> = vec!["compositor".into(), "--wait-for=4".into()];
    compositor.push(format!("--frames={}", arguments.frames).into());
    compositor.push(format!("--size={}", arguments.size).into());
    compositor.extend(arguments.lockstep.then(|| "--lockstep".into()));
    compositor.extend(arguments.wayland.then(|| "--wayland".into()));
    compositor.extend(arguments.png.as_ref().map(|path| with_path("--png=", path)));
    let producers = windows(arguments.size).map(|Window { pattern, width, height, x, y, z, alpha }| {
        let mut words: Vec<OsString> = vec!["producer".into()];
        match arguments.image.as_ref().filter(|_| pattern == "bars") {
            Some(path) => words.push(with_path("--image=", path)),
            None => words.extend(
                [format!("--pattern={pattern}"), format!("--size={width}x{height}")].map(OsString::from),
            ),
        }
        let place = [format!("--x={x}"), format!("--y={y}"), format!("--z={z}"), format!("--alpha={alpha}")];
        words.extend(place.map(OsString::from));
        words
    });
    let printed = Family::start(&compositor, &producers)?.finish()?;
    if arguments.json {
        say(&serde_json::to_string_pretty(&printed).unwrap_or_default());
    } else {
        say(&text::report(&printed));
    }
    Ok(())
}

/// A window of the demo.
struct Window {
    pattern: &'static str,
    width: u32,
    height: u32,
    x: u32,
    y: u32,
    z: i32,
    alpha: u8,
}

/// One behind all, and three over it and each other.
fn windows(screen: Size) -> [Window; 4] {
    let part = |side: u32, of_64: u32| (side * of_64 / 64).max(1);
    let window = |pattern, (x, y, width, height), z, alpha| Window {
        pattern,
        width: part(screen.width, width),
        height: part(screen.height, height),
        x: screen.width * x / 64,
        y: screen.height * y / 64,
        z,
        alpha,
    };
    [
        window("waves", (0, 0, 64, 64), 0, 255),
        window("ball", (4, 6, 30, 34), 1, 255),
        window("bars", (26, 26, 34, 32), 2, 230),
        window("rings", (36, 2, 26, 44), 3, 200),
    ]
}
