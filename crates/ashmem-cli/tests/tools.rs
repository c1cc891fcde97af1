//! `ashmem ls`, `stat` and `purge` as their users meet them: the built program, looking at processes that hold regions.
//!
//! Those are this test binary again, running the ignored test `holder`. Other processes of the machine hold regions, too: nothing
//! here looks at those, or takes anything away from them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ashmem::{Reclaimer, Region, RegionOptions, Stats, page_size};
use rustix::fs::{
    MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create,
};
use serde_json::Value;

const ROLE: &str = "ASHMEM_TEST_ROLE";
const NAME: &str = "ASHMEM_TEST_NAME";

/// Pages of the region with something of everything.
const PAGES: u64 = 100;

/// A process that plays a role, and has said that it is ready. Killed on drop.
struct Holder {
    child: Child,
    name: String,
    _stdout: BufReader<ChildStdout>,
}

impl Holder {
    fn start(role: &str) -> Holder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Holder::named(role, format!("tools-{}-{number}", std::process::id()))
    }

    fn named(role: &str, name: String) -> Holder {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holder", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(NAME, &name)
            .env("ASHMEM_DRIVER", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the holder has ended");
        }
        Holder { child, name, _stdout: stdout }
    }

    fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// The program with this process alone to look at.
    fn ashmem(&self, arguments: &[&str]) -> Output {
        ashmem(&[arguments, &["--process", &self.process()]].concat())
    }

    /// What `ls` says of the process's regions, by the ends of their names.
    fn lines(&self, options: &[&str]) -> Vec<(String, Value)> {
        let list = json(&self.ashmem(&[&["ls", "--json"], options].concat()));
        let of = |line: &Value| {
            let name = line["name"].as_str().unwrap().strip_prefix(&self.name).unwrap_or("?").to_owned();
            (name, line.clone())
        };
        let mut lines: Vec<_> = list["regions"].as_array().unwrap().iter().map(of).collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        lines
    }

    fn line(&self, end: &str, options: &[&str]) -> Value {
        let found = self.lines(options).into_iter().find(|(name, _)| name == end);
        found.unwrap_or_else(|| panic!("no {end}")).1
    }

    fn place(&self, end: &str) -> String {
        place(&self.line(end, &["--all"]))
    }

    /// The same file, through a descriptor that only reads.
    fn open(&self, end: &str) -> File {
        let place = self.place(end);
        let (process, descriptor) = place.split_once(':').unwrap();
        File::open(format!("/proc/{process}/fd/{descriptor}")).unwrap()
    }

    fn stats(&self, end: &str) -> Stats {
        Region::from_fd(self.open(end).into()).unwrap().stats().unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place(line: &Value) -> String {
    format!("{}:{}", line["holders"][0]["process"], line["holders"][0]["descriptors"][0])
}

fn ashmem(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The program, which asks no daemon that the user may have.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    program.env("ASHMEM_DRIVER", "off");
    program
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn success(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    text(&output.stdout)
}

/// What the program complained about, in one line.
fn trouble(output: &Output) -> &str {
    let errors = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{errors}");
    assert!(errors.starts_with("ashmem: ") && errors.lines().count() == 1, "{errors}");
    errors
}

fn json(output: &Output) -> Value {
    serde_json::from_str(success(output)).unwrap()
}

fn pages(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no size")) / page_size()
}

fn freed(output: &Output) -> u64 {
    let said = success(output);
    let bytes = said.split_once('(').and_then(|(_, rest)| rest.split_once(" bytes)\n"));
    bytes.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap()
}

fn options() -> RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn filled(name: &str, pages: u64) -> Region {
    let region = options().create(name, pages * page_size()).unwrap();
    region.map().unwrap().fill(0, pages * page_size(), 1).unwrap();
    region
}

fn marked(name: &str, size: u64) -> OwnedFd {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, size).unwrap();
    fchmod(&fd, Mode::from_raw_mode(0o1600)).unwrap();
    fd
}

/// Says that all is there, and stays until the test has ended or is killed itself.
fn hold() {
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn holder() {
    let (Ok(role), Ok(name)) = (std::env::var(ROLE), std::env::var(NAME)) else { return };
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let page = page_size();
    match role.as_str() {
        // Something of everything.
        "states" => {
            let mixed = filled(&format!("{name}.mixed"), PAGES);
            mixed.unpin(0..20 * page).unwrap();
            assert_eq!(mixed.purge().unwrap(), 20 * page);
            mixed.unpin(30 * page..60 * page).unwrap();
            let _lease = mixed.lease(40 * page..50 * page).unwrap();
            let whole = filled(&format!("{name}.whole"), 10);
            whole.unpin(..).unwrap();
            let _untouched =
                options().purgeable().create(format!("{name}.untouched\x1b[31m"), 10 * page).unwrap();
            let _plain = filled(&format!("{name}.plain"), 5);
            let sealed = filled(&format!("{name}.sealed"), 5);
            sealed.unpin(..).unwrap();
            sealed.set_protection(ashmem::Protection::READ).unwrap();
            hold();
        }
        // Unpinned in another order than made.
        "order" => {
            let regions = ["a", "b", "c"].map(|end| filled(&format!("{name}.{end}"), 8));
            for index in [2, 0, 1] {
                regions[index].unpin(..).unwrap();
            }
            hold();
            drop(regions);
        }
        "one" => {
            let region = filled(&name, 8);
            region.unpin(..).unwrap();
            hold();
            drop(region);
        }
        // What only looks like a region, or is anything else.
        "forgeries" => {
            let odd = marked(&format!("{name}.odd"), 3 * page + 7);
            let empty = marked(&format!("{name}.empty"), 0);
            // The size of a region of a page, unsealed.
            let model = Region::options().purgeable().create("model", page).unwrap();
            let size = rustix::fs::fstat(&model).unwrap().st_size as u64;
            let unsealed = marked(&format!("{name}.unsealed"), size);
            let version = marked(&format!("{name}.version"), size);
            fcntl_add_seals(&version, SealFlags::SHRINK | SealFlags::GROW).unwrap();
            rustix::io::pwrite(&version, &[0xff; 8], page).unwrap();
            let pipe = std::io::pipe().unwrap();
            let sockets = std::os::unix::net::UnixStream::pair().unwrap();
            hold();
            drop((odd, empty, unsealed, version, model, pipe, sockets));
        }
        // A control block full of whatever, which changes all the time.
        "garbage" => {
            let region = options().purgeable().create(format!("{name}.garbage"), 5000 * page).unwrap();
            let fd = region.as_fd().try_clone_to_owned().unwrap();
            let end = rustix::fs::fstat(&fd).unwrap().st_size as u64;
            // Behind the version, without which it would be refused at once.
            scribble(File::from(fd), 5000 * page + 8, end);
            hold();
        }
        // Files that shrink and grow all the time, and a descriptor that is one thing and then another.
        "restless" => {
            let plain = memfd_create(format!("{name}.plain"), MemfdFlags::CLOEXEC).unwrap();
            let forged = marked(&format!("{name}.forged"), 0);
            thread::spawn(move || {
                for size in (0..2000).cycle() {
                    let _ = ftruncate(&plain, size * 100);
                    let _ = ftruncate(&forged, size * 100);
                }
            });
            let region = filled(&format!("{name}.changing"), 4);
            region.unpin(..).unwrap();
            let pipe = std::io::pipe().unwrap();
            let slot = region.as_fd().try_clone_to_owned().unwrap();
            thread::spawn(move || {
                let mut slot = slot;
                loop {
                    let _ = rustix::io::dup2(pipe.0.as_fd(), &mut slot);
                    let _ = rustix::io::dup2(region.as_fd(), &mut slot);
                }
            });
            hold();
        }
        other => panic!("no role {other}"),
    }
}

fn scribble(file: File, start: u64, end: u64) {
    let mut seed = u64::from(std::process::id()) | 1;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut write = move || {
        let place = start + random() % (end - start - 8);
        // Small numbers as well, as generations and states are.
        let word = if random() % 2 == 0 { random() } else { random() & 0x3_0000_00ff };
        file.write_all_at(&word.to_le_bytes(), place / 8 * 8).unwrap();
    };
    (0..100_000).for_each(|_| write());
    thread::spawn(move || {
        loop {
            write();
        }
    });
}

#[test]
fn regions_are_listed_with_their_pages_and_holders() {
    let holder = Holder::start("states");
    let lines = holder.lines(&[]);
    let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [".mixed", ".sealed", ".untouched\x1b[31m", ".whole"]);
    let counts = |end: &str| {
        let line = holder.line(end, &["--all"]);
        ["size", "resident", "pinned", "unpinned", "purged"].map(|key| pages(&line[key]))
    };
    assert_eq!(counts(".mixed"), [PAGES, PAGES - 20, 60, 20, 20]);
    assert_eq!(counts(".whole"), [10, 10, 0, 10, 0]);
    assert_eq!(counts(".untouched\x1b[31m"), [10, 0, 10, 0, 0]);
    assert_eq!(counts(".plain"), [5, 5, 5, 0, 0]);
    for (name, line) in &lines {
        assert_eq!(line["holders"][0]["process"].to_string(), holder.process());
        assert_eq!((&line["control_block"], &line["trouble"]), (&Value::Bool(true), &Value::Null));
        assert_eq!(line["unpinned_for_seconds"].is_null(), name.contains("untouched"), "{line}");
    }
    let list = json(&holder.ashmem(&["ls", "--json"]));
    assert_eq!((&list["total"]["regions"], &list["processes"]), (&4.into(), &1.into()));
    assert_eq!(pages(&list["total"]["size"]), PAGES + 25);

    let table = holder.ashmem(&["ls"]);
    let table = success(&table);
    // Those that use most come first.
    let order = [".mixed", ".whole", ".sealed", ".untouched", "4 in all"];
    let places: Vec<_> =
        order.iter().map(|what| table.find(what).unwrap_or_else(|| panic!("{table}"))).collect();
    assert!(places.is_sorted() && !table.contains('\x1b') && !table.contains(".plain"), "{table}");
    assert!(success(&holder.ashmem(&["ls", "--all"])).contains(".plain"));
}

#[test]
fn all_processes_are_looked_at() {
    let holder = Holder::start("one");
    let list = json(&ashmem(&["ls", "--json"]));
    let mut names = list["regions"].as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap());
    assert!(names.any(|name| name == holder.name));
}

