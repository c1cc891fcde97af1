//! What it costs that windows are drawn by processes of their own: four producers and the compositor on one core, and all of that in one
//! process.

use std::fs;
use std::time::Instant;

use rustix::param::clock_ticks_per_second;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use surface_flinger::animation::{Animation, Pattern};
use surface_flinger::compositor::PictureComposer;
use surface_flinger::picture::Picture;
use surface_flinger::{Error, Placement, Result, Size};

use super::children::Family;
use super::compositor::Printed;
use super::text::size;
use crate::say;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Frames of each round
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    frames: u64,

    /// Rounds; the medians are shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Of each window
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1920x1080")]
    size: Size,

    /// Let processes run on all cores
    #[arg(long)]
    all_cores: bool,

    /// Print the figures as one JSON document
    #[arg(long)]
    json: bool,
}

/// How four windows lie on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Layout {
    /// Side by side, opaque, on a screen of twice the width and height.
    Tiled,
    /// All over each other, three of them half transparent.
    Stacked,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Layout::Tiled => "side by side, opaque",
            Layout::Stacked => "over each other, alpha",
        }
    }

    fn screen(self, window: Size) -> Option<Size> {
        match self {
            Layout::Tiled => Size::new(window.width * 2, window.height * 2),
            Layout::Stacked => Some(window),
        }
    }

    fn placements(self, window: Size) -> [Placement; 4] {
        let (width, height) = (window.width as i32, window.height as i32);
        std::array::from_fn(|i| match self {
            Layout::Tiled => {
                let (x, y) = (i as i32 % 2 * width, i as i32 / 2 * height);
                Placement { x, y, z: 0, alpha: 255 }
            }
            Layout::Stacked => Placement { x: 0, y: 0, z: i as i32, alpha: if i == 0 { 255 } else { 128 } },
        })
    }
}

/// Medians of the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Speed {
    /// By the clock on the wall: what the machine did meanwhile counts.
    frames_per_second: f64,
    /// Of all processes together, for drawing and composing a frame; their start is in it.
    milliseconds_of_processor: f64,
}

impl Speed {
    fn median(of: &[Speed]) -> Speed {
        Speed {
            frames_per_second: median(of.iter().map(|speed| speed.frames_per_second).collect()),
            milliseconds_of_processor: median(
                of.iter().map(|speed| speed.milliseconds_of_processor).collect(),
            ),
        }
    }
}

/// A layout in both ways.
#[derive(Debug, Serialize)]
struct Figure {
    layout: Layout,
    /// Four producers and a compositor.
    processes: Speed,
    /// The same work in one process.
    one_process: Speed,
    /// Of the processor times of a frame, the first over the second.
    ratio: f64,
    /// Processor time of composing a frame alone.
    compose_milliseconds: f64,
    /// Of each frame.
    pixel_bytes: u64,
    /// Through Binder, while all frames were composed.
    binder_bytes: u64,
    /// Through read, write and the like, while all frames were composed.
    system_call_bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.all_cores {
        stay_on_one_core().map_err(|error| Error::system("stay on one core")(error.into()))?;
    }
    let figures = [Layout::Tiled, Layout::Stacked]
        .map(|layout| measure(layout, arguments))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    if arguments.json {
        say(&serde_json::to_string_pretty(&figures).unwrap_or_default());
        return Ok(());
    }
    let cores = if arguments.all_cores { "all cores" } else { "one core" };
    say(&format!("four windows of {}, every pixel new in every frame, on {cores}:", arguments.size));
    for figure in &figures {
        say(figure.layout.name());
        for (name, speed) in [("five processes", figure.processes), ("one process", figure.one_process)] {
            say(&format!(
                "  {name:14} {:5.1} frames per second; {:5.2} ms of processor time for each, so {:.0} in a second of it",
                speed.frames_per_second,
                speed.milliseconds_of_processor,
                1e3 / speed.milliseconds_of_processor,
            ));
        }
        say(&format!(
            "  the first takes {:.2} times as much; composing alone takes {:.2} ms\n  \
             {} of pixels drawn in each frame; through Binder {}, through read and write {} in all frames together",
            figure.ratio,
            figure.compose_milliseconds,
            size(figure.pixel_bytes as f64),
            size(figure.binder_bytes as f64),
            size(figure.system_call_bytes as f64),
        ));
    }
    Ok(())
}

