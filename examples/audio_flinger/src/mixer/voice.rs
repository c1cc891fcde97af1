//! From a track's samples to the mixer's: two channels, at the mixer's rate, a period at a time.

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{
    Async, FixedAsync, Indexing, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::{Error, Result};

/// Frames of the track that a frame of the output is made of.
const FILTER: usize = 64;
/// Samples beyond this are taken for this: eight times full scale.
const LOUDEST: f32 = 8.0;

/// Resamples and spreads one track.
///
/// Each period gives the same frames however the track's sound arrived. What is missing is silence.
pub struct Voice {
    channels: usize,
    /// Frames of a period.
    period: usize,
    resampling: Option<Resampling>,
    /// Frames of silence since the last one of sound.
    silence: usize,
}

struct Resampling {
    resampler: Async<f32>,
    /// One vector for each channel.
    input: Vec<Vec<f32>>,
    output: Vec<Vec<f32>>,
}

impl Voice {
    /// For a track of `rate`, with one or two channels, in a mixer of `output_rate` that mixes `period` frames at a time.
    ///
    /// # Errors
    /// [`Error::Resample`].
    pub fn new(rate: u32, channels: usize, output_rate: u32, period: usize) -> Result<Voice> {
        if rate == 0 || output_rate == 0 || period == 0 || !(1..=2).contains(&channels) {
            return Err(Error::Resample { reason: "there is no such sound".to_owned() });
        }
        let resampling = (rate != output_rate).then(|| Resampling::new(rate, channels, output_rate, period));
        Ok(Voice { channels, period, resampling: resampling.transpose()?, silence: FILTER })
    }

    /// Frames that the next period takes.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.resampling.as_ref().map_or(self.period, |resampling| resampling.resampler.input_frames_next())
    }

    /// Frames that a period takes at most.
    #[must_use]
    pub fn wanted_at_most(&self) -> usize {
        self.resampling.as_ref().map_or(self.period, |resampling| resampling.resampler.input_frames_max())
    }

    /// Frames of the output that sound takes on its way through the filter.
    #[must_use]
    pub fn delay(&self) -> usize {
        self.resampling.as_ref().map_or(0, |resampling| resampling.resampler.output_delay())
    }

    /// Whether all that went in has come out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.resampling.is_none() || self.silence >= FILTER
    }

    /// Forgets what went in.
    pub fn reset(&mut self) {
        if let Some(resampling) = &mut self.resampling {
            resampling.resampler.reset();
        }
        self.silence = FILTER;
    }

    /// The next period into `output`, left and right in turns. `samples` are as many frames as are [wanted](Voice::wanted), or fewer.
    /// They may be anything: what is no number is silence.
    ///
    /// # Errors
    /// [`Error::Resample`].
    pub fn render(&mut self, samples: &mut [f32], output: &mut [f32]) -> Result<()> {
        for sample in &mut *samples {
            *sample = if sample.is_finite() { sample.clamp(-LOUDEST, LOUDEST) } else { 0.0 };
        }
        let frames = samples.len() / self.channels;
        let missing = self.wanted().saturating_sub(frames);
        self.silence =
            if missing == 0 || frames > 0 { missing } else { self.silence.saturating_add(missing) };
        match &mut self.resampling {
            Some(resampling) => resampling.render(samples, frames, output),
            None => {
                let (sound, silence) = output.split_at_mut(output.len().min(2 * frames));
                match self.channels {
                    1 => sound.chunks_exact_mut(2).zip(samples).for_each(|(both, sample)| both.fill(*sample)),
                    _ => sound.copy_from_slice(&samples[..sound.len()]),
                }
                silence.fill(0.0);
                Ok(())
            }
        }
    }
}

