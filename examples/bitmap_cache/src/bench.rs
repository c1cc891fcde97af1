//! `bench`: what it costs to have a bitmap, in four ways, in one run.

use std::time::{Duration, Instant};

use bitmap_cache::{Client, Size};
use image::{DynamicImage, ImageReader};
use serde::Serialize;

use super::arguments::Bench;
use super::start::Way;
use super::viewer::gallery;
use super::{Impossible, Result, say};

/// Looks at a bitmap that the client has, for each other measurement: they are short.
const LOOKS: u32 = 20;

/// Medians in microseconds, each until every pixel was copied out.
#[derive(Debug, Serialize)]
struct Figures {
    pictures: usize,
    /// The client has the bitmap, leases it and reads it.
    look_microseconds: f64,
    /// The service has the bitmap: one call, a mapping, a lease.
    hit_microseconds: f64,
    /// The service decodes the picture first.
    miss_microseconds: f64,
    /// The client decodes the picture itself.
    decode_microseconds: f64,
    /// How much sooner it is there than decoding it.
    decode_to_look: f64,
    decode_to_hit: f64,
    /// How much the way through the service costs on top of decoding.
    miss_to_decode: f64,
}

pub fn run(arguments: &Bench) -> Result<()> {
    let mut gallery = gallery::list(&arguments.folder)?;
    gallery.truncate(arguments.pictures);
    let folder = arguments.folder.canonicalize()?;
    let mut way = Way::new(&folder, &arguments.limits)?;
    let client = way.connect()?;
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut counted = 0;
    for path in &gallery {
        // One after the other for each picture, so that what disturbs the machine disturbs all alike.
        let Ok(decode) = decode(path, arguments.size) else { continue };
        let (miss, is_decoded) = ask(&client, path, arguments.size)?;
        let (hit, _) = ask(&client, path, arguments.size)?;
        let bitmap = client.bitmap(path, arguments.size)?;
        let looks: Vec<f64> =
            (0..LOOKS).map(|_| timed(|| Ok(bitmap.pixels()?.to_image()?))).collect::<Result<_>>()?;
        times[0].extend(looks);
        times[1].push(hit);
        // Of a service that was there before, it may have been there, too.
        times[2].extend(is_decoded.then_some(miss));
        times[3].push(decode);
        counted += 1;
    }
    if counted == 0 {
        return Err(Impossible(format!("no picture in {} can be decoded", arguments.folder.display())).into());
    }
    let [look, hit, miss, decode] = times.map(median);
    let figures = Figures {
        pictures: counted,
        look_microseconds: look,
        hit_microseconds: hit,
        miss_microseconds: miss,
        decode_microseconds: decode,
        decode_to_look: decode / look,
        decode_to_hit: decode / hit,
        miss_to_decode: miss / decode,
    };
    if arguments.json {
        say(&serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    say(&format!("{counted} pictures, medians until all pixels of the bitmap were read"));
    say(&format!("  decode it oneself         {decode:9.1} µs"));
    say(&format!("  ask, the service decodes  {miss:9.1} µs   {:.2} times that", figures.miss_to_decode));
    say(&format!("  ask, the service has it   {hit:9.1} µs   {:.0} times faster", figures.decode_to_hit));
    say(&format!("  look again                {look:9.1} µs   {:.0} times faster", figures.decode_to_look));
    Ok(())
}

fn ask(client: &Client, path: &std::path::Path, size: Size) -> Result<(f64, bool)> {
    let mut is_decoded = false;
    let time = timed(|| {
        let bitmap = client.bitmap(path, size)?;
        is_decoded = bitmap.is_decoded();
        Ok(bitmap.pixels()?.to_image()?)
    })?;
    Ok((time, is_decoded))
}

fn decode(path: &std::path::Path, size: Size) -> Result<f64> {
    timed(|| {
        let image =
            DynamicImage::from_decoder(ImageReader::open(path)?.with_guessed_format()?.into_decoder()?)?;
        let size = size.fit(image.width(), image.height());
        Ok(image.thumbnail_exact(size.width(), size.height()).into_rgba8())
    })
}

/// Microseconds.
fn timed(work: impl FnOnce() -> Result<image::RgbaImage>) -> Result<f64> {
    let start = Instant::now();
    let image = work()?;
    let time = start.elapsed();
    drop(std::hint::black_box(image));
    Ok(time.max(Duration::from_nanos(1)).as_secs_f64() * 1e6)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
