//! On a real Wayland compositor: Weston without a display, which can still make screenshots.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use surface_flinger::display::read_picture;
use surface_flinger::{Damage, Error, Placement, Rect, Size, WindowOptions};

use super::common::{Place, Process, eventually, installed, signal};

const SOCKET: &str = "weston-of-the-test";
/// What the window shows: no shell has these colours.
const ROWS: [u32; 4] = [0xff12_e034, 0xffe0_1256, 0xff34_12e0, 0xffe0_e012];

/// Whether a program of Weston's is there; in CI it must be.
fn has(program: &str) -> bool {
    let is_there = installed(program).is_some();
    if !is_there {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is not installed");
        eprintln!("skipped: {program} is not installed (Debian: apt install weston)");
    }
    is_there
}

/// None where there is no Weston.
fn weston(place: &Place) -> Option<Process> {
    if !has("weston") {
        return None;
    }
    let mut command = Command::new("weston");
    command.args(["--backend=headless-backend.so", "--use-pixman", "--width=640", "--height=480"]);
    // `--debug` allows screenshots.
    command.args(["--no-config", "--idle-time=0", "--debug"]).arg(format!("--socket={SOCKET}"));
    command.env("XDG_RUNTIME_DIR", place.path("")).env("HOME", place.path(""));
    command.env_remove("WAYLAND_DISPLAY").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let weston = Process::start(&mut command);
    eventually(|| place.path(SOCKET).exists());
    Some(weston)
}

fn with_wayland(command: &mut Command) -> &mut Command {
    command.env("WAYLAND_DISPLAY", SOCKET)
}

#[test]
fn weston_shows_what_was_composed() {
    let place = Place::new();
    let Some(mut weston) = weston(&place) else { return };
    let mut command = place.program(&["compositor", "--child", "--wayland", "--size=64x48"]);
    with_wayland(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut compositor = Process::start(&mut command);
    place.services().wait_for_service("SurfaceFlinger", Some(Duration::from_secs(60))).unwrap();
    let size = Size { width: 64, height: 48 };
    let options = WindowOptions { size, placement: Placement::default(), is_opaque: true };
    let composer = place.composer();
    let mut window = composer.create_window(options).unwrap();
    // Each frame is one that Weston has asked for: it goes through all buffers of the screen.
    let mut show = |frame: u32, most| {
        let mut buffer = window.dequeue(Duration::from_secs(most))?;
        for y in 0..size.height {
            // Every frame but the last ones is another one.
            let row = if frame < 9 { 0xff00_0000 | frame } else { ROWS[y as usize % ROWS.len()] };
            buffer.write_row(0, y, &[row; 64])?;
        }
        buffer.queue(&Damage::from_iter([Rect::of_size(size)]))
    };
    for frame in 0..12 {
        show(frame, 60).unwrap();
    }
    if has("weston-screenshooter") {
        eventually(|| shows(&place, size));
    }
    // While nobody asks for frames, who draws them waits.
    signal(weston.id(), Signal::STOP);
    let error = (0..12).find_map(|frame| show(frame, 1).err()).unwrap();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    signal(weston.id(), Signal::CONT);
    show(12, 60).unwrap();
    compositor.end_input();
    let report: Value = serde_json::from_str(&compositor.last_line()).unwrap();
    assert!(compositor.wait().success());
    let said = |what: &str| report["wayland"][what].as_u64().unwrap();
    let frames = report["frames"].as_u64().unwrap();
    assert!(said("configures") >= 1 && frames >= 10, "{report}");
    assert!(said("frame_callbacks") >= frames - 1, "{report}");
    // One is shown, and one may be about to be.
    assert!(said("buffer_releases") + 2 >= frames, "{report}");
    weston.kill();
}

/// Whether a screenshot has the window's pixels somewhere.
fn shows(place: &Place, size: Size) -> bool {
    let directory = tempfile::tempdir_in(place.path("")).unwrap();
    // So that a Weston that does not answer is a failure, too.
    let mut command = Command::new("timeout");
    command.args(["60", "weston-screenshooter"]);
    with_wayland(&mut command).current_dir(directory.path()).env("XDG_RUNTIME_DIR", place.path(""));
    command.env_remove("XDG_PICTURES_DIR").env("HOME", directory.path());
    let taken = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(taken.success(), "{taken}");
    let file = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "png"));
    let picture = read_picture(&file.unwrap()).unwrap();
    let width = picture.size().width as usize;
    let Some(first) = picture.pixels().iter().position(|pixel| *pixel == ROWS[0]) else { return false };
    let (left, top) = (first % width, (first / width) as u32);
    (0..size.height).all(|y| {
        let row = &picture.row(top + y)[left..left + size.width as usize];
        row.iter().all(|pixel| *pixel == ROWS[y as usize % ROWS.len()])
    })
}

#[test]
fn a_killed_weston_is_an_error() {
    let place = Place::new();
    let Some(mut weston) = weston(&place) else { return };
    let mut command = place.program(&["demo", "--wayland", "--size=64x48", "--frames=1000000"]);
    let child = with_wayland(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It composes when its directory is gone.
    eventually(|| super::children(child.id()).len() == 5);
    eventually(|| fs::read_dir(place.temporary()).unwrap().count() == 0);
    weston.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("talk to the Wayland compositor"));
}
