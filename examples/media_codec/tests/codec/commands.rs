//! The program's commands as a user types them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::place::Place;
use crate::samples::{self, STEREO};

/// The program, with a directory for temporary files that nobody else uses and no service to be found.
fn run(directory: &TempDir, arguments: &[&Path]) -> Output {
    let temporary = directory.path().join("temporary");
    fs::create_dir_all(&temporary).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_media_codec"))
        .args(arguments)
        .env_remove("ASHMEM_BINDER")
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left behind");
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn decode_writes_wav_and_png_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let samples = samples::all();
    fs::write(path("a.flac"), STEREO).unwrap();
    fs::write(path("b.jpg"), &samples[8].file).unwrap();
    fs::write(path("broken.flac"), &STEREO[..STEREO.len() / 2]).unwrap();
    fs::write(path("text\u{1b}.flac"), "no media").unwrap();
    fs::create_dir(path("out")).unwrap();
    let output = run(
        &directory,
        &[
            Path::new("decode"),
            Path::new("--output"),
            &path("out"),
            &path("broken.flac"),
            &path("a.flac"),
            &path("missing.flac"),
            &path("text\u{1b}.flac"),
            &path("b.jpg"),
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stdout).replace(&directory.path().display().to_string(), "");
    assert_eq!(
        said,
        "/a.flac: 44100 Hz, 2 channels, 16-bit samples, 0.300 s -> /out/a.flac.wav\n\
         /b.jpg: 64 x 48 pixels -> /out/b.jpg.png\n"
    );
    let complaints = text(&output.stderr).replace(&directory.path().display().to_string(), "");
    let complaints: Vec<&str> = complaints.lines().collect();
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    assert!(complaints[0].starts_with("media_codec: decode /broken.flac: the stream cannot be decoded: "));
    assert!(complaints[1].starts_with("media_codec: decode /missing.flac: open: "));
    assert!(complaints[2].starts_with("media_codec: decode /text\u{fffd}.flac: it is none of "));
    let mut written: Vec<_> =
        fs::read_dir(path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    written.sort();
    assert_eq!(written, ["a.flac.wav", "b.jpg.png"], "nothing of the others");
    let wav = fs::read(path("out/a.flac.wav")).unwrap();
    assert!(wav[44..] == samples[0].decoded);
    let png = image::load_from_memory(&fs::read(path("out/b.jpg.png")).unwrap()).unwrap();
    assert!(png.into_rgba8().into_raw() == samples[8].decoded);
}

#[test]
fn decode_says_what_it_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.flac");
    fs::write(&path, STEREO).unwrap();
    let nowhere = directory.path().join("nowhere");
    let output = run(&directory, &[Path::new("decode"), &path, Path::new("--output"), &nowhere]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(": write what was decoded: "), "{output:?}");
    let twice =
        run(&directory, &[Path::new("decode"), &path, &path, Path::new("--output"), directory.path()]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice.stderr).contains("was decoded to a.flac.wav already"), "{twice:?}");
    assert_eq!(run(&directory, &[Path::new("decode")]).status.code(), Some(2));
}

#[test]
fn decode_and_bench_give_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.flac");
    fs::write(&path, STEREO).unwrap();
    let output = run(&directory, &[Path::new("decode"), Path::new("--json"), &path]);
    assert!(output.status.success(), "{output:?}");
    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcomes[0]["media_type"], "audio/flac");
    assert_eq!(outcomes[0]["bytes"], samples::all()[0].decoded.len());
    let full = Command::new(env!("CARGO_BIN_EXE_media_codec"))
        .args([Path::new("decode"), Path::new("--json"), &path])
        .env_remove("ASHMEM_BINDER")
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).contains("write to standard output: "), "{full:?}");
    let plot = directory.path().join("figure.svg");
    let rest = ["--rounds", "1", "--json", "--plot"].map(Path::new);
    let output = run(&directory, &[&[Path::new("bench"), &path][..], &rest, &[&plot]].concat());
    assert!(output.status.success(), "{output:?}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures[0]["is_same"], true);
    assert!(fs::read_to_string(&plot).unwrap().starts_with("<svg "));
}

/// A decoder that sends more than the client has said is not believed.
#[test]
fn decode_bounds_an_image() {
    let place = Place::new(&[]);
    let path = place.directory.path().join("large.png");
    image::GrayImage::new(2000, 1700).save(&path).unwrap();
    let output = place
        .program()
        .args(["decode", "--memory", "32", "--output"])
        .args([place.directory.path(), &path])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("larger than --memory allows"), "{output:?}");
    assert!(!place.directory.path().join("large.png.png").exists());
}