#[test]
fn two_holders_of_one_region_are_one_line() {
    let holder = Holder::start("one");
    let inherited = holder.open("");
    let other = Command::new("sleep").arg("1000").stdin(Stdio::from(inherited)).spawn().unwrap();
    let mut other = Holder { child: other, name: String::new(), _stdout: nobody() };
    let both = ["--process", &holder.process(), "--process", &other.process()];
    let list = json(&ashmem(&[&["ls", "--json"], &both[..]].concat()));
    let lines = list["regions"].as_array().unwrap();
    let holders = lines[0]["holders"].as_array().unwrap();
    assert_eq!((lines.len(), holders.len()), (1, 2), "{lines:?}");
    // The one who made it ends, and it is there still.
    drop(holder);
    assert_eq!(pages(&other.lines(&[])[0].1["unpinned"]), 8);
    assert!(other.child.try_wait().unwrap().is_none());
}

/// The output of a process that has none.
fn nobody() -> BufReader<ChildStdout> {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    child.wait().unwrap();
    BufReader::new(stdout)
}

#[test]
fn looking_changes_nothing() {
    let holder = Holder::start("states");
    let ends = [".mixed", ".whole", ".untouched\x1b[31m", ".plain", ".sealed"];
    let files = ends.map(|end| holder.open(end));
    let look = || {
        let state = |file: &File| {
            let meta = file.metadata().unwrap();
            let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            let region = Region::from_fd(file.as_fd().try_clone_to_owned().unwrap()).unwrap();
            let stats = region.stats().unwrap();
            (times, meta.mode(), meta.size(), meta.blocks(), fcntl_get_seals(file).unwrap(), stats)
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fd", holder.process())).unwrap().count();
        let maps = fs::read_to_string(format!("/proc/{}/maps", holder.process())).unwrap();
        (files.each_ref().map(state), descriptors, maps)
    };
    let before = look();
    let places = ends.map(|end| holder.place(end));
    for _ in 0..3 {
        success(&holder.ashmem(&["ls", "--all", "--verbose"]));
        for place in &places {
            success(&ashmem(&["stat", place]));
            success(&ashmem(&["stat", "--json", place]));
        }
    }
    assert_eq!(look(), before);
}

#[test]
fn one_region_in_detail() {
    let holder = Holder::start("states");
    let name = format!("{}.mixed", holder.name);
    let report = json(&ashmem(&["stat", "--json", &name]));
    let seals = report["seals"].as_array().unwrap();
    assert!(seals.contains(&"shrink".into()) && seals.contains(&"grow".into()), "{seals:?}");
    assert_eq!((&report["protection"], &report["page_size"]), (&"rwx".into(), &page_size().into()));
    let stretches: Vec<_> = report["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let place = (pages(&run["offset"]), pages(&run["length"]));
            (place, run["state"].as_str().unwrap(), run["resident"].as_bool().unwrap())
        })
        .collect();
    let expected = [
        ((0, 20), "purged", false),
        ((20, 10), "pinned", true),
        ((30, 10), "unpinned", true),
        ((40, 10), "held", true),
        ((50, 10), "unpinned", true),
        ((60, 40), "pinned", true),
    ];
    assert_eq!((stretches.as_slice(), &report["pages_left_out"]), (&expected[..], &0.into()));

    let by_place = ashmem(&["stat", &holder.place(".mixed")]);
    let shown = success(&by_place);
    let map =
        format!("{}{}{}{}{}", "×".repeat(20), "█".repeat(10), "▒".repeat(10), "▓".repeat(10), "▒".repeat(10));
    assert!(shown.contains(&map) && shown.contains("Control block yes"), "{shown}");
    let plain = ashmem(&["stat", &format!("{}.plain", holder.name)]);
    assert!(success(&plain).contains("Control block no"));
    let sealed = json(&ashmem(&["stat", "--json", &holder.place(".sealed")]));
    assert_eq!(sealed["protection"], "r--");
}

