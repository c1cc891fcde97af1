//! Tests of how the screen looks.

use std::time::Duration;

use ashmem::page_size;
use ashmem_driver::snapshot::{Holder, Limit, Region};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::look::{Driver, Event, Look};
use super::model::{Map, Model};
use super::view;
use crate::tools::line::Line;
use crate::tools::map::{Kind, Picture, Stretch};
use crate::tools::seen::Source;

const MIB: u64 = 1 << 20;

/// The lines of a screen, without the blanks at their ends.
fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, model)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn region(number: u64) -> Region {
    Region {
        name: format!("cache-{number}"),
        inode: number,
        size: 64 * MIB,
        resident: number * MIB,
        pinned: 16 * MIB,
        unpinned: 40 * MIB,
        purged: 8 * MIB,
        unpinned_for_seconds: Some(number as f64),
        holders: vec![Holder { process: 4000 + number as u32, user: 0, command: "viewer".to_owned() }],
    }
}

fn look(regions: impl IntoIterator<Item = Region>) -> Look {
    let limits = [("system", 16_384, 4096, 512), ("/sys/fs/cgroup/demo", 1024, 256, 128)];
    let limit = |(name, limit, available, reserve): (&str, u64, u64, u64)| Limit {
        name: name.to_owned(),
        limit: limit * MIB,
        available: available * MIB,
        reserve: reserve * MIB,
        ..Limit::default()
    };
    Look {
        at: Duration::from_secs(60),
        source: Source::Driver,
        driver: Some(Driver { process: 1234, version: "0.1.0".to_owned(), uptime_seconds: 5.0 }),
        processes: 3,
        limits: limits.map(limit).to_vec(),
        pressure: Some(2.5),
        regions: regions.into_iter().map(Line::from_driver).collect(),
        purges: vec![Event {
            ago_seconds: 3.0,
            name: "cache-2".to_owned(),
            inode: 2,
            start: Some(0),
            end: Some(8 * MIB),
            bytes: 7 * MIB,
        }],
        ..Look::default()
    }
}

fn picture() -> Picture {
    let mut picture = Picture::with_cells(100 * page_size(), 8192);
    let mut add = |from: u64, to: u64, state, resident| {
        let (offset, length) = (from * page_size(), (to - from) * page_size());
        picture.add(&Stretch { offset, length, state, resident });
    };
    add(0, 20, Kind::Purged, false);
    add(20, 30, Kind::Pinned, true);
    add(30, 60, Kind::Unpinned, true);
    add(60, 70, Kind::Held, true);
    add(70, 100, Kind::Pinned, false);
    picture
}

fn model(count: u64) -> Model {
    let mut model = Model::new();
    model.take(look((1..=count).map(region)));
    model.map = Some(Map { inode: count, picture: Ok(picture()) });
    for percent in [0.0, 1.0, 5.0, 8.0] {
        model.take(Look { pressure: Some(percent), purges: Vec::new(), ..look((1..=count).map(region)) });
    }
    model
}

#[test]
fn eighty_columns() {
    let lines = screen(&mut model(12), 80, 24);
    println!("{}", lines.join("\n"));
    assert_eq!(lines[0], "ashmem top  driver 1234  12 regions, 78.0 MiB in memory, processes: 3");
    assert!(lines[1].starts_with("Memory    ██"), "{}", lines[1]);
    assert!(
        lines[1].contains("768 MiB used, 78.0 MiB can be taken") || lines[1].contains("768 MiB used, 256")
    );
    assert!(lines[2].starts_with("Stalls") && lines[2].ends_with("8.00 %"), "{}", lines[2]);
    let header = &lines[5];
    assert_eq!(
        header.split_whitespace().collect::<Vec<_>>().join(" "),
        "Name Held by Size In mem▼ Pinned Unpinned Purged Last unpin"
    );
    let row: Vec<_> = lines[6].split_whitespace().collect();
    assert_eq!(row.join(" "), "cache-12 4012 viewe 64.0 MiB 12.0 MiB 16.0 MiB 40.0 MiB 8.0 MiB 12 s ago");
    let cell = if page_size() == 4096 { "4.0 KiB" } else { "" };
    let pages = lines.iter().position(|line| line.starts_with("Pages of cache-12 (each ")).expect("a map");
    assert!(lines[pages].contains(cell) && lines[pages].contains("Purged lately"), "{}", lines[pages]);
    let map = format!("{}{}{}", "×".repeat(20), "█".repeat(10), "▒".repeat(10));
    assert!(lines[pages + 1].starts_with(&map), "{}", lines[pages + 1]);
    assert!(lines[pages + 1].ends_with("3.0 s ago   7.0 MiB  cache-2, 8.0 Mi"), "{}", lines[pages + 1]);
    assert!(lines[pages + 4].starts_with("█ pinned ▓ held ▒ unpinned × purged"), "{}", lines[pages + 4]);
    assert!(lines[23].starts_with("q quit") && lines[23].ends_with(" 1/12"));
}

#[test]
fn large_screens() {
    let lines = screen(&mut model(12), 200, 60);
    println!("{}", lines.join("\n"));
    assert!(lines[1].ends_with(
        "768 MiB used, 78.0 MiB can be taken; 256 MiB left, 128 MiB to stay (/sys/fs/cgroup/demo)"
    ));
    for sign in ['█', '▒', '·', '░'] {
        assert!(lines[1].contains(sign), "{}", lines[1]);
    }
    assert!(lines.iter().any(|line| line.contains("4012 viewer")));
    assert!(lines.iter().any(|line| line.ends_with("7.0 MiB  cache-2, 8.0 MiB at 0 B")));
}

