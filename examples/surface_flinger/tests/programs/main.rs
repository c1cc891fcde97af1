//! The program as its users meet it: processes that show, compose, and die.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;
mod wayland;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ashmem::Region;
use ashmem_binder::rsbinder::Strong;
use serde_json::Value;
use surface_flinger::animation::{Animation, Pattern};
use surface_flinger::display::{read_picture, write_picture};
use surface_flinger::picture::Picture;
use surface_flinger::pixel::premultiplied;
use surface_flinger::service::{ISurfaceComposer, NAME};
use surface_flinger::{Damage, Error, Placement, Rect, Size, WindowOptions};

use self::common::{Place, Process, children, eventually, is_running, kill, output_of};

/// Channel by channel, pixel by pixel, all windows from behind to the front, by this process alone.
fn one_process(screen: Size, windows: &[(&Value, Picture)]) -> Vec<u32> {
    let mut pixels = vec![0xff00_0000_u32; (screen.width * screen.height) as usize];
    let rounded = |sum: u32| (f64::from(sum) / 255.0).round() as u32;
    for (window, picture) in windows {
        let number = |name: &str| window[name].as_i64().unwrap();
        let (left, top, alpha) = (number("x"), number("y"), number("alpha") as u32);
        for y in 0..picture.size().height {
            for (x, above) in (0..).zip(picture.row(y)) {
                let (to_x, to_y) = (left + x, top + i64::from(y));
                if !(0..i64::from(screen.width)).contains(&to_x)
                    || !(0..i64::from(screen.height)).contains(&to_y)
                {
                    continue;
                }
                let below = &mut pixels[(to_y * i64::from(screen.width) + to_x) as usize];
                let is_opaque = window["is_opaque"].as_bool().unwrap();
                let above = if is_opaque { above | 0xff00_0000 } else { *above };
                let rest = 255 - rounded((above >> 24) * alpha);
                *below = [24, 16, 8, 0].into_iter().fold(0, |pixel, shift| {
                    let sum = (above >> shift & 255) * alpha + (*below >> shift & 255) * rest;
                    pixel | rounded(sum).min(255) << shift
                });
            }
        }
    }
    pixels
}

