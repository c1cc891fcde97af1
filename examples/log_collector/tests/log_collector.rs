//! The program as its users meet it: apps and collectors that are killed, full disks, hostile apps, and the commands.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../src/command/script.rs"]
#[allow(dead_code, reason = "the program uses the rest")]
mod script;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ashmem::{Mapping, Region};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use script::{COUNTS, Tally, count_at};

const DEADLINE: Duration = Duration::from_secs(60);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_log_collector"));
    command.stdin(Stdio::null());
    command
}

/// Killed and waited for at the end of the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn collector(directory: &Path, arguments: &[&str]) -> Process {
    let child = program().arg("collect").arg(directory).args(arguments).stderr(Stdio::null()).spawn();
    Process(child.unwrap())
}

/// An app, and the counts of its threads.
struct App {
    process: Process,
    counts: Mapping,
}

fn app(directory: &Path, threads: u64, arguments: &[&str]) -> App {
    let region = Region::create("counts", COUNTS).unwrap();
    let counts = region.map().unwrap();
    let stdin: OwnedFd = region.as_fd().try_clone_to_owned().unwrap();
    let mut command = program();
    command.arg("worker").arg(directory).arg(format!("--threads={threads}")).args(arguments);
    App { process: Process(command.stdin(stdin).spawn().unwrap()), counts }
}

impl App {
    fn id(&self) -> u32 {
        self.process.0.id()
    }

    fn count(&self, thread: u64) -> u64 {
        self.counts.load_u64(count_at(thread)).unwrap()
    }

    fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

/// Waits for something that happens sooner or later.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn show(directory: &Path, arguments: &[&str]) -> Output {
    program().arg("show").arg(directory).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
    paths.sort();
    paths
}

/// Numbers that look random, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *state >> 33
}

#[test]
fn apps_and_collectors_are_killed_at_any_moment_and_no_record_is_lost_or_doubled() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    let mut state = 42;
    let sizes = ["--segment-size=20K", "--segments=10000", "--interval=1ms"];
    let mut collecting = collector(&directory, &sizes);
    let mut apps: Vec<App> = Vec::new();
    let arguments = ["--records=1000000", "--lane-size=65536"];
    let mut ended: Vec<(u32, [u64; 2])> = Vec::new();
    for _ in 0..12 {
        apps.push(app(&directory, 2, &arguments));
        let last = apps.last().unwrap();
        // Until it has logged some more or less random number of records, which only a collector makes possible: in a lane there is not
        // room for so many.
        let some = 2000 + random(&mut state) % 3000;
        eventually("the app logs", || (last.count(1) >= some).then_some(()));
        if random(&mut state) % 2 == 0 {
            drop(collecting);
            collecting = collector(&directory, &sizes);
            // Who is killed before another has the memory takes it along.
            let before: Vec<u64> = apps.iter().map(|app| app.count(0)).collect();
            eventually("a collector takes over", || {
                apps.iter().zip(&before).all(|(app, before)| app.count(0) > before + 2000).then_some(())
            });
        }
        if apps.len() > 2 {
            let mut victim = apps.remove((random(&mut state) % 3) as usize);
            victim.kill();
            ended.push((victim.id(), [victim.count(0), victim.count(1)]));
        }
    }
    for mut app in apps {
        app.kill();
        ended.push((app.id(), [app.count(0), app.count(1)]));
    }
    let missing = |tally: &Tally| {
        ended
            .iter()
            .any(|(id, counts)| (0..2).any(|thread| tally.count(*id, thread) < counts[thread as usize]))
    };
    let tally = eventually("all records are in the log", || {
        let tally = Tally::read(&directory).ok()?;
        (!missing(&tally)).then_some(tally)
    });
    assert_eq!(tally.wrong, None);
    assert!(tally.others.is_empty(), "{:?}", tally.others);
    for (id, counts) in &ended {
        for thread in 0..2 {
            let (found, counted) = (tally.count(*id, thread), counts[thread as usize]);
            assert!(
                found == counted || found == counted + 1,
                "thread {thread} of {id}: {found}, not {counted}"
            );
        }
    }
    assert!(segments(&directory).len() > 1);

    // Nothing is left of the apps.
    let id = collecting.0.id();
    let descriptors = || fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    eventually("the regions are let go", || {
        let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
        (!maps.contains("log lanes")).then_some(())
    });
    let mut last = app(&directory, 1, &["--records=10"]);
    let fresh = kept.path().join("fresh");
    let other = collector(&fresh, &sizes);
    let fresh_app = app(&fresh, 1, &["--records=10"]).process.0.wait().unwrap();
    assert!(last.process.0.wait().unwrap().success() && fresh_app.success());
    eventually("descriptors are closed", || {
        let others = fs::read_dir(format!("/proc/{}/fd", other.0.id())).unwrap().count();
        (descriptors() == others).then_some(())
    });
}