#[test]
fn what_is_not_there_or_is_not_one_is_said() {
    let holder = Holder::start("one");
    assert!(trouble(&ashmem(&["stat", &format!("{}.none", holder.name)])).contains("no region is called"));
    assert!(trouble(&ashmem(&["purge", &format!("{}.none", holder.name)])).contains("no region is called"));
    // Its standard output is a pipe.
    let place = format!("{}:1", holder.process());
    assert!(trouble(&ashmem(&["stat", &place])).contains("is no memfd"));
    let place = format!("{}:4000000000", holder.process());
    assert!(trouble(&ashmem(&["purge", &place])).contains("No such file"));
    let second = Holder::named("one", holder.name.clone());
    let output = ashmem(&["stat", &holder.name]);
    let errors = trouble(&output);
    for place in [holder.place(""), second.place("")] {
        assert!(errors.contains("2 regions are called") && errors.contains(&place), "{errors}");
        success(&ashmem(&["stat", &place]));
    }
    // Both are meant.
    assert_eq!(freed(&ashmem(&["purge", &holder.name])), 16 * page_size());
}

#[test]
fn purges_what_is_unpinned_and_not_held() {
    let holder = Holder::start("states");
    let before = holder.stats(".mixed");
    let mixed = format!("{}.mixed", holder.name);
    assert_eq!(freed(&ashmem(&["purge", &mixed])), 20 * page_size());
    let after = holder.stats(".mixed");
    assert_eq!((after.pinned_pages, after.unpinned_pages), (before.pinned_pages, 0), "leased pages stay");
    assert_eq!(after.purged_pages, before.purged_pages + 20);
    assert_eq!(freed(&ashmem(&["purge", &mixed])), 0, "there is nothing more");
    assert_eq!(freed(&ashmem(&["purge", &format!("{}.plain", holder.name)])), 0);
    assert_eq!(holder.stats(".whole").unpinned_pages, 10, "another region");

    // The kernel does not let anybody.
    let sealed = format!("{}.sealed", holder.name);
    assert!(trouble(&ashmem(&["purge", &sealed])).contains("purge: the mapping or descriptor is read-only"));
    assert_eq!(freed(&holder.ashmem(&["purge", "--all"])), 10 * page_size());
    assert_eq!(freed(&holder.ashmem(&["purge", "--all"])), 0);
    assert_eq!(holder.stats(".whole").purged_pages, 10);
    assert_eq!(holder.stats(".sealed").resident_bytes, 5 * page_size());
}

