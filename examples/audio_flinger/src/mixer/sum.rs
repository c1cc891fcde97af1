//! The sum of all tracks. It is of integers, so it is the same in whatever order they come.

/// Bits behind the point.
const FRACTION: u32 = 24;
/// Louder samples are taken for this: with it, the sum of as many tracks as there can be is far from overflow.
const LOUDEST: f32 = 16.0;

/// What is on its way from silence to 16 bits.
pub struct Sum {
    values: Vec<i64>,
}

impl Sum {
    /// Silence for so many frames of two channels.
    #[must_use]
    pub fn new(frames: usize) -> Sum {
        Sum { values: vec![0; 2 * frames] }
    }

    /// Back to silence.
    pub fn clear(&mut self) {
        self.values.fill(0);
    }

    /// Adds samples, left and right in turns, with volumes that go from the first to the second in the course of the period.
    pub fn add(&mut self, samples: &[f32], from: [f32; 2], to: [f32; 2]) {
        let frames = (self.values.len() / 2) as f32;
        let scale = (1u32 << FRACTION) as f32;
        let fixed = |sample: f32| i64::from((sample.clamp(-LOUDEST, LOUDEST) * scale) as i32);
        let pairs = self.values.chunks_exact_mut(2).zip(samples.chunks_exact(2));
        if from == to {
            for (sums, samples) in pairs {
                sums[0] += fixed(samples[0] * to[0]);
                sums[1] += fixed(samples[1] * to[1]);
            }
            return;
        }
        for (i, (sums, samples)) in pairs.enumerate() {
            // Reaches the second with the last frame.
            let part = (i + 1) as f32 / frames;
            sums[0] += fixed(samples[0] * (from[0] + (to[0] - from[0]) * part));
            sums[1] += fixed(samples[1] * (from[1] + (to[1] - from[1]) * part));
        }
    }

    /// As 16 bits, rounded; what is too loud is cut off.
    pub fn write(&self, into: &mut [i16]) {
        const DROPPED: u32 = FRACTION - 15;
        for (to, value) in into.iter_mut().zip(&self.values) {
            let rounded = (value + (1 << (DROPPED - 1))) >> DROPPED;
            // No truncation: it was clamped.
            *to = rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_come_through_unchanged() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut sum = Sum::new(all.len() / 2);
        let samples: Vec<f32> = all.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        sum.add(&samples, [1.0; 2], [1.0; 2]);
        let mut out = vec![0; all.len()];
        sum.write(&mut out);
        assert!(out == all);
    }

    #[test]
    fn too_loud_is_cut_off_and_the_order_does_not_matter() {
        let tracks: Vec<[f32; 2]> = (0..256).map(|i| [(i as f32 * 0.7).sin() * 20.0, 16.0]).collect();
        let sum = |order: &mut dyn Iterator<Item = &[f32; 2]>| {
            let mut sum = Sum::new(1);
            order.for_each(|samples| sum.add(samples, [0.3, 1.0], [0.3, 1.0]));
            sum
        };
        let (one, other) = (sum(&mut tracks.iter()), sum(&mut tracks.iter().rev()));
        assert_eq!(one.values, other.values);
        let mut out = [0; 2];
        one.write(&mut out);
        assert_eq!(out[1], i16::MAX);
    }

    #[test]
    fn volumes_change_in_the_course_of_a_period() {
        let mut sum = Sum::new(4);
        sum.add(&[0.5; 8], [0.0, 1.0], [1.0, 1.0]);
        let mut out = [0; 8];
        sum.write(&mut out);
        assert_eq!(out, [4096, 16384, 8192, 16384, 12288, 16384, 16384, 16384]);
    }
}
