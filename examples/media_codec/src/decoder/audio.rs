//! Audio, through `symphonia`.

use std::io::Read;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::{Hint, Probe};
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::default::formats::{FlacReader, MpaReader, WavReader};
use symphonia::default::meta::Id3v2Reader;

use super::decode::{Failure, Sink};
use crate::{Encoding, Format, MediaType};

/// More bits than that are given as floats.
const SHORT: u32 = 16;

/// Decodes the first track. One packet is one call of the sink.
pub(super) fn decode(
    media_type: MediaType,
    source: impl Read + Send + Sync,
    sink: &mut dyn Sink,
) -> Result<(), Failure> {
    let stream = MediaSourceStream::new(Box::new(ReadOnlySource::new(source)), Default::default());
    let mut reader = probe(media_type)
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(failure)?;
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| malformed("it has no audio"))?;
    let (id, time_base) = (track.id, track.time_base);
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| malformed("it does not say how it is coded"))?;
    let is_short = parameters.bits_per_sample.is_some_and(|bits| bits <= SHORT);
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(failure)?;
    let mut bytes = Vec::new();
    while let Some(packet) = reader.next_packet().map_err(failure)? {
        if packet.track_id != id {
            continue;
        }
        let samples = decoder.decode(&packet).map_err(failure)?;
        let encoding = if is_short && is_integer(&samples) { Encoding::Pcm16 } else { Encoding::PcmFloat };
        let channels = u32::try_from(samples.spec().channels().count()).unwrap_or(u32::MAX);
        let format = Format::Audio { encoding, sample_rate: samples.spec().rate(), channels };
        let format = format.checked().ok_or_else(|| malformed("it has an impossible rate or channels"))?;
        match encoding {
            Encoding::Pcm16 => samples.copy_bytes_to_vec_interleaved_as::<i16>(&mut bytes),
            Encoding::PcmFloat => samples.copy_bytes_to_vec_interleaved_as::<f32>(&mut bytes),
        }
        let time = time_base.and_then(|base| base.calc_time(packet.pts));
        let time = time.map_or(0, |time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
        sink.write(format, time, &bytes).map_err(Failure::Sink)?;
    }
    Ok(())
}

/// Of this type alone: what a stream says it is does not choose other code. In front of a stream there may be tags.
fn probe(media_type: MediaType) -> Probe {
    let mut probe = Probe::default();
    match media_type {
        MediaType::Wav => probe.register_format::<WavReader<'_>>(),
        MediaType::Flac => probe.register_format::<FlacReader<'_>>(),
        _ => probe.register_format::<MpaReader<'_>>(),
    }
    probe.register_metadata::<Id3v2Reader<'_>>();
    probe
}

fn is_integer(samples: &GenericAudioBufferRef<'_>) -> bool {
    !matches!(samples, GenericAudioBufferRef::F32(_) | GenericAudioBufferRef::F64(_))
}

fn malformed(reason: &str) -> Failure {
    Failure::Malformed(reason.to_owned())
}

fn failure(error: Error) -> Failure {
    match error {
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            malformed("it ends too early")
        }
        Error::IoError(error) => Failure::Source(error),
        error => Failure::Malformed(error.to_string()),
    }
}