#[test]
fn an_app_goes_on_without_a_collector_and_a_later_one_finds_what_is_there() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    let mut app = app(&directory, 3, &["--records=500"]);
    eventually("all is logged", || (0..3).all(|thread| app.count(thread) == 500).then_some(()));
    assert!(!directory.exists());
    let _collector = collector(&directory, &[]);
    assert!(app.process.0.wait().unwrap().success());
    let tally = Tally::read(&directory).unwrap();
    assert_eq!((tally.wrong, tally.others.len()), (None, 0));
    for thread in 0..3 {
        assert_eq!(tally.counts.get(&(app.process.0.id(), script::tag(thread))), Some(&500));
    }
}

#[test]
fn a_full_disk_costs_no_record_that_finds_room() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    // No file beyond 16 KiB, which is an error in place of a signal.
    let script = "trap '' XFSZ; ulimit -S -f 16; exec \"$0\" \"$@\"";
    let mut command = Command::new("bash");
    command.arg0("bash").args(["-c", script, env!("CARGO_BIN_EXE_log_collector"), "collect"]).arg(&directory);
    let errors = kept.path().join("errors");
    let mut collecting = Process(
        command
            .arg("--interval=1ms")
            .stdin(Stdio::null())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap(),
    );
    let app_ = app(&directory, 2, &["--records=20000", "--lane-size=131072"]);
    eventually("the disk is full", || {
        fs::read_to_string(&errors).unwrap().contains("File too large").then_some(())
    });
    // What is there can be read, and is whole.
    assert!(show(&directory, &[]).status.success());
    let limit = Rlimit { current: None, maximum: None };
    let pid = Pid::from_raw(i32::try_from(collecting.0.id()).unwrap()).unwrap();
    let hard =
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(16 << 10), ..limit }).unwrap().maximum;
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    let App { mut process, .. } = app_;
    assert!(process.0.wait().unwrap().success());
    let tally = Tally::read(&directory).unwrap();
    assert_eq!((tally.wrong, tally.others.len()), (None, 0));
    for thread in 0..2 {
        assert_eq!(tally.counts.get(&(process.0.id(), script::tag(thread))), Some(&20_000));
    }
    assert!(collecting.0.try_wait().unwrap().is_none());
}

#[test]
fn a_collector_without_descriptors_turns_nobody_away() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    let errors = kept.path().join("errors");
    let collecting = program().arg("collect").arg(&directory).stderr(File::create(&errors).unwrap()).spawn();
    let collecting = Process(collecting.unwrap());
    let id = collecting.0.id();
    assert!(app(&directory, 1, &["--records=10"]).process.0.wait().unwrap().success());
    eventually("the region is let go", || {
        let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
        (!maps.contains("log lanes")).then_some(())
    });
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = |current| prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
    // One for the connection and none for what comes along, or none for the log's next file.
    for free in [1, 4] {
        File::create(&errors).unwrap();
        let before = limit(Some(open + free));
        let mut app = app(&directory, 1, &["--records=10"]);
        eventually("the collector has no descriptor for it", || {
            let is_told = fs::read_to_string(&errors).unwrap().contains("Too many open files");
            (is_told || app.process.0.try_wait().unwrap().is_some()).then_some(())
        });
        limit(before.current);
        assert!(app.process.0.wait().unwrap().success());
    }
}

