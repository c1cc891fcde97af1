//! The command line.

use std::path::PathBuf;

use bitmap_cache::Size;
use bitmap_cache::service::Options;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};

/// Bitmaps of pictures for many processes: one decodes, all look, and none copies
///
/// Services are found at the address in $ASHMEM_BINDER, unix:///DIRECTORY for instance, or in the user's own directory. Commands that need
/// the service start it if there is none, for as long as they run.
///
/// Exit status: 0; 1 when the work failed; 2 when it could not be tried.
#[derive(Debug, Parser)]
#[command(name = "bitmap_cache", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look through a folder of pictures in the terminal
    View(View),
    /// Serve bitmaps of the pictures below some folders, until killed
    Serve(Serve),
    /// Get one bitmap and write it to a file
    Get(Get),
    /// Measure: a bitmap that is there against decoding the picture
    Bench(Bench),
    /// Make pictures to try it with
    Samples(Samples),
}

/// Of the service, where it is started.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Shared memory for all bitmaps, in MiB, or with a unit: 512K, 64M, 2G
    #[arg(long, value_name = "MIB", default_value = "64", value_parser = parse_size)]
    pub limit: u64,

    /// How many clients it takes at a time; each may have the limit divided by one more
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub clients: usize,

    /// The most pixels of a picture, in millions
    #[arg(long, value_name = "MEGAPIXELS", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=2000))]
    pub largest: u64,
}

impl Limits {
    pub fn options(&self) -> Options {
        Options::default().limit(self.limit).clients(self.clients).largest(self.largest * 1_000_000)
    }

    /// The same as arguments of `serve`.
    pub fn to_arguments(&self) -> [String; 3] {
        [
            format!("--limit={}K", (self.limit >> 10).max(1)),
            format!("--clients={}", self.clients),
            format!("--largest={}", self.largest),
        ]
    }
}

#[derive(Debug, Args)]
pub struct View {
    /// The folder; its PNG and JPEG files, and those in folders below it
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The size of bitmaps to ask for
    #[arg(long, value_name = "WxH", default_value = "128x128", value_parser = parse_pixels)]
    pub size: Size,

    /// Scroll by itself to the end and back, so often, on a screen of 120 by 41 characters that nobody sees, and print figures
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub script: Option<u32>,

    /// With --script: draw the screen in the middle of the folder
    #[arg(long, value_name = "FILE.svg", requires = "script")]
    pub picture: Option<PathBuf>,

    /// With --script: draw the memory in use over the time
    #[arg(long, value_name = "FILE.svg", requires = "script")]
    pub plot: Option<PathBuf>,

    /// With --script: print the figures as one JSON document
    #[arg(long, requires = "script")]
    pub json: bool,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// A folder that it may read; several times for several
    #[arg(long = "root", value_name = "FOLDER", required = true)]
    pub roots: Vec<PathBuf>,

    /// End when standard input does
    #[arg(long, hide = true)]
    pub until_input_ends: bool,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Get {
    /// The picture
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// What it is to fit into
    #[arg(long, value_name = "WxH", default_value = "128x128", value_parser = parse_pixels)]
    pub size: Size,

    /// Where to write it, as PNG whatever the name
    #[arg(long, value_name = "FILE.png")]
    pub output: PathBuf,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// The folder of pictures
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The size of bitmaps to ask for
    #[arg(long, value_name = "WxH", default_value = "128x128", value_parser = parse_pixels)]
    pub size: Size,

    /// How many pictures to measure with, the first ones
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub pictures: usize,

    /// Print the figures as one JSON document
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Samples {
    /// Where to put them; it is made if it is not there
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// How many
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,

    /// Width of the largest, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 800, value_parser = clap::value_parser!(u32).range(16..=8192))]
    pub width: u32,
}

/// `128x96`.
fn parse_pixels(text: &str) -> Result<Size, String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = sides.ok_or("width and height in pixels, like 128x96")?;
    Size::new(width, height).map_err(|error| error.to_string())
}

/// Bytes of a size like `64`, which is in MiB, `512K`, `64M`, `64MiB` or `2G`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kib" => 10,
        "" | "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("the unit is K, M or G".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number with a unit, like 64M".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| (1..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| "from 1K to 1024G".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Arguments::command().debug_assert();
        assert_eq!(parse_size("64"), Ok(64 << 20));
        assert_eq!(parse_size("5 kib"), Ok(5 << 10));
        assert!(
            ["", "0", "9x", "99999999999999999999", "4000000G"].iter().all(|bad| parse_size(bad).is_err())
        );
        assert!(["", "x", "0x5", "5x", "9000x1", "5x5x5"].iter().all(|bad| parse_pixels(bad).is_err()));
    }
}
