//! Pixels, and how one row is laid over another.
//!
//! A pixel is `0xAARRGGBB` in the byte order of the machine, colours multiplied with alpha (`WL_SHM_FORMAT_ARGB8888`). Whatever bits a peer writes are a
//! pixel: where colours are larger than alpha, sums stop at 255.

/// Black that nothing shines through.
pub const BLACK: u32 = 0xff00_0000;
/// Nothing to be seen.
pub const TRANSPARENT: u32 = 0;

/// A pixel of a colour and an alpha that are not multiplied yet.
#[must_use]
pub fn premultiplied(red: u8, green: u8, blue: u8, alpha: u8) -> u32 {
    let times = |channel: u8| u32::from(product(channel, alpha));
    u32::from(alpha) << 24 | times(red) << 16 | times(green) << 8 | times(blue)
}

/// `a * b / 255`, rounded to the nearest.
#[inline]
fn product(a: u8, b: u8) -> u8 {
    let sum = u16::from(a) * u16::from(b) + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

/// Pixels that are worked on together, in registers of any machine.
const LANES: usize = 8;

/// Lays `above` over `below`, both rows of the same length, as far as `alpha` (255 is all) lets it be seen. `below` counts as opaque, and so
/// does `above` with `is_opaque`. What the alpha of `below` is then, means nothing.
///
/// What comes out is `above * alpha + below * (1 - above's alpha * alpha)`, rounded to the nearest.
///
/// Each loop does one simple thing to bytes, so that the compiler makes vectors of it.
pub fn blend(below: &mut [u32], above: &[u32], alpha: u8, is_opaque: bool) {
    let length = below.len().min(above.len());
    let (below, above) = (&mut below[..length], &above[..length]);
    if is_opaque {
        return mix(bytemuck::cast_slice_mut(below), bytemuck::cast_slice(above), alpha);
    }
    let mut chunks_below = below.chunks_exact_mut(LANES);
    let mut chunks_above = above.chunks_exact(LANES);
    for (below, above) in (&mut chunks_below).zip(&mut chunks_above) {
        if let (Ok(below), Ok(above)) = (below.try_into(), above.try_into()) {
            lay_over(below, above, alpha);
        }
    }
    // The last pixels go through a full set of lanes, too.
    let (below, above) = (chunks_below.into_remainder(), chunks_above.remainder());
    let (mut last_below, mut last_above) = ([0; LANES], [0; LANES]);
    last_below[..below.len()].copy_from_slice(below);
    last_above[..above.len()].copy_from_slice(above);
    lay_over(&mut last_below, &last_above, alpha);
    below.copy_from_slice(&last_below[..below.len()]);
}

/// Opaque over opaque: all pixels have one alpha, and no sum is above 255 * 255.
fn mix(below: &mut [u8], above: &[u8], alpha: u8) {
    let rest = 255 - alpha;
    for (below, above) in below.iter_mut().zip(above) {
        let sum = u16::from(*above) * u16::from(alpha) + u16::from(*below) * u16::from(rest);
        *below = ((sum + 127) / 255) as u8;
    }
}

/// Each pixel with its own alpha.
#[inline(always)]
fn lay_over(below: &mut [u32; LANES], above: &[u32; LANES], alpha: u8) {
    let mut rest = [0; LANES];
    for (rest, above) in rest.iter_mut().zip(above) {
        // The same in all four bytes.
        let one = 255 - u32::from(product((above >> 24) as u8, alpha));
        let two = one | one << 8;
        *rest = two | two << 16;
    }
    let below: &mut [u8; 4 * LANES] = bytemuck::cast_mut(below);
    let (above, rest): (&[u8; 4 * LANES], &[u8; 4 * LANES]) =
        (bytemuck::cast_ref(above), bytemuck::cast_ref(&rest));
    for ((below, above), rest) in below.iter_mut().zip(above).zip(rest) {
        let sum = (u16::from(*above) * u16::from(alpha)).saturating_add(u16::from(*below) * u16::from(*rest));
        *below = (sum.saturating_add(127) / 255).min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With fractions, channel by channel.
    fn naive(below: u32, above: u32, alpha: u8, is_opaque: bool) -> u32 {
        let alpha = f64::from(alpha);
        let of_above = if is_opaque { 255.0 } else { f64::from(above >> 24) };
        let rest = 255.0 - (of_above * alpha / 255.0).round();
        let channel = |shift: u32| {
            let (above, below) = (f64::from(above >> shift & 255), f64::from(below >> shift & 255));
            (((above * alpha + below * rest) / 255.0).round().min(255.0) as u32) << shift
        };
        BLACK | channel(0) | channel(8) | channel(16)
    }

    #[test]
    fn products_are_rounded_to_the_nearest() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let exact = (f64::from(a) * f64::from(b) / 255.0).round();
                assert_eq!(f64::from(product(a, b)), exact, "{a} * {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn rows_of_any_length_and_any_bits_are_blended_exactly(
            pixels in prop::collection::vec(any::<(u32, u32)>(), 0..70),
            alpha in prop_oneof![Just(255u8), any::<u8>()],
            is_opaque: bool,
        ) {
            let (mut below, above): (Vec<u32>, Vec<u32>) = pixels.into_iter().unzip();
            let expected: Vec<u32> =
                below.iter().zip(&above).map(|(b, a)| naive(*b, *a, alpha, is_opaque)).collect();
            blend(&mut below, &above, alpha, is_opaque);
            below.iter_mut().for_each(|pixel| *pixel |= BLACK);
            prop_assert_eq!(below, expected);
        }
    }

    #[test]
    fn a_colour_is_multiplied() {
        assert_eq!(premultiplied(255, 128, 0, 255), 0xffff_8000);
        assert_eq!(premultiplied(255, 128, 0, 128), 0x8080_4000);
        assert_eq!(premultiplied(9, 9, 9, 0), TRANSPARENT);
    }
}