#[test]
fn the_oldest_go_first() {
    let holder = Holder::start("order");
    let purge = |bytes: u64| freed(&holder.ashmem(&["purge", "--bytes", &bytes.to_string()]));
    let unpinned = || [".a", ".b", ".c"].map(|end| holder.stats(end).unpinned_pages);
    assert_eq!((purge(0), unpinned()), (0, [8, 8, 8]));
    assert_eq!((purge(1), unpinned()), (8 * page_size(), [8, 8, 0]));
    assert_eq!((purge(8 * page_size()), unpinned()), (8 * page_size(), [0, 8, 0]));
    assert_eq!((purge(1 << 40), unpinned()), (8 * page_size(), [0, 0, 0]));
    assert_eq!(purge(1 << 40), 0);
}

#[test]
fn other_users_see_and_do_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let holder = Holder::start("one");
    let place = holder.place("");
    let somebody =
        |arguments: &[&str]| program().args(arguments).stdin(Stdio::null()).uid(65_534).gid(65_534).output();
    let process = holder.process();
    let output = match somebody(&["ls", "--process", &process, "--verbose", "--json"]) {
        Err(error) => {
            println!("skipped: somebody else cannot run the program: {error}");
            return;
        }
        output => output.unwrap(),
    };
    assert_eq!(text(&output.stderr), "ashmem: 1 process could not be looked at\n");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list["hidden_processes"], &list["total"]["regions"]), (&1.into(), &0.into()));
    assert_eq!(success(&somebody(&["ls", "--process", &process]).unwrap()), "There are no regions.\n");
    for command in ["stat", "purge"] {
        let denied = somebody(&[command, &place]).unwrap();
        assert!(trouble(&denied).contains("Permission denied"), "{denied:?}");
        let hidden = somebody(&[command, &holder.name]).unwrap();
        assert!(trouble(&hidden).contains("could not be looked at"), "{hidden:?}");
    }
    assert_eq!(holder.stats("").unpinned_pages, 8);
}

