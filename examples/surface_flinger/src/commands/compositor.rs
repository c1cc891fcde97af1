//! The compositor as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use surface_flinger::compositor::{Compositor, Pace, Report, Settings};
use surface_flinger::display::{Display, Events};
use surface_flinger::{Result, Size};

use super::{at_input_end, services, text};
use crate::{complain, say};

/// What a child of this program says when it composes its first frame: all that it waited for are connected.
pub const COMPOSING: &str = "composing";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Of the screen
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1280x720")]
    size: Size,

    /// Frames per second at most; a Wayland compositor sets the pace itself
    #[arg(long, value_name = "HZ", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,

    /// Compose as soon as each window has a new frame, however fast
    #[arg(long, conflicts_with_all = ["rate", "wayland"])]
    lockstep: bool,

    /// Compose nothing before there are so many windows with a frame
    #[arg(long, value_name = "N", default_value_t = 1)]
    wait_for: usize,

    /// Windows at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    windows: u16,

    /// End after so many frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,

    /// Write each frame to DIRECTORY, and which frames of which windows it has
    #[arg(long, value_name = "DIRECTORY")]
    png: Option<PathBuf>,

    /// Show it in a window of the Wayland compositor $WAYLAND_DISPLAY
    #[arg(long)]
    wayland: bool,

    /// Print what it took as one JSON document
    #[arg(long)]
    json: bool,

    /// End with standard input, and say what a parent wants to know
    #[arg(long, hide = true)]
    child: bool,

    /// Remove a directory at the end, in case that the parent was killed
    #[arg(long, hide = true, requires = "child", value_name = "DIRECTORY")]
    remove: Option<PathBuf>,
}

/// A directory that goes with this value.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // Usually the parent has done it.
        let _ = fs::remove_dir_all(self.0);
    }
}

/// What a compositor prints at its end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Printed {
    #[serde(flatten)]
    pub report: Report,
    /// Windows that were closed for what their producers did.
    pub closed: u64,
    /// Of the Wayland compositor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wayland: Option<Events>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let _directory = arguments.remove.as_deref().map(Removed);
    let services = services()?;
    let mut display = Display::none();
    if let Some(directory) = &arguments.png {
        display = display.with_png(directory)?;
    }
    if arguments.wayland {
        display = display.with_wayland()?;
    }
    let pace = if arguments.lockstep { Pace::Lockstep } else { Pace::Clock(arguments.rate) };
    let settings = Settings {
        size: arguments.size,
        pace,
        wait_for: arguments.wait_for,
        most_windows: usize::from(arguments.windows),
    };
    let mut compositor = Compositor::new(settings, display)?;
    compositor.serve(&services)?;
    let has_ended = Arc::new(AtomicBool::new(false));
    if arguments.child {
        let has_ended = Arc::clone(&has_ended);
        at_input_end(move || has_ended.store(true, Ordering::Release))?;
    }
    if !arguments.json && !arguments.child {
        say("compositor: ready");
    }
    let (mut frames, mut closed) = (0, 0);
    let is_over =
        |frames| arguments.frames.is_some_and(|most| frames >= most) || has_ended.load(Ordering::Acquire);
    while !is_over(frames) && !compositor.is_ended() {
        if compositor.compose_next()? {
            frames += 1;
            if frames == 1 && arguments.child {
                say(COMPOSING);
            }
        }
        for window in compositor.take_closed() {
            closed += 1;
            complain(&format_args!("window {} is closed: {}", window.window, window.error));
        }
    }
    let printed = Printed { report: compositor.report(), closed, wayland: compositor.events() };
    if arguments.json || arguments.child {
        say(&serde_json::to_string(&printed).unwrap_or_default());
    } else {
        say(&text::report(&printed));
    }
    Ok(())
}