#[test]
fn small_screens() {
    let lines = screen(&mut model(12), 20, 5);
    assert_eq!(lines[0], "ashmem top  driver 1");
    assert!(lines[1].starts_with("Memory"), "{}", lines[1]);
    assert!(lines[2].starts_with("Name") && lines[2].ends_with("In mem▼"), "{}", lines[2]);
    assert!(lines[3].starts_with("cache-12") && lines[3].ends_with("12.0 MiB"), "{}", lines[3]);
    assert_eq!(screen(&mut model(12), 1, 1), ["a"]);
}

#[test]
fn every_size_can_be_drawn() {
    for count in [0, 1, 30] {
        let mut model = model(count);
        for width in (0..=40).chain([60, 71, 72, 73, 80, 120, 300]) {
            for height in (0..=30).chain([60, 100]) {
                screen(&mut model, width, height);
                model.press(KeyEvent::from(KeyCode::PageDown));
            }
        }
    }
}

#[test]
fn many_regions() {
    let mut model = model(10_000);
    for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 60)] {
        assert!(screen(&mut model, width, height).len() == usize::from(height));
    }
    let lines = screen(&mut model, 80, 24);
    assert!(lines[0].contains("10000 regions"), "{}", lines[0]);
    assert!(lines[23].ends_with(" 1/10000"), "{}", lines[23]);
    model.press(KeyEvent::from(KeyCode::End));
    let lines = screen(&mut model, 80, 24);
    assert!(lines[23].ends_with(" 10000/10000"), "{}", lines[23]);
    assert!(lines.iter().any(|line| line.starts_with("cache-1 ")), "the smallest");
}

#[test]
fn nothing_was_seen_yet_or_there_is_nothing() {
    let lines = screen(&mut Model::new(), 80, 24);
    assert_eq!(
        (lines[0].as_str(), lines[1].as_str()),
        ("ashmem top  looking …", "Memory    no limit is known")
    );
    let mut model = Model::new();
    model.take(Look { trouble: Some("it is\nbusy".to_owned()), hidden_processes: 2, ..Look::default() });
    let lines = screen(&mut model, 120, 24);
    assert!(lines[0].contains("no driver: /proc  0 regions") && lines[0].contains("(2 more not to be seen)"));
    assert!(lines[0].ends_with("it is\u{fffd}busy"), "{}", lines[0]);
    let all = lines.join("\n");
    for said in ["There are no regions.", "no region is selected", "Purged lately\n", "nothing"] {
        assert!(all.contains(said), "{all}");
    }
    // Memory in use, where the kernel does not tell of stalls.
    model.take(Look { pressure: None, ..look([]) });
    let lines = screen(&mut model, 80, 24);
    assert!(lines[2].starts_with("In use") && lines[2].ends_with("75.00 %"), "{}", lines[2]);
}

#[test]
fn pages_that_may_not_be_looked_at() {
    let mut model = model(3);
    let pages = |model: &mut Model| {
        let lines = screen(model, 80, 24);
        let place = lines.iter().position(|line| line.starts_with("Pages of")).expect("a map");
        lines[place + 1].clone()
    };
    model.map = Some(Map { inode: 3, picture: Err("Permission\x1b[2J denied".to_owned()) });
    assert!(pages(&mut model).starts_with("Permission\u{fffd}[2J denied"));
    // Those of another region.
    model.press(KeyEvent::from(KeyCode::Down));
    assert!(pages(&mut model).starts_with("looking …"));
}

#[test]
fn names_and_numbers_can_be_anything() {
    let names = [
        "\x1b[31m\n\r\t\u{202e}",
        "",
        "日本語のとても長い名前です日本語のとても長い名前",
        "e\u{301}\u{301}\u{200b}\u{feff}",
        "👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
    ];
    let regions = names.iter().zip(1..).map(|(name, inode)| Region {
        name: (*name).to_owned(),
        inode,
        size: u64::MAX,
        resident: u64::MAX,
        pinned: u64::MAX,
        unpinned: u64::MAX,
        purged: u64::MAX,
        unpinned_for_seconds: Some(if inode % 2 == 0 { f64::MAX } else { -f64::MAX }),
        holders: vec![Holder { process: u32::MAX, user: 1, command: (*name).to_owned() }; 5],
    });
    let mut wild = look(regions);
    wild.pressure = Some(1e300);
    wild.limits = vec![Limit {
        name: names[0].to_owned(),
        limit: 1,
        available: u64::MAX,
        reserve: u64::MAX,
        ..Limit::default()
    }];
    wild.purges = vec![Event {
        ago_seconds: -1e300,
        name: names[0].to_owned(),
        inode: 1,
        start: Some(u64::MAX),
        end: Some(0),
        bytes: u64::MAX,
    }];
    let mut model = Model::new();
    for limit in [0, 1, u64::MAX] {
        wild.limits[0].limit = limit;
        model.take(wild.clone());
        model.map = Some(Map { inode: 1, picture: Ok(Picture::with_cells(u64::MAX / 4, 8192)) });
        for digit in '1'..='8' {
            model.press(KeyEvent::from(KeyCode::Char(digit)));
            for (width, height) in [(1, 1), (13, 7), (20, 5), (80, 24), (200, 60)] {
                let all = screen(&mut model, width, height).concat();
                assert!(!all.contains(|c: char| c.is_control() || c == '\u{202e}'), "{all:?}");
            }
        }
    }
}