impl Resampling {
    fn new(rate: u32, channels: usize, output_rate: u32, period: usize) -> Result<Resampling> {
        let parameters = SincInterpolationParameters {
            sinc_len: FILTER,
            f_cutoff: None,
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let ratio = f64::from(output_rate) / f64::from(rate);
        let resampler = Async::new_sinc(ratio, 1.0, &parameters, period, channels, FixedAsync::Output)
            .map_err(|error| Error::Resample { reason: error.to_string() })?;
        let input = vec![vec![0.0; resampler.input_frames_max()]; channels];
        let output = vec![vec![0.0; resampler.output_frames_max()]; channels];
        Ok(Resampling { resampler, input, output })
    }

    fn render(&mut self, samples: &[f32], frames: usize, output: &mut [f32]) -> Result<()> {
        let channels = self.input.len();
        for (channel, plane) in self.input.iter_mut().enumerate() {
            let of_channel = samples.iter().skip(channel).step_by(channels);
            plane.iter_mut().zip(of_channel).for_each(|(to, from)| *to = *from);
        }
        let failed = |reason: String| Error::Resample { reason };
        let room = self.output.first().map_or(0, Vec::len);
        let capacity = self.input.first().map_or(0, Vec::len);
        let from = SequentialSliceOfVecs::new(&self.input, channels, capacity)
            .map_err(|error| failed(error.to_string()))?;
        let mut to = SequentialSliceOfVecs::new_mut(&mut self.output, channels, room)
            .map_err(|error| failed(error.to_string()))?;
        self.resampler
            .process_into_buffer(&from, &mut to, Some(&Indexing::new().partial_len(frames)))
            .map_err(|error| failed(error.to_string()))?;
        let (left, right) = match &*self.output {
            [both] => (both, both),
            [left, right] => (left, right),
            _ => return Err(failed("it has no channels".to_owned())),
        };
        for ((frame, left), right) in output.chunks_exact_mut(2).zip(left).zip(right) {
            frame.copy_from_slice(&[*left, *right]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: usize = 240;

    #[test]
    fn equal_rates_go_through_as_they_are() {
        let mut voice = Voice::new(48_000, 1, 48_000, 4).unwrap();
        let mut output = [9.0; 8];
        voice.render(&mut [0.5, f32::NAN, f32::INFINITY], &mut output).unwrap();
        assert_eq!(output, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        voice.render(&mut [-1e30; 4], &mut output).unwrap();
        assert_eq!(output, [-LOUDEST; 8]);
        assert!(voice.is_drained());
    }

    #[test]
    fn sound_without_frames_or_channels_is_refused() {
        for (rate, channels, output_rate, period) in [
            (0, 1, 48_000, 4),
            (48_000, 0, 48_000, 4),
            (48_000, 3, 48_000, 4),
            (8_000, 1, 0, 4),
            (8_000, 1, 48_000, 0),
        ] {
            assert!(matches!(Voice::new(rate, channels, output_rate, period), Err(Error::Resample { .. })));
        }
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_volume_at_another_rate() {
        for rate in [8_000, 44_100, 96_000, 192_000, 4_000] {
            let mut voice = Voice::new(rate, 2, 48_000, PERIOD).unwrap();
            let mut output = vec![0.0; 2 * PERIOD];
            let (mut at, mut result) = (0, Vec::new());
            for _ in 0..20 {
                let wanted = voice.wanted();
                assert!(wanted <= voice.wanted_at_most());
                let tone =
                    |frame: usize| (frame as f32 * 500.0 * std::f32::consts::TAU / rate as f32).sin() / 2.0;
                let mut samples: Vec<f32> = (at..at + wanted).flat_map(|i| [tone(i), -tone(i)]).collect();
                at += wanted;
                voice.render(&mut samples, &mut output).unwrap();
                result.extend_from_slice(&output);
            }
            let left: Vec<f32> = result.iter().copied().step_by(2).skip(4 * PERIOD).collect();
            let loudest = left.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
            assert!((0.48..0.52).contains(&loudest), "{rate}: {loudest}");
            let crossings = left.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
            // 16 periods of the mixer are 80 ms.
            assert!((39..=41).contains(&crossings), "{rate}: {crossings}");
            assert!(result.chunks(2).all(|frame| frame[0] == -frame[1]), "the channels are kept apart");
        }
    }

    #[test]
    fn what_is_in_the_filter_comes_out_when_it_is_drained() {
        let mut voice = Voice::new(24_000, 1, 48_000, PERIOD).unwrap();
        let mut output = vec![0.0; 2 * PERIOD];
        let mut sum = 0.0;
        voice.render(&mut [0.5; 10], &mut output).unwrap();
        sum += output.iter().sum::<f32>();
        while !voice.is_drained() {
            voice.render(&mut [], &mut output).unwrap();
            sum += output.iter().sum::<f32>();
        }
        // Ten frames at half volume, twice the rate, both sides.
        assert!((sum - 20.0).abs() < 0.2, "{sum}");
        voice.render(&mut [], &mut output).unwrap();
        assert!(output.iter().all(|sample| sample.abs() < 1e-6));
    }
}
