//! The command line.

use std::path::PathBuf;
use std::thread;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Draw a contact sheet of a directory's images, by several processes that share the decoded bitmaps through one cache
///
/// Every worker process visits all images several times, each time in an order of its own. At each visit it gets the
/// bitmap from the cache, which decodes it if it is not there, and sums up its pixels; at some it scales a thumbnail and
/// writes it into the sheet, which is shared memory too. The budget does not suffice for all bitmaps, so those that were
/// used longest ago go, and are decoded again when somebody asks for them.
///
/// Exit status: 0 when the memory stayed within the budget and all pixels are those of a plain computation without a
/// cache; 1 when not; 2 when the program could not do its work.
#[derive(Debug, Parser)]
#[command(name = "thumbnail_cache", version)]
pub struct Arguments {
    /// Where to look for PNG and JPEG files, in all directories below as well; without it, samples are made
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// Memory that the cache may use, in MiB, or with a unit: 512K, 64M, 2G [default: three quarters of what all bitmaps need, at
    /// least what the largest needs]
    #[arg(long, value_name = "MIB", value_parser = parse_size)]
    pub budget: Option<u64>,

    /// Worker processes [default: the number of processors, at least 2]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    workers: Option<usize>,

    /// How often each worker visits every image
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// The contact sheet, in PNG whatever its name; replaced when the new one is whole
    #[arg(long, value_name = "FILE", default_value = "thumbnails.png")]
    pub output: PathBuf,

    /// Width and height of a tile of the sheet
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub thumbnail: u32,

    /// Kill so many of the workers, in the middle of decoding into the cache
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub kill: usize,

    /// How many samples to make when no DIR is given
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub samples: usize,

    /// Do not do the same work without a cache, for comparison
    #[arg(long)]
    pub no_comparison: bool,

    /// Print the figures as one JSON document
    #[arg(long)]
    pub json: bool,

    /// One of the worker processes: gets its work over standard input
    #[arg(long, hide = true, exclusive = true)]
    pub worker: bool,
}

impl Arguments {
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(2, |n| n.get().max(2)))
    }
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
    number.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(|| "out of range".to_owned())
}
