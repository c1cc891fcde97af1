//! The mix on the default sound card, through `cpal`. The card is the clock: a period is mixed as soon as there is room for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ashmem::Ring;
use ashmem::ring::{Consumer, Producer};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, Stream, StreamConfig};

use crate::mixer::MixerOptions;
use crate::time::{nanoseconds, now, sleep_until};
use crate::{Error, Result};

const CHANNELS: u16 = 2;
const SAMPLE: usize = size_of::<i16>();
/// A card that takes nothing for so long has stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// A card that plays. When it stops, the sound goes on without it, in real time.
pub struct SoundCard {
    /// Ends the callbacks when it is dropped.
    _stream: Stream,
    producer: Producer,
    /// Bytes that have to be free before a period is written: all but one period.
    wanted: u64,
    bytes: Vec<u8>,
    period: u64,
    /// What went wrong first.
    failure: Arc<Mutex<Option<Error>>>,
}

impl SoundCard {
    /// Opens the default card for a mixer like this.
    ///
    /// # Errors
    /// [`Error::SoundCard`] when there is none, or it does not play that.
    pub fn open(options: &MixerOptions) -> Result<SoundCard> {
        let failed = |reason: String| Error::SoundCard { operation: "open sound card", reason };
        let device =
            cpal::default_host().default_output_device().ok_or_else(|| failed("there is none".to_owned()))?;
        let period = (options.period * usize::from(CHANNELS) * SAMPLE) as u64;
        let memory = Error::memory("open sound card");
        let ring = Ring::create("sound card", 4 * period).map_err(&memory)?;
        let (producer, consumer) = (ring.producer().map_err(&memory)?, ring.consumer().map_err(&memory)?);
        let config =
            StreamConfig { channels: CHANNELS, sample_rate: options.rate, buffer_size: BufferSize::Default };
        let failure = Arc::new(Mutex::new(None));
        let complain = {
            let failure = Arc::clone(&failure);
            move |error: cpal::Error| {
                // A card that had nothing to play, for instance, goes on.
                if !matches!(
                    error.kind(),
                    cpal::ErrorKind::Xrun | cpal::ErrorKind::DeviceChanged | cpal::ErrorKind::RealtimeDenied
                ) {
                    keep(&failure, Error::SoundCard { operation: "play", reason: error.to_string() });
                }
            }
        };
        let stream = device
            .build_output_stream(config, callback(consumer), complain, None)
            .map_err(|error| failed(error.to_string()))?;
        stream.play().map_err(|error| failed(error.to_string()))?;
        let wanted = producer.capacity() - period;
        let period = nanoseconds(options.period_time());
        Ok(SoundCard { _stream: stream, producer, wanted, bytes: Vec::new(), period, failure })
    }

    /// Waits until the card has played all but a period of what it got, and gives it the next.
    pub fn write(&mut self, samples: &[i16]) {
        if self.has_failed() {
            sleep_until(now().saturating_add(self.period));
            return;
        }
        self.bytes.clear();
        self.bytes.extend(samples.iter().flat_map(|sample| sample.to_ne_bytes()));
        let written = self
            .producer
            .wait_for_room(self.wanted, Some(PATIENCE))
            .and_then(|has_room| if has_room { self.producer.try_write(&self.bytes) } else { Ok(0) });
        match written {
            Ok(1..) => {}
            Ok(0) => keep(
                &self.failure,
                Error::SoundCard { operation: "play", reason: "the card has stopped".to_owned() },
            ),
            Err(source) => keep(&self.failure, Error::Memory { operation: "play", source }),
        }
    }

    /// What went wrong, if anything did.
    ///
    /// # Errors
    /// [`Error::SoundCard`].
    pub fn finish(self) -> Result<()> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn keep(failure: &Mutex<Option<Error>>, error: Error) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

/// Fills what the card asks for; what is not there is silence.
fn callback(mut consumer: Consumer) -> impl FnMut(&mut [i16], &cpal::OutputCallbackInfo) + Send {
    let mut bytes = Vec::new();
    move |samples, _| {
        // Of the card's size from the first time on.
        bytes.resize(samples.len() * SAMPLE, 0);
        let read = consumer.try_read(&mut bytes).unwrap_or(0);
        bytes[read..].fill(0);
        for (sample, bytes) in samples.iter_mut().zip(bytes.chunks_exact(SAMPLE)) {
            *sample = i16::from_ne_bytes([bytes[0], bytes[1]]);
        }
    }
}