#[test]
fn usage_errors() {
    for arguments in [
        &["purge"][..],
        &["purge", "--all", "--bytes", "1"],
        &["purge", "name", "--all"],
        &["purge", "--process", "1"],
        &["purge", "--bytes", "many"],
        &["stat"],
        &["ls", "name"],
    ] {
        let output = ashmem(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn forgeries_are_named_as_such() {
    let holder = Holder::start("forgeries");
    let lines = holder.lines(&[]);
    let broken: Vec<_> = lines.iter().filter(|(_, line)| line["trouble"].is_string()).collect();
    assert_eq!(broken.len(), 4, "{lines:?}");
    for (end, _) in broken {
        trouble(&ashmem(&["stat", &holder.place(end)]));
        trouble(&ashmem(&["purge", &holder.place(end)]));
    }
    assert_eq!(freed(&holder.ashmem(&["purge", "--all"])), 0, "they are no regions");
    assert_eq!(freed(&holder.ashmem(&["purge", "--bytes", "1M"])), 0);
}

#[test]
fn control_blocks_full_of_nonsense_do_no_harm() {
    let holder = Holder::start("garbage");
    let place = holder.place(".garbage");
    for _ in 0..5 {
        let line = holder.line(".garbage", &[]);
        assert_eq!(pages(&line["size"]), 5000);
        let sum: u64 = ["pinned", "unpinned", "purged"].iter().map(|key| pages(&line[key])).sum();
        assert!(line["trouble"].is_string() || sum == 5000, "{line}");
        for arguments in [&["stat", &place][..], &["stat", "--json", &place], &["purge", &place]] {
            let output = ashmem(arguments);
            assert!(matches!(output.status.code(), Some(0 | 2)), "{arguments:?}: {output:?}");
        }
        let output = holder.ashmem(&["purge", "--bytes", "1M"]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    }
}

#[test]
fn holders_that_do_not_keep_still() {
    let holder = Holder::start("restless");
    for _ in 0..20 {
        for options in [&["ls"][..], &["ls", "--json", "--all"]] {
            success(&holder.ashmem(options));
        }
        for (_, line) in holder.lines(&["--all"]) {
            let output = ashmem(&["stat", "--json", &place(&line)]);
            assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
        }
    }
    assert!(matches!(holder.ashmem(&["purge", "--all"]).status.code(), Some(0 | 1)));
}

#[test]
fn holders_that_end_meanwhile() {
    let ended = thread::scope(|scope| {
        let dying = scope.spawn(|| {
            for _ in 0..10 {
                let holder = Holder::start("states");
                thread::sleep(Duration::from_millis(10));
                drop(holder);
            }
        });
        while !dying.is_finished() {
            let list = json(&ashmem(&["ls", "--json", "--all"]));
            assert!(list["regions"].is_array());
        }
        dying.join()
    });
    ended.unwrap();
    // Who has ended holds nothing.
    let holder = Holder::start("one");
    let (process, place) = (holder.process(), holder.place(""));
    drop(holder);
    assert_eq!(success(&ashmem(&["ls", "--process", &process])), "There are no regions.\n");
    trouble(&ashmem(&["purge", &place]));
}

#[test]
fn nobody_may_be_reading() {
    let holder = Holder::start("states");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program()
        .args(["ls", "--process", &holder.process()])
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .status()
        .unwrap();
    assert!(status.success());
}
