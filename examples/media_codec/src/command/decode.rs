//! Decodes files, one after the other. What goes wrong with one is said, and the next may do better.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media_codec::decoder::Limits;
use media_codec::{Format, MediaCodec, MediaType, decode_stream};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::picture::Picture;
use super::service::Used;
use super::sound::Sound;
use crate::{Decode, Failure, complain, printable, say};

/// Enough of a file to tell what it is.
const START: u64 = 16;

/// What became of a file.
#[derive(Debug, Serialize)]
struct Outcome {
    file: String,
    media_type: Option<&'static str>,
    format: Option<String>,
    /// Of samples or pixels.
    bytes: u64,
    /// Of audio.
    seconds: Option<f64>,
    output: Option<String>,
    error: Option<String>,
}

pub fn run(arguments: &Decode) -> Result<(), Failure> {
    let mut used = Used::find(&arguments.limits).map_err(Failure::Trial)?;
    let mut names = HashSet::new();
    let mut outcomes = Vec::new();
    for path in &arguments.files {
        let outcome = one(&mut used.codec, arguments, path, &mut names);
        if let Some(error) = &outcome.error {
            complain(&format!("decode {}: {error}", path.display()));
        } else if !arguments.json {
            report(&outcome)?;
        }
        outcomes.push(outcome);
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&outcomes);
        say(&text.map_err(|error| Failure::Trial(error.to_string()))?)?;
    }
    if outcomes.iter().all(|outcome| outcome.error.is_none()) { Ok(()) } else { Err(Failure::Work) }
}

fn report(outcome: &Outcome) -> Result<(), Failure> {
    let format = outcome.format.as_deref().unwrap_or_default();
    let length = outcome.seconds.map(|seconds| format!(", {seconds:.3} s")).unwrap_or_default();
    let output = outcome.output.as_ref().map(|output| format!(" -> {output}")).unwrap_or_default();
    say(&printable(&format!("{}: {format}{length}{output}", outcome.file)))
}

fn one(codec: &mut MediaCodec, arguments: &Decode, path: &Path, names: &mut HashSet<OsString>) -> Outcome {
    let mut outcome = Outcome {
        file: path.display().to_string(),
        media_type: None,
        format: None,
        bytes: 0,
        seconds: None,
        output: None,
        error: None,
    };
    outcome.error = decode(codec, arguments, path, names, &mut outcome).err();
    outcome
}

fn decode(
    codec: &mut MediaCodec,
    arguments: &Decode,
    path: &Path,
    names: &mut HashSet<OsString>,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let (media_type, source) = open(path)?;
    outcome.media_type = Some(media_type.name());
    let target = match &arguments.output {
        Some(directory) => Some(name(directory, path, media_type, names)?),
        None => None,
    };
    let mut writer = Writer::new(media_type, target.as_deref(), arguments.limits.memory << 20)
        .map_err(|error| format!("write what was decoded: {error}"))?;
    let mut format = None;
    let patience = Duration::from_secs(arguments.patience);
    decode_stream(codec, media_type, source, patience, |new, bytes| {
        format = Some(new);
        outcome.bytes += bytes.len() as u64;
        writer.write(new, bytes)
    })
    .map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| format!("write what was decoded: {error}"))?;
    outcome.format = format.map(|format| format.to_string());
    if let Some(Format::Audio { encoding, sample_rate, channels }) = format {
        let bytes_per_second = encoding.bytes() as f64 * f64::from(channels) * f64::from(sample_rate);
        outcome.seconds = Some(outcome.bytes as f64 / bytes_per_second);
    }
    outcome.output = target.map(|target| target.display().to_string());
    Ok(())
}

/// What the file is by its first bytes, and all of it.
fn open(path: &Path) -> Result<(MediaType, impl Read), String> {
    let mut file = File::open(path).map_err(|error| format!("open: {error}"))?;
    let mut start = Vec::new();
    file.by_ref().take(START).read_to_end(&mut start).map_err(|error| format!("read: {error}"))?;
    let media_type = MediaType::of(&start).ok_or("it is none of WAV, FLAC, MP3, PNG and JPEG")?;
    Ok((media_type, io::Cursor::new(start).chain(file)))
}

/// Where its output goes; no two files have the same.
fn name(
    directory: &Path,
    path: &Path,
    media_type: MediaType,
    names: &mut HashSet<OsString>,
) -> Result<PathBuf, String> {
    let mut name = path.file_name().unwrap_or(OsStr::new("output")).to_owned();
    name.push(if is_image(media_type) { ".png" } else { ".wav" });
    if !names.insert(name.clone()) {
        return Err(format!("another file was decoded to {} already", Path::new(&name).display()));
    }
    Ok(directory.join(name))
}

fn is_image(media_type: MediaType) -> bool {
    matches!(media_type, MediaType::Png | MediaType::Jpeg)
}

/// Where samples or pixels go. A file appears when it is whole, and not at all if it does not become so.
enum Writer<'a> {
    Nowhere,
    Sound(Sound<BufWriter<NamedTempFile>>, &'a Path),
    Picture(Picture, NamedTempFile, &'a Path),
}

impl Writer<'_> {
    fn new(media_type: MediaType, target: Option<&Path>, memory: u64) -> io::Result<Writer<'_>> {
        let Some(target) = target else { return Ok(Writer::Nowhere) };
        let directory = target.parent().unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".media_codec-")
            // Less what the user's mask takes away.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)?;
        Ok(if is_image(media_type) {
            Writer::Picture(Picture::new(Limits::of_memory(memory).image), file, target)
        } else {
            Writer::Sound(Sound::new(BufWriter::new(file))?, target)
        })
    }

    fn write(&mut self, format: Format, bytes: &[u8]) -> io::Result<()> {
        match self {
            Writer::Nowhere => Ok(()),
            Writer::Sound(sound, _) => sound.write(format, bytes),
            Writer::Picture(picture, ..) => picture.write(format, bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        let (file, target) = match self {
            Writer::Nowhere => return Ok(()),
            Writer::Sound(sound, target) => {
                (sound.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?, target)
            }
            Writer::Picture(picture, file, target) => {
                let mut writer = BufWriter::new(file);
                picture.finish(&mut writer)?;
                (writer.into_inner().map_err(io::IntoInnerError::into_error)?, target)
            }
        };
        file.persist(target).map_err(io::Error::from)?;
        Ok(())
    }
}
