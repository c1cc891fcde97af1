//! Files, and what they decode to by their libraries in this process.

use std::io::Cursor;
use std::sync::LazyLock;

use image::{ExtendedColorType, ImageEncoder, ImageFormat};
use media_codec::{Encoding, Format, MediaType};
use symphonia::core::audio::sample::Sample;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

pub const STEREO: &[u8] = include_bytes!("../data/stereo.flac");
pub const MONO24: &[u8] = include_bytes!("../data/mono24.flac");
pub const SPEECH: &[u8] = include_bytes!("../data/speech.mp3");

/// A file with what comes out of it.
pub struct MediaFile {
    pub media_type: MediaType,
    pub file: Vec<u8>,
    pub format: Format,
    pub decoded: Vec<u8>,
}

/// One of each kind, all small.
pub fn all() -> &'static [MediaFile] {
    static ALL: LazyLock<Vec<MediaFile>> = LazyLock::new(make);
    &ALL
}

fn make() -> Vec<MediaFile> {
    let wav16: Vec<u8> = (0..6000_i32).flat_map(|x| ((x * x * 7) as i16).to_le_bytes()).collect();
    let wav8: Vec<u8> = (0..3000_u32).map(|x| (x * x / 5) as u8).collect();
    let wav24: Vec<u8> = (0..2000_u32).flat_map(|x| [x as u8, (x * x) as u8, (x * 3) as u8]).collect();
    let float: Vec<u8> = (0..2000).flat_map(|x| ((x as f32) / 2100.0).to_le_bytes()).collect();
    let pcm = |sample_rate, channels| (Encoding::Pcm16, sample_rate, channels);
    let floats = |sample_rate, channels| (Encoding::PcmFloat, sample_rate, channels);
    let mut samples = vec![
        audio(MediaType::Flac, STEREO.to_vec(), pcm(44_100, 2)),
        audio(MediaType::Flac, MONO24.to_vec(), floats(48_000, 1)),
        audio(MediaType::Mp3, SPEECH.to_vec(), floats(22_050, 1)),
        audio(MediaType::Wav, wav(1, 2, 16, &wav16), pcm(8_000, 2)),
        audio(MediaType::Wav, wav(1, 1, 8, &wav8), pcm(8_000, 1)),
        audio(MediaType::Wav, wav(1, 2, 24, &wav24[..5994]), floats(8_000, 2)),
        audio(MediaType::Wav, wav(3, 4, 32, &float), floats(8_000, 4)),
    ];
    // The WAV file's own samples are what comes out of it.
    assert_eq!(samples[3].decoded, wav16);
    assert_eq!(samples[6].decoded, float);
    for (width, height, colour) in [
        (64, 48, ExtendedColorType::Rgb8),
        (1, 1, ExtendedColorType::Rgb8),
        (33, 20, ExtendedColorType::L8),
        // Rows of more than one buffer.
        (20_000, 9, ExtendedColorType::Rgb8),
    ] {
        samples.push(picture(ImageFormat::Png, width, height, colour));
        samples.push(picture(ImageFormat::Jpeg, width, height, colour));
    }
    samples.push(picture(ImageFormat::Png, 31, 17, ExtendedColorType::Rgba8));
    samples
}

pub fn wav(kind: u16, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let frame = channels * bits / 8;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend(kind.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(8000_u32.to_le_bytes());
    file.extend((8000 * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn audio(
    media_type: MediaType,
    file: Vec<u8>,
    (encoding, sample_rate, channels): (Encoding, u32, u32),
) -> MediaFile {
    let decoded = match encoding {
        Encoding::Pcm16 => samples::<i16>(&file).iter().flat_map(|sample| sample.to_ne_bytes()).collect(),
        Encoding::PcmFloat => samples::<f32>(&file).iter().flat_map(|sample| sample.to_ne_bytes()).collect(),
    };
    MediaFile { media_type, file, format: Format::Audio { encoding, sample_rate, channels }, decoded }
}

/// All samples, by the library, of a file that it can seek in.
fn samples<S: Sample + symphonia::core::audio::conv::ConvertibleSample>(file: &[u8]) -> Vec<S> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(file.to_vec())), Default::default());
    let probe = symphonia::default::get_probe();
    let mut reader = probe.probe(&Hint::new(), stream, Default::default(), Default::default()).unwrap();
    let track = reader.default_track(TrackType::Audio).unwrap();
    let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
    let codecs = symphonia::default::get_codecs();
    let mut decoder = codecs.make_audio_decoder(parameters, &Default::default()).unwrap();
    let (mut all, mut some) = (Vec::new(), Vec::new());
    while let Some(packet) = reader.next_packet().unwrap() {
        decoder.decode(&packet).unwrap().copy_to_vec_interleaved::<S>(&mut some);
        all.extend_from_slice(&some);
    }
    all
}

fn picture(format: ImageFormat, width: u32, height: u32, colour: ExtendedColorType) -> MediaFile {
    let bytes = u32::from(colour.bits_per_pixel() / 8);
    let pixels: Vec<u8> =
        (0..u64::from(width * height * bytes)).map(|x| (x / 3 + x * x / 50_000) as u8).collect();
    let mut file = Vec::new();
    let media_type = match format {
        ImageFormat::Jpeg => {
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 85);
            encoder.write_image(&pixels, width, height, colour).unwrap();
            MediaType::Jpeg
        }
        _ => {
            let encoder = image::codecs::png::PngEncoder::new(&mut file);
            encoder.write_image(&pixels, width, height, colour).unwrap();
            MediaType::Png
        }
    };
    let decoded = image::load_from_memory_with_format(&file, format).unwrap().into_rgba8().into_raw();
    MediaFile { media_type, file, format: Format::Image { width, height }, decoded }
}
