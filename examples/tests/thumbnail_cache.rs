//! The example `thumbnail_cache` as its users meet it: the built program, its figures, and the sheet, which is compared with what
//! is known of the images.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

const TILE: u32 = 32;
const MARGIN: u32 = 4;
const BACKGROUND: Rgba<u8> = Rgba([32, 32, 36, 255]);

/// The program; cargo builds examples for the tests of their package, into a directory next to that of the tests.
fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/thumbnail_cache");
    assert!(path.is_file(), "{} is missing: cargo build -p ashmem-examples --examples", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What the program wrote when every check held.
fn success(output: &Output) -> &str {
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{errors}");
    assert_eq!(errors, "");
    out
}

/// What the program complained about when it could not begin.
fn trouble(output: &Output) -> &str {
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}\n{errors}");
    assert_eq!(out, "");
    assert!(errors.starts_with("thumbnail_cache: ") && errors.lines().count() == 1, "{errors}");
    errors
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {report}"))
}

/// Four quarters of one colour each: upper left, upper right, lower left, lower right.
type Quarters = [Rgb<u8>; 4];

/// How an image is to be seen.
struct Picture {
    path: PathBuf,
    width: u32,
    height: u32,
    quarters: Quarters,
    /// How far a colour may be off.
    tolerance: u8,
}

fn quarters(seed: u32) -> Quarters {
    [0, 1, 2, 3].map(|quarter| {
        let n = 17 * seed + 71 * quarter;
        Rgb([n * 31 % 256, n * 87 % 256, n * 13 % 256].map(|part| part as u8))
    })
}

fn draw(width: u32, height: u32, quarters: Quarters) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        quarters[2 * usize::from(2 * y >= height) + usize::from(2 * x >= width)]
    })
}

/// A JPEG file with the mark that it is to be turned clockwise by a quarter (EXIF, tag 0x0112, value 6).
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let len = exif.len() as u16 + 2;
    let (start, rest) = jpeg.split_at(2);
    let mut file = [start, &[0xff, 0xe1], &len.to_be_bytes()[..]].concat();
    file.append(&mut exif);
    file.extend_from_slice(rest);
    file
}

/// A directory with images, and files that are none.
struct Album {
    directory: TempDir,
    pictures: Vec<Picture>,
    /// Files that cannot be decoded.
    broken: Vec<PathBuf>,
}

impl Album {
    fn make() -> Album {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below").join("further below");
        fs::create_dir_all(&below).unwrap();
        let mut pictures = Vec::new();
        for seed in 0..20 {
            let (parent, is_png) = (if seed % 5 == 0 { &below } else { directory.path() }, seed % 2 == 0);
            let (width, height) = (96 + seed * 7 % 5 * 32, 96 + seed * 3 % 4 * 32);
            let (width, height) = if seed == 4 { (10, 6) } else { (width, height) };
            let (seen, tolerance) = (quarters(seed), if is_png { 0 } else { 6 });
            let path = parent.join(format!("{seed}.{}", if is_png { "png" } else { "jpeg" }));
            if seed == 7 {
                // Turned, the lower left comes to the upper left.
                let stored = [seen[1], seen[3], seen[0], seen[2]];
                draw(height, width, stored).save(&path).unwrap();
                fs::write(&path, turned(&fs::read(&path).unwrap())).unwrap();
            } else {
                draw(width, height, seen).save(&path).unwrap();
            }
            pictures.push(Picture { path, width, height, quarters: seen, tolerance });
        }
        let mut album = Album { directory, pictures, broken: Vec::new() };
        album.add_broken();
        album
    }