/// The first one that this process may run on. Children and threads inherit it.
fn stay_on_one_core() -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)) {
        one.set(core);
    }
    sched_setaffinity(None, &one)
}

fn measure(layout: Layout, arguments: &Arguments) -> Result<Figure> {
    let (mut processes, mut one_process, mut milliseconds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut binder_bytes, mut system_call_bytes) = (0, 0);
    let frames = arguments.frames as f64;
    for _ in 0..arguments.rounds {
        let before = processor_milliseconds()?;
        let Printed { report, .. } = by_processes(layout, arguments)?;
        processes.push(Speed {
            frames_per_second: report.frames_per_second,
            milliseconds_of_processor: (processor_milliseconds()? - before) / frames,
        });
        milliseconds.push(report.compose_milliseconds);
        binder_bytes = report.bytes.binder_while_composing.max(binder_bytes);
        system_call_bytes = report.bytes.system_calls_while_composing.max(system_call_bytes);
        let before = processor_milliseconds()?;
        let frames_per_second = by_one_process(layout, arguments)?;
        one_process.push(Speed {
            frames_per_second,
            milliseconds_of_processor: (processor_milliseconds()? - before) / frames,
        });
    }
    let (processes, one_process) = (Speed::median(&processes), Speed::median(&one_process));
    Ok(Figure {
        layout,
        processes,
        one_process,
        ratio: processes.milliseconds_of_processor / one_process.milliseconds_of_processor,
        compose_milliseconds: median(milliseconds),
        pixel_bytes: 4 * arguments.size.bytes(),
        binder_bytes,
        system_call_bytes,
    })
}

/// Of this process and of its children that have ended, as the kernel counts it in `/proc/self/stat`: to a hundredth of a second.
fn processor_milliseconds() -> Result<f64> {
    const OPERATION: &str = "read /proc/self/stat";
    let text = fs::read_to_string("/proc/self/stat").map_err(Error::system(OPERATION))?;
    // Behind the name, which may have spaces, utime is the 12th field; stime, cutime and cstime follow.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks * 1e3 / clock_ticks_per_second() as f64)
}

fn screen(layout: Layout, window: Size) -> Result<Size> {
    layout.screen(window).ok_or(Error::OutsideWindow { size: window })
}

fn by_processes(layout: Layout, arguments: &Arguments) -> Result<Printed> {
    let compositor = [
        "compositor".to_owned(),
        "--lockstep".to_owned(),
        "--wait-for=4".to_owned(),
        format!("--frames={}", arguments.frames),
        format!("--size={}", screen(layout, arguments.size)?),
    ];
    let producers = layout.placements(arguments.size).map(|Placement { x, y, z, alpha }| {
        vec![
            "producer".to_owned(),
            "--pattern=stripes".to_owned(),
            format!("--size={}", arguments.size),
            format!("--x={x}"),
            format!("--y={y}"),
            format!("--z={z}"),
            format!("--alpha={alpha}"),
        ]
    });
    Family::start(&compositor, &producers)?.finish()
}

/// Frames per second of the same drawing and composing, in memory of this process alone.
fn by_one_process(layout: Layout, arguments: &Arguments) -> Result<f64> {
    let animation = Animation::new(Pattern::Stripes, arguments.size);
    let mut composer = PictureComposer::new(screen(layout, arguments.size)?);
    let placements = layout.placements(arguments.size);
    let mut pictures = placements.map(|_| Picture::new(arguments.size));
    let mut start = Instant::now();
    for frame in 1..=arguments.frames {
        for picture in &mut pictures {
            for y in 0..arguments.size.height {
                animation.draw_row(frame, 0, y, picture.row_mut(y));
            }
        }
        let planes: Vec<_> =
            placements.iter().copied().zip(&pictures).map(|(at, picture)| (at, true, picture)).collect();
        composer.compose(&planes)?;
        if frame == 1 {
            // The first frame makes the memory, and is not counted.
            start = Instant::now();
        }
    }
    Ok((arguments.frames - 1) as f64 / start.elapsed().as_secs_f64())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
