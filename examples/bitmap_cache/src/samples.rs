//! `samples`: pictures of different sizes and colours, each with its number on it.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

use super::arguments::Samples;
use super::{Impossible, Result, printable, say};

/// Three by five dots for each digit, a row in three bits.
const DIGITS: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 2, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

pub fn run(arguments: &Samples) -> Result<()> {
    let folder = &arguments.folder;
    let failed = |error: &dyn std::fmt::Display| format!("make samples in {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(|error| Impossible(failed(&error)))?;
    for number in 0..arguments.count {
        save(folder, number, &draw(number, arguments.width)).map_err(|error| failed(&error))?;
    }
    say(&format!("{} pictures in {}", arguments.count, printable(&folder.to_string_lossy())));
    Ok(())
}

/// Every eighth is a PNG.
fn save(folder: &Path, number: u32, image: &RgbImage) -> image::ImageResult<()> {
    if number % 8 == 7 {
        return image.save(folder.join(format!("sample {number:05}.png")));
    }
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 85))?;
    Ok(std::fs::write(folder.join(format!("sample {number:05}.jpg")), bytes)?)
}

/// Hills before a sky, in colours of its own.
fn draw(number: u32, most: u32) -> RgbImage {
    let width = most - most * (number * 37 % 40) / 100;
    let height = match number % 5 {
        0 => width * 4 / 3,
        1 => width,
        2 => width * 9 / 16,
        _ => width * 3 / 4,
    };
    let random = |salt: u32| f64::from(mixed(number, salt) >> 8) / f64::from(1 << 24);
    let sky = hue(random(1), 0.55, 0.95);
    let ground = hue(random(1) + 0.3 + 0.4 * random(2), 0.6, 0.55);
    let waves = [random(3), random(4), random(5)];
    let sun = (0.15 + 0.7 * random(6), 0.12 + 0.3 * random(7), 0.05 + 0.1 * random(8));
    let ink = Ink::new(number, width, height);
    RgbImage::from_fn(width, height, |x, y| {
        if ink.is_at(x, y) {
            return Rgb([250, 250, 245]);
        }
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let hill = 0.55 + 0.12 * (6.3 * (u + waves[0])).sin() + 0.06 * (14.0 * u + 9.0 * waves[1]).sin();
        let light = f64::from(mixed(x, y) >> 24) / 24.0 - 5.0;
        let distance = ((u - sun.0).powi(2) + (v - sun.1).powi(2)).sqrt();
        let colour = if v > hill {
            let stripe = ((v - hill) * (20.0 + 20.0 * waves[2])).sin() * 14.0;
            ground.map(|part| part * (1.15 - 0.5 * (v - hill)) + stripe + light)
        } else if distance < sun.2 {
            [255.0, 240.0, 200.0]
        } else {
            sky.map(|part| part * (0.6 + 0.4 * v) + light)
        };
        Rgb(colour.map(|part| part.clamp(0.0, 255.0) as u8))
    })
}

/// The number, in the lower right corner.
struct Ink {
    digits: Vec<usize>,
    dot: u32,
    left: u32,
    top: u32,
}

impl Ink {
    fn new(number: u32, width: u32, height: u32) -> Ink {
        let digits: Vec<usize> = number.to_string().bytes().map(|digit| usize::from(digit - b'0')).collect();
        let columns = 4 * digits.len() as u32;
        let dot = (width / 32).min(height / 16).min(width / (columns + 2)).max(1);
        Ink {
            left: width.saturating_sub((columns + 1) * dot),
            top: height.saturating_sub(7 * dot),
            digits,
            dot,
        }
    }

    fn is_at(&self, x: u32, y: u32) -> bool {
        let (Some(x), Some(y)) = (x.checked_sub(self.left), y.checked_sub(self.top)) else { return false };
        let (x, y) = (x / self.dot, (y / self.dot) as usize);
        let digit = self.digits.get(x as usize / 4);
        digit.is_some_and(|&digit| x % 4 < 3 && y < 5 && DIGITS[digit][y] >> (2 - x % 4) & 1 == 1)
    }
}

/// A colour by hue, saturation and value, each from 0 to 1; of the hue, what is behind the point.
fn hue(hue: f64, saturation: f64, value: f64) -> [f64; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue * 6.0) % 6.0;
        255.0 * (value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}

/// A number that looks random.
fn mixed(a: u32, b: u32) -> u32 {
    let mixed = a.wrapping_mul(0x9e37_79b1) ^ b.wrapping_mul(0x85eb_ca6b).rotate_left(13);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae35);
    (mixed ^ mixed >> 13).wrapping_mul(0x27d4_eb2f)
}