#[test]
fn what_was_written_is_shown_as_it_was_asked_for() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    let _collector = collector(&directory, &["--interval=1ms"]);
    let text = kept.path().join("lines");
    fs::write(&text, b"one\ntwo\n\n\xffthree").unwrap();
    let write = |tag: &str, level: &str| {
        let mut command = program();
        command.arg("write").arg(&directory).arg(&text).args(["--tag", tag, "--level", level]);
        assert!(command.status().unwrap().success());
    };
    write("net", "W");
    write("disk", "e");
    let all = lines(&show(&directory, &[]));
    assert_eq!(all.len(), 8, "{all:?}");
    let ends: Vec<&str> = all.iter().map(|line| line.split_once(['W', 'E']).unwrap().1).collect();
    assert_eq!(ends[..4], [" net: one", " net: two", " net: ", " net: \u{fffd}three"]);
    let count = |arguments: &[&str]| lines(&show(&directory, arguments)).len();
    assert_eq!(count(&["--level", "E"]), 4);
    assert_eq!(count(&["--tag", "net"]), 4);
    assert_eq!(count(&["--tag", "net", "--tag", "disk", "--search", "three"]), 2);
    assert_eq!(count(&["--search", "four"]), 0);
    assert_eq!((count(&["--since", "1h"]), count(&["--since", "2200-01-01 00:00:00"])), (8, 0));
    let json = lines(&show(&directory, &["--json", "--tag", "disk"]));
    let record: serde_json::Value = serde_json::from_str(&json[1]).unwrap();
    assert_eq!((&record["message"], &record["level"]), (&"two".into(), &"error".into()));
    for wrong in [&["--level", "X"][..], &["--since", "yesterday"]] {
        assert_eq!(show(&directory, wrong).status.code(), Some(2));
    }
    assert_eq!(show(&kept.path().join("nothing"), &[]).status.code(), Some(2));

    let used = program().arg("collect").arg(&directory).output().unwrap();
    assert_eq!(used.status.code(), Some(2));
    assert!(String::from_utf8(used.stderr).unwrap().contains("another collector"));
}

#[test]
fn a_broken_file_is_named_and_the_rest_is_shown() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path().join("log");
    {
        let _collector = collector(&directory, &["--segment-size=1", "--interval=1ms"]);
        for text in ["first\n", "second\n", "third\n"] {
            let mut child = program().arg("write").arg(&directory).stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
        }
    }
    let paths = segments(&directory);
    assert_eq!(paths.len(), 3);
    let file = OpenOptions::new().read(true).write(true).open(&paths[1]).unwrap();
    let len = file.metadata().unwrap().len();
    file.write_all_at(&[0xAA], len - 1).unwrap();
    let output = show(&directory, &[]);
    assert_eq!(output.status.code(), Some(1));
    let shown = lines(&output);
    assert!(shown.len() == 2 && shown[0].ends_with("first") && shown[1].ends_with("third"), "{shown:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("log.00000002.zst is damaged at byte 0"));

    // A pipe of such a name is no file, and keeps nobody waiting.
    let pipe = directory.join("log.00000004.zst");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(lines(&show(&directory, &[])).len(), 2);
    fs::remove_file(&pipe).unwrap();

    // What was half written when the collector was killed is cut off.
    let newest = OpenOptions::new().write(true).open(&paths[2]).unwrap();
    let whole = newest.metadata().unwrap().len();
    newest.write_all_at(&[0x5C, 0x2A, 0x4D], whole).unwrap();
    let _collector = collector(&directory, &[]);
    eventually("it is cut off", || (newest.metadata().unwrap().len() == whole).then_some(()));
}

#[test]
fn the_demo_finds_every_record_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let output =
        program().args(["demo", "--records=20000"]).env("TMPDIR", temporary.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(lines(&output).last().unwrap().contains("Every record is there"), "{output:?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["demo", "--records=100000000"]).env("TMPDIR", temporary.path());
    let mut demo = Process(command.stdout(Stdio::null()).spawn().unwrap());
    let is_empty = || fs::read_dir(temporary.path()).unwrap().count() == 0;
    eventually("the demo begins", || (!is_empty()).then_some(()));
    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1));
    assert!(is_empty());
}

#[test]
fn the_benchmark_measures_and_draws() {
    let kept = tempfile::tempdir().unwrap();
    let plot = kept.path().join("figure.svg");
    let mut command = program();
    command.args(["bench", "--rounds=1", "--records=16000", "--json", "--plot"]).arg(&plot);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["figures"].as_array().unwrap().len(), &report["end_to_end"]["records"]),
        (6, &32_000.into())
    );
    let svg = fs::read_to_string(plot).unwrap();
    assert!(svg.matches("<rect").count() == 6 && svg.ends_with("</svg>\n"), "{svg}");
}