    fn add_broken(&mut self) {
        let mut add = |name: &str, contents: &[u8]| {
            let path = self.directory.path().join(name);
            fs::write(&path, contents).unwrap();
            self.broken.push(path);
        };
        add("empty.png", b"");
        add("notes.txt", b"no image");
        add("nonsense.jpg", b"\xff\xd8\xff\xe0 and then nothing that makes sense");
        // Of this one the header is in order.
        let cut = fs::read(self.pictures[2].path.as_path()).unwrap();
        add("3 cut off.png", &cut[..cut.len() / 2]);
        // In the order of the sheet it has a place.
        let path = self.directory.path().join("3 cut off.png");
        let nothing = [Rgb([BACKGROUND[0], BACKGROUND[1], BACKGROUND[2]]); 4];
        self.pictures.push(Picture { path, width: 96, height: 96, quarters: nothing, tolerance: 0 });
        self.pictures.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs the program on it, and checks the sheet; returns the report.
    fn run(&self, arguments: &[&str]) -> Value {
        let output = self.path().join("sheet.png");
        let mut command = program();
        command.arg(self.path()).args(["--json", "--thumbnail", &TILE.to_string(), "--output"]).arg(&output);
        let report: Value =
            serde_json::from_str(success(&command.args(arguments).output().unwrap())).unwrap();
        assert_eq!(report["all_held"], true);
        assert_eq!(number(&report, "images"), self.pictures.len() as u64 - 1);
        let mut skipped: Vec<_> =
            report["skipped"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
        skipped.sort_unstable();
        let mut broken: Vec<_> = self.broken.iter().map(|path| path.to_str().unwrap()).collect();
        broken.sort_unstable();
        assert_eq!(skipped, broken, "each once, and the sheet is none of them");
        self.check(&image::open(&output).unwrap().into_rgba8());
        report
    }

    /// Checks every pixel, except where two quarters meet.
    fn check(&self, sheet: &RgbaImage) {
        let columns = (1_u32..).find(|n| (n * n) as usize >= self.pictures.len()).unwrap();
        let rows = (self.pictures.len() as u32).div_ceil(columns);
        let side = |tiles: u32| tiles * (TILE + MARGIN) + MARGIN;
        assert_eq!(sheet.dimensions(), (side(columns), side(rows)));
        for (x, y, &seen) in sheet.enumerate_pixels() {
            let (column, row) = (x / (TILE + MARGIN), y / (TILE + MARGIN));
            let inside = |at: u32| (at % (TILE + MARGIN)).checked_sub(MARGIN);
            let picture = self.pictures.get((row * columns + column) as usize);
            let expected = match (picture, inside(x), inside(y)) {
                (Some(picture), Some(x), Some(y)) => picture.expected(x, y),
                _ => Some((BACKGROUND, 0)),
            };
            let Some((expected, tolerance)) = expected else { continue };
            let is_near = seen.0.iter().zip(expected.0).all(|(a, b)| a.abs_diff(b) <= tolerance);
            assert!(is_near, "{seen:?} at {x}, {y} instead of {expected:?}, row {row}, column {column}");
        }
    }
}

impl Picture {
    /// The colour at a point of its tile, and how far it may be off; none where quarters meet.
    fn expected(&self, x: u32, y: u32) -> Option<(Rgba<u8>, u8)> {
        let longer = self.width.max(self.height).max(TILE);
        let (width, height) = (self.width * TILE / longer, self.height * TILE / longer);
        let at = |point: u32, side: u32| point.checked_sub((TILE - side) / 2).filter(|point| *point < side);
        let (Some(x), Some(y)) = (at(x, width), at(y, height)) else { return Some((BACKGROUND, 0)) };
        let from_middle = |point: u32, side: u32| (2 * point + 1).abs_diff(side);
        if from_middle(x, width) < 4 || from_middle(y, height) < 4 {
            return None;
        }
        let quarter = 2 * usize::from(2 * y >= height) + usize::from(2 * x >= width);
        let Rgb([red, green, blue]) = self.quarters[quarter];
        Some((Rgba([red, green, blue, 255]), self.tolerance))
    }
}

/// It stayed within the budget, and had to work for it.
fn was_tight(report: &Value) {
    assert!(number(report, "highest_bytes") <= number(report, "budget_bytes"));
    assert!(number(report, "budget_bytes") < number(report, "decoded_bytes"));
    for figure in ["hits", "purged", "rebuilt", "samples"] {
        assert!(number(report, figure) > 0, "{figure}");
    }
    assert_eq!(
        number(report, "hits") + number(report, "missing") + number(report, "purged"),
        number(report, "lookups")
    );
}

#[test]
fn processes_share_bitmaps_within_the_budget() {
    let album = Album::make();
    let report = album.run(&["--workers", "3", "--rounds", "5", "--budget", "600K"]);
    was_tight(&report);
    assert_eq!(number(&report, "budget_bytes"), 600 << 10);
    assert_eq!(report["lost"].as_array().unwrap().len(), 0);
    let (visits, images) = (3 * 5 * number(&report, "images"), number(&report, "images"));
    assert_eq!(
        (number(&report["cached"], "visits"), number(&report["uncached"], "visits")),
        (visits, visits)
    );
    assert_eq!(number(&report["uncached"], "decoded"), visits);
    let decoded = number(&report["cached"], "decoded");
    assert!((images + 1..visits).contains(&decoded), "{decoded} decoded of {visits}");

    // A sheet that is there already is replaced, and no image. With memory for all, each is decoded once.
    let report = album.run(&["--workers", "3", "--rounds", "2", "--budget", "64M", "--no-comparison"]);
    assert_eq!((number(&report["cached"], "decoded"), number(&report, "rebuilt")), (images, 0));
    assert_eq!(report["uncached"], Value::Null);
}

#[test]
fn workers_that_are_killed_are_noticed_and_done_without() {
    let album = Album::make();
    for (kill, workers) in [("2", "4"), ("2", "2")] {
        let report =
            album.run(&["--workers", workers, "--kill", kill, "--budget", "600K", "--no-comparison"]);
        assert!(number(&report, "highest_bytes") <= number(&report, "budget_bytes"));
        let lost = report["lost"].as_array().unwrap();
        assert_eq!(lost.len(), 2);
        assert!(lost.iter().all(|lost| lost["reason"].as_str().unwrap().contains("signal: 9")), "{lost:?}");
    }
}

#[test]
fn samples_are_made_where_no_directory_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        program().args(["--samples", "3", "--rounds", "1"]).current_dir(directory.path()).output().unwrap();
    let out = success(&output);
    assert_eq!(out.matches(": held\n").count(), 3, "{out}");
    assert!(out.ends_with("The sheet: thumbnails.png\n"), "{out}");
    let sheet = image::open(directory.path().join("thumbnails.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (2 * 132 + 4, 2 * 132 + 4));
}

/// Names of all that is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_sheet_is_replaced_when_the_new_one_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let common = ["--samples", "2", "--rounds", "1", "--no-comparison", "--output"];
        program().args(common).args(arguments).current_dir(directory.path()).output().unwrap()
    };
    for name in ["sheet", "sheet.jpg", "sheet.of.nothing"] {
        let path = directory.path().join(name);
        fs::write(&path, "a good one").unwrap();
        assert!(trouble(&run(&[name, "--budget", "1K"])).contains("too small"));
        assert_eq!(fs::read(&path).unwrap(), b"a good one");
        success(&run(&[name]));
        let bytes = fs::read(&path).unwrap();
        assert!(image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).is_ok(), "{name}");
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&other), "as for every new file");
        fs::remove_file(other).unwrap();
    }
    assert_eq!(names(directory.path()), ["sheet", "sheet.jpg", "sheet.of.nothing"], "and nothing else");
}