/// Checks each frame in a directory against one process that draws and composes the same.
fn is_exact(directory: &std::path::Path, screen: Size, animations: &HashMap<(i64, i64), Animation>) -> u64 {
    let mut frames = 0;
    for line in fs::read_to_string(directory.join("frames.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        frames += 1;
        assert_eq!(line["frame"], frames);
        let draw = |window: &Value| {
            let at = (window["x"].as_i64().unwrap(), window["y"].as_i64().unwrap());
            animations[&at].picture(window["frame"].as_u64().unwrap())
        };
        let windows: Vec<_> = line["windows"].as_array().unwrap().iter().map(|w| (w, draw(w))).collect();
        let composed = read_picture(&directory.join(format!("frame-{frames:05}.png"))).unwrap();
        assert!(composed.pixels() == one_process(screen, &windows), "frame {frames}: {line}");
    }
    frames
}

#[test]
fn the_demo_is_exact_in_every_pixel_and_copies_nothing() {
    let place = Place::new();
    let frames = place.path("frames");
    let screen = Size { width: 160, height: 96 };
    // Not every name is text.
    let picture = place.path("").join(OsStr::from_bytes(b"-picture \xff.png"));
    let pixels = (0..48 * 32).map(|i: u32| premultiplied(i as u8, (i / 48) as u8, 90, 255)).collect();
    write_picture(&picture, &Picture::from_pixels(Size { width: 48, height: 32 }, pixels).unwrap()).unwrap();
    let output = output_of(
        place
            .program(&["demo", "--frames=12", "--size=160x96", "--lockstep", "--json", "--png"])
            .arg(&frames)
            .arg("--image")
            .arg(&picture),
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["frames"], 12);
    assert_eq!(report["bytes"]["binder_while_composing"], 0, "{report}");
    assert!(report["bytes"]["read_from_windows"].as_u64().unwrap() >= 12 * 160 * 96 * 4, "{report}");
    let window = |pattern, width, height| Animation::new(pattern, Size { width, height });
    let animations = HashMap::from([
        ((0, 0), window(Pattern::Waves, 160, 96)),
        ((10, 9), window(Pattern::Ball, 75, 51)),
        ((65, 39), Animation::of_picture(read_picture(&picture).unwrap())),
        ((90, 3), window(Pattern::Rings, 65, 66)),
    ]);
    assert_eq!(is_exact(&frames, screen, &animations), 12);
    assert_eq!(fs::read_dir(place.temporary()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_killed_producer_leaves_what_is_behind_it() {
    let place = Place::new();
    let mut compositor = place.compositor();
    let composer = place.composer();
    let size = Size { width: 40, height: 30 };
    let options = WindowOptions { size, placement: Placement::default(), is_opaque: true };
    let mut window = composer.create_window(options).unwrap();
    let descriptors = compositor.descriptors();
    let mut show = || {
        // The third one is free when the first one was shown.
        for _ in 0..4 {
            let mut buffer = window.dequeue(Duration::from_secs(60)).unwrap();
            buffer.write_row(0, 0, &[0xff12_3456]).unwrap();
            buffer.queue(&Damage::from_iter([Rect::of_size(size)])).unwrap();
        }
    };
    show();
    for round in 0..6_u64 {
        let producers = ["ball", "bars"].map(|pattern| {
            place.spawn(&["producer", &format!("--pattern={pattern}"), "--size=64x48", "--z=1"])
        });
        // At random moments: before there is a window, while it draws, while it waits.
        std::thread::sleep(Duration::from_micros(round * round * 4000));
        producers.into_iter().for_each(|mut producer| producer.kill());
        show();
    }
    // Their windows are gone, with all that the compositor had of them.
    eventually(|| {
        show();
        compositor.descriptors() == descriptors && compositor.window_mappings() == 1
    });
    compositor.end_input();
    assert!(compositor.wait().success());
}

#[test]
fn a_killed_compositor_is_noticed_and_can_be_started_again() {
    let place = Place::new();
    let mut compositor = place.compositor();
    let mut producers = ["--frames=1000000", "--alpha=9"].map(|word| place.spawn(&["producer", word]));
    let composer = place.composer();
    let options = WindowOptions {
        size: Size { width: 8, height: 8 },
        placement: Placement::default(),
        is_opaque: false,
    };
    let mut window = composer.create_window(options).unwrap();
    let mut shown = 0;
    let mut show = || -> Result<u64, Error> {
        window.dequeue(Duration::from_secs(60))?.queue(&Damage::from_iter([Rect::new(0, 0, 8, 8)]))
    };
    while shown < 10 {
        shown = show().unwrap();
    }
    compositor.kill();
    let error = (0..10).find_map(|_| show().err()).unwrap();
    assert!(matches!(error, Error::CompositorGone), "{error}");
    eventually(|| composer.is_gone());
    let refused = composer.create_window(options).err().unwrap();
    assert!(matches!(refused, Error::CompositorGone), "{refused}");
    for producer in &mut producers {
        assert_eq!(producer.wait().code(), Some(1));
    }
    let mut again = place.compositor();
    place.composer().create_window(options).unwrap();
    again.end_input();
    assert!(again.wait().success());
}

#[test]
fn whoever_of_a_demo_is_killed_the_others_end() {
    for (victim, expected) in [("compositor", "the compositor failed"), ("producer", "producer 1 failed")] {
        let place = Place::new();
        let frames = if victim == "producer" { "--frames=200" } else { "--frames=100000" };
        let mut command = place.program(&["demo", frames, "--size=64x36"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let found =
            || children(child.id()).into_iter().find(|child| child.1.iter().any(|word| word == victim));
        eventually(|| children(child.id()).len() == 5 && found().is_some());
        let all = children(child.id());
        kill(found().unwrap().0);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(expected), "{expected}");
        assert!(all.iter().all(|child| !is_running(child.0)));
        assert_eq!(fs::read_dir(place.temporary()).unwrap().count(), 0, "nothing is left");
    }
    // The demo itself, as soon as there are so many of them.
    for count in [1, 3, 5] {
        dies_with_all(&Place::new(), &[], count);
    }
    // And one that waits for its first frame.
    let place = Place::new();
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    dies_with_all(&place, &["--image", pipe.to_str().unwrap()], 5);
}

/// Kills a demo that has so many children: nothing of it is left.
fn dies_with_all(place: &Place, more: &[&str], count: usize) {
    let mut demo = place.program(&["demo", "--frames=100000", "--size=64x36"]);
    let mut demo = Process::start(demo.args(more));
    eventually(|| children(demo.id()).len() >= count);
    let all = children(demo.id());
    demo.kill();
    eventually(|| all.iter().all(|child| !is_running(child.0)));
    eventually(|| fs::read_dir(place.temporary()).unwrap().count() == 0);
}

#[test]
fn rubbish_in_a_control_block_closes_that_window_and_no_other() {
    let place = Place::new();
    let mut compositor = place.compositor();
    let composer = place.composer();
    let size = Size { width: 16, height: 16 };
    let options = WindowOptions { size, placement: Placement::default(), is_opaque: true };
    let mut good = composer.create_window(options).unwrap();
    let service: Strong<dyn ISurfaceComposer> =
        Strong::try_from(place.services().get_service(NAME).unwrap()).unwrap();
    let mut state = 1_u64;
    for _ in 0..12 {
        let hostile = service.create_window(options).unwrap();
        let region = Region::from_fd(hostile.memory.into()).unwrap();
        let words = region.map().unwrap();
        // In the end a frame that nobody can have queued, as the first one was not.
        for i in 0..2000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (offset, value) = (state >> 58, if i % 3 == 0 { state >> 32 & 31 } else { state });
            // Not the word that says that it is closed.
            if offset != 16 {
                words.atomic_u64(offset * 8).unwrap().store(value, Ordering::SeqCst);
            }
        }
        for slot in 0..3 {
            words.atomic_u64(256 + slot * 128).unwrap().store(77 << 2 | 2, Ordering::SeqCst);
        }
        // Goes on with the others, and says to this one that it is over.
        eventually(|| {
            let mut buffer = good.dequeue(Duration::from_secs(60)).unwrap();
            buffer.write_row(0, 0, &[0; 16]).unwrap();
            buffer.queue(&Damage::from_iter([Rect::of_size(size)])).unwrap();
            words.load_u32(132).unwrap() != 0
        });
    }
    good.place(Placement { x: 5, ..Placement::default() }).unwrap();
    compositor.end_input();
    let printed = compositor.last_line();
    assert!(compositor.wait().success());
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["closed"], 12, "{printed}");
}

#[test]
fn there_are_as_many_windows_as_there_may_be() {
    let place = Place::new();
    let mut compositor = place.compositor_with(&["--windows=3"]);
    let composer = place.composer();
    let options = WindowOptions {
        size: Size { width: Size::MAX, height: Size::MAX },
        placement: Placement { x: i32::MIN, y: i32::MAX, z: i32::MIN, alpha: 1 },
        is_opaque: false,
    };
    let mut windows: Vec<_> = (0..3).map(|_| composer.create_window(options).unwrap()).collect();
    let refused = composer.create_window(options).err().unwrap();
    assert!(matches!(&refused, Error::Refused { reason, .. } if reason.contains("3 windows")), "{refused}");
    let window = windows.last_mut().unwrap();
    let mut buffer = window.dequeue(Duration::from_secs(60)).unwrap();
    assert!(matches!(buffer.write_row(8000, 0, &[0; 193]), Err(Error::OutsideWindow { .. })));
    assert!(matches!(buffer.write_row(0, 8192, &[0]), Err(Error::OutsideWindow { .. })));
    drop(buffer);
    windows.clear();
    // They go when the compositor comes to it.
    eventually(|| composer.create_window(options).is_ok());
    let too_large = Size { width: 8193, height: 1 };
    assert!(composer.create_window(WindowOptions { size: too_large, ..options }).is_err());
    compositor.end_input();
    assert!(compositor.wait().success());
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let place = Place::new();
    let broken = place.path("broken.png");
    fs::write(&broken, b"\x89PNG\r\n\x1a\nand nothing more").unwrap();
    let broken = broken.to_str().unwrap();
    let mut compositor = place.compositor();
    for (arguments, code, said) in [
        (&["producer", "--image", broken][..], 1, "broken.png: "),
        (&["demo", "--image", broken], 1, "producer 3 failed"),
        (&["producer", "--image", "/no/such.png"], 1, "open /no/such.png: "),
        (&["producer", "--size", "0x5"], 2, "WIDTHxHEIGHT"),
        (&["compositor"], 1, "the name is taken"),
        (&["demo", "--frames", "3", "--png", "/dev/full/frames"], 1, "/dev/full/frames"),
        (&["compositor", "--wayland"], 1, "connect to the Wayland compositor"),
    ] {
        let output = output_of(&mut place.program(arguments));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(said), "{arguments:?}");
    }
    // A disk that is full when a frame is written.
    let frames = place.path("full");
    fs::create_dir(&frames).unwrap();
    std::os::unix::fs::symlink("/dev/full", frames.join("frame-00002.png")).unwrap();
    let output =
        output_of(place.program(&["demo", "--frames=5", "--size=64x36", "--lockstep", "--png"]).arg(&frames));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("No space left on device"));
    compositor.end_input();
    assert!(compositor.wait().success());
}

#[test]
fn the_bench_says_what_it_measured() {
    let place = Place::new();
    let output =
        output_of(&mut place.program(&["bench", "--size=64x36", "--frames=20", "--rounds=1", "--json"]));
    assert!(output.status.success(), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    for figure in figures.as_array().unwrap() {
        assert_eq!(figure["binder_bytes"], 0, "{figure}");
        assert!(figure["processes"]["frames_per_second"].as_f64().unwrap() > 0.0, "{figure}");
    }
}
