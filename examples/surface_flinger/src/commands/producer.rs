//! A producer as a process.

use std::path::PathBuf;
use std::time::Duration;

use surface_flinger::animation::{Animation, Pattern};
use surface_flinger::display::read_picture;
use surface_flinger::{Buffer, Composer, Error, Placement, Result, Size, Window, WindowOptions};

use super::{at_input_end, services};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What moves in the window
    #[arg(long, value_enum, default_value = "ball")]
    pattern: Pattern,

    /// Show a picture instead; the window has its size
    #[arg(long, value_name = "FILE.png", conflicts_with_all = ["pattern", "size"])]
    image: Option<PathBuf>,

    /// Of the window
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "480x270")]
    size: Size,

    /// Column of its left edge
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    x: i32,

    /// Row of its top edge
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    y: i32,

    /// Larger ones are in front
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    z: i32,

    /// 255 is all there, 0 is invisible
    #[arg(long, default_value_t = 255)]
    alpha: u8,

    /// End after so many frames; without it, with the compositor
    #[arg(long, value_name = "N")]
    frames: Option<u64>,

    /// End with standard input
    #[arg(long, hide = true)]
    child: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.child {
        // Even while it waits for a file.
        at_input_end(|| std::process::exit(0))?;
    }
    let animation = match &arguments.image {
        Some(path) => Animation::of_picture(read_picture(path)?),
        None => Animation::new(arguments.pattern, arguments.size),
    };
    let composer = Composer::find(&services()?)?;
    let &Arguments { x, y, z, alpha, .. } = arguments;
    let mut window = composer.create_window(WindowOptions {
        size: animation.size(),
        placement: Placement { x, y, z, alpha },
        is_opaque: animation.is_opaque(),
    })?;
    while arguments.frames.is_none_or(|most| window.next_frame() <= most) {
        match draw(&mut window, &animation) {
            // As the compositor's work is done: so is this one's, unless it was to show so many frames.
            Err(Error::WindowClosed) if arguments.frames.is_none() => break,
            drawn => drawn?,
        }
    }
    Ok(())
}

/// Draws the next frame: of a buffer that has an older one only what has changed since.
fn draw(window: &mut Window, animation: &Animation) -> Result<()> {
    let frame = window.next_frame();
    // As long as the compositor is there.
    let mut buffer: Buffer<'_> = window.dequeue(Duration::MAX)?;
    let mut row = Vec::new();
    for rect in animation.damage_since(buffer.contents(), frame).rects() {
        row.resize(rect.width() as usize, 0);
        for y in rect.top..rect.bottom {
            animation.draw_row(frame, rect.left as u32, y as u32, &mut row);
            buffer.write_row(rect.left as u32, y as u32, &row)?;
        }
    }
    buffer.queue(&animation.damage(frame)).map(drop)
}