/// An output that cannot be is noticed before anything else: there are no images either.
#[test]
fn an_output_that_cannot_be_is_noticed_first() {
    let empty = tempfile::tempdir().unwrap();
    let output = program().arg(empty.path()).args(["--output", "/proc/sheet.png"]).output().unwrap();
    assert!(trouble(&output).starts_with("thumbnail_cache: /proc/sheet.png: "));
    assert_eq!(names(empty.path()), [""; 0]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let album = Album::make();
    let run = |arguments: &[&str]| program().current_dir(album.path()).args(arguments).output().unwrap();
    let small = run(&[".", "--budget", "100K"]);
    assert!(trouble(&small).contains("too small: the largest image needs"));
    let no_output = run(&[".", "--output", "no/such/directory/sheet.png", "--no-comparison"]);
    assert!(trouble(&no_output).contains("no/such/directory"));
    for no_file in ["below", "/", ".."] {
        let output = run(&[".", "--output", no_file, "--no-comparison"]);
        assert!(trouble(&output).contains("not the name of a file"), "{no_file}");
    }
    let no_directory = run(&["missing"]);
    assert!(trouble(&no_directory).contains("No such file or directory"));
    let empty = tempfile::tempdir().unwrap();
    assert!(trouble(&program().arg(empty.path()).output().unwrap()).contains("no image"));
    let only_text = tempfile::tempdir().unwrap();
    fs::write(only_text.path().join("text"), "text").unwrap();
    assert!(trouble(&program().arg(only_text.path()).output().unwrap()).contains("/text: "));
    assert!(trouble(&program().arg("--worker").output().unwrap()).contains("socket of its parent"));
    for budget in ["", "0", "12Q", "M", "99999999999999999999", "-1"] {
        assert_eq!(run(&[".", &format!("--budget={budget}")]).status.code(), Some(2));
    }
}
