//! Images to try it with: of different sizes, PNG and JPEG, each with its number on it.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::Result;
use super::progress::Progress;

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

/// Makes so many images in a directory.
pub fn make(directory: &Path, images: usize, progress: &Progress) -> Result<()> {
    let bar = progress.bar("Samples", images as u64);
    for number in 0..images {
        let extension = if number % 2 == 0 { "png" } else { "jpg" };
        draw(number).save(directory.join(format!("sample {number:03}.{extension}")))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn draw(number: usize) -> RgbImage {
    let (width, height) = (800 + number as u32 * 397 % 1700, 600 + number as u32 * 251 % 1300);
    let colour = [number * 97 % 180, number * 57 % 180, number * 151 % 180].map(|part| part as u8);
    let text: Vec<usize> = number.to_string().bytes().map(|digit| usize::from(digit - b'0')).collect();
    // Digits and the gaps between them fill the middle.
    let dot = (width / (4 * text.len() as u32 + 3)).min(height / 9);
    let left = (width - dot * (4 * text.len() as u32 - 1)) / 2;
    let top = (height - dot * 5) / 2;
    let is_ink = |x: u32, y: u32| {
        let (Some(x), Some(y)) = (x.checked_sub(left), y.checked_sub(top)) else { return false };
        let (x, y) = (x / dot, (y / dot) as usize);
        text.get(x as usize / 4)
            .is_some_and(|&digit| x % 4 < 3 && y < 5 && DIGITS[digit][y] >> (2 - x % 4) & 1 == 1)
    };
    RgbImage::from_fn(width, height, |x, y| match is_ink(x, y) {
        true => Rgb([250, 250, 240]),
        // Lighter to the lower right, with stripes, and with the grain of a photograph: that takes time to decode.
        false => Rgb(colour.map(|part| {
            let light = 40 * (u64::from(x) + u64::from(y)) / u64::from(width + height);
            let stripe = if (x + y) / 40 % 2 == 0 { 10 } else { 0 };
            part + light as u8 + stripe + grain(x, y)
        })),
    })
}

/// A number below 16 that looks random.
fn grain(x: u32, y: u32) -> u8 {
    let mixed = x.wrapping_mul(0x9e37_79b1).wrapping_add(y.wrapping_mul(0x85eb_ca6b));
    ((mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae35) >> 28) as u8
}
