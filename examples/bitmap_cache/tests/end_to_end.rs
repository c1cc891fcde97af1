//! The program as its users meet it, in several processes, some of which are killed or mean no good.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::SIBinder;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use bitmap_cache::{Bitmap, Client, Error, NAME, Refusal, Size};
use image::{DynamicImage, ImageReader, RgbaImage};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A directory with a folder of pictures and services that nobody else uses.
struct Place(TempDir);

impl Place {
    fn new(pictures: u32) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let count = format!("--count={pictures}");
        let made = place.run(&["samples", place.folder().to_str().unwrap(), &count, "--width", "100"]);
        assert!(made.status.success(), "{made:?}");
        place
    }

    fn folder(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap().join("pictures")
    }

    fn pictures(&self) -> Vec<PathBuf> {
        let mut pictures: Vec<_> =
            fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        pictures.sort();
        pictures
    }

    fn address(&self) -> String {
        format!("unix://{}/services", self.0.path().display())
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitmap_cache"));
        command.env("ASHMEM_BINDER", self.address()).env("TMPDIR", self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    /// A service, which can be found when this returns.
    fn serve(&self, arguments: &[&str]) -> Process {
        let mut command = self.program();
        command.arg("serve").arg("--until-input-ends").arg("--root").arg(self.folder()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut service = Process(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "bitmap_cache: ready\n");
        service
    }

    /// One that scrolls through the folder again and again.
    fn viewer(&self) -> Process {
        let mut command = self.program();
        command.arg("view").arg(self.folder()).args(["--script", "4000000000", "--size", "64x64"]);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn client(&self) -> Client {
        Client::connect(&ServiceManager::at(&self.address()).unwrap()).unwrap()
    }
}

/// Killed on drop.
struct Process(Child);

impl Process {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id() as i32).unwrap(), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn size(side: u32) -> Size {
    Size::new(side, side).unwrap()
}

/// The same work without a service.
fn decoded(path: &Path, size: Size) -> RgbaImage {
    let reader = ImageReader::open(path).unwrap().with_guessed_format().unwrap();
    let image = DynamicImage::from_decoder(reader.into_decoder().unwrap()).unwrap();
    let size = size.fit(image.width(), image.height());
    image.thumbnail_exact(size.width(), size.height()).into_rgba8()
}

fn right(bitmap: &Bitmap, path: &Path, asked: Size) {
    assert_eq!(bitmap.pixels().unwrap().to_image().unwrap(), decoded(path, asked), "{}", path.display());
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Numbers that look random, another sequence in each run.
fn random() -> impl FnMut(u64) -> u64 {
    let mut state = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// The bitmaps of a process as the kernel has them: how many descriptors it has of each, and bytes.
fn bitmaps(process: u32) -> BTreeMap<u64, (usize, u64)> {
    let mut found: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if let (true, Ok(status)) =
            (target.starts_with("/memfd:bitmap (deleted)"), fs::metadata(entry.path()))
        {
            let bitmap = found.entry(status.ino()).or_default();
            *bitmap = (bitmap.0 + 1, status.blocks() * 512);
        }
    }
    found
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// A child process that lives, of any thread.
fn child_of(process: u32) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: String = children.collect();
    children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child| !is_gone(*child))
}

fn is_gone(process: i32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn one_command_scrolls_through_a_folder_within_the_limit() {
    let place = Place::new(120);
    fs::write(place.folder().join("broken.png"), "no picture").unwrap();
    let (picture, plot) = (place.0.path().join("screen.svg"), place.0.path().join("memory.svg"));
    let mut command = place.program();
    command.arg("view").arg(place.folder()).args([
        "--script",
        "--limit=1536K",
        "--clients=1",
        "--size=48x48",
        "--json",
    ]);
    let output = command.arg("--picture").arg(&picture).arg("--plot").arg(&plot).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let service = &figures["service"];
    let number = |value: &Value| value.as_u64().unwrap();
    assert_eq!(number(&figures["pictures"]), 121);
    assert!(
        number(&figures["failed"]) > 0 && number(&figures["failed"]) < 10,
        "one on some screens: {figures}"
    );
    assert!(number(&service["most_resident_bytes"]) <= 1536 << 10, "{figures}");
    assert!(number(&service["decoded"]) >= 120 && number(&service["decoded_again"]) > 0, "{figures}");
    let svg = fs::read_to_string(picture).unwrap();
    assert!(svg.contains("sample 00070.jpg") && svg.matches('M').count() > 500);
    assert!(fs::read_to_string(plot).unwrap().contains("limit"));
    // Nothing is left: no process that serves, no file of ours.
    assert!(ServiceManager::at(&place.address()).unwrap().check_service(NAME).unwrap().is_none());
    let left: Vec<_> =
        fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| ["pictures", "services", "screen.svg", "memory.svg"].iter().any(|ours| name == ours)),
        "{left:?}"
    );
}

#[test]
fn one_bitmap_is_got_pixel_by_pixel() {
    let place = Place::new(8);
    let output = place.0.path().join("got.png");
    let got = |path: &Path| {
        let mut command = place.program();
        command.arg("get").arg(path).args(["--size", "70x50", "--output"]).arg(&output).output().unwrap()
    };
    for path in place.pictures() {
        let answer = got(&path);
        assert!(answer.status.success(), "{answer:?}");
        assert_eq!(image::open(&output).unwrap().into_rgba8(), decoded(&path, Size::new(70, 50).unwrap()));
    }
    // The last one is still there when the next fails.
    let broken = place.folder().join("broken.jpg");
    fs::write(&broken, [0xff, 0xd8, 0xff]).unwrap();
    let answer = got(&broken);
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stderr).starts_with("bitmap_cache: "));
    assert!(image::open(&output).is_ok());
    // Nor is there a file where none can be written.
    let unwritable =
        place.run(&["get", place.pictures()[1].to_str().unwrap(), "--output", "/dev/full/x.png"]);
    assert_eq!(unwritable.status.code(), Some(1), "{unwritable:?}");
}

#[test]
fn what_cannot_be_tried_is_said() {
    let place = Place::new(1);
    let folder = place.folder();
    let _service = place.serve(&[]);
    for (arguments, what) in [
        (&["view", "/nowhere", "--script"][..], "/nowhere"),
        (&["view", folder.to_str().unwrap()], "terminal"),
        (&["get", "/nowhere.png", "--output", "x.png"], "/nowhere.png"),
        (&["serve", "--root", "/nowhere"], "/nowhere"),
        (&["serve", "--root", folder.to_str().unwrap()], "taken"),
        (&["serve"], "--root"),
        (&["bench", "/proc/self"], "no PNG"),
        (&["samples", "/proc/nowhere"], "samples"),
        (&["view", "--size", "0x0", "/"], "0 x 0"),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(what), "{arguments:?}: {said}");
    }
    // Not below a folder of the service that there is.
    let other = place.0.path().join("other.png");
    fs::copy(&place.pictures()[0], &other).unwrap();
    let output = place.run(&["get", other.to_str().unwrap(), "--output", "x.png"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("outside"));
}

#[test]
fn clients_are_killed_at_any_moment_and_leave_nothing() {
    let place = Place::new(24);
    let service = place.serve(&["--limit", "2M", "--clients", "4"]);
    let client = place.client();
    let paths = place.pictures();
    // All there is to decode is decoded, so that what is counted below is the same before and after.
    for path in &paths {
        right(&client.bitmap(path, size(64)).unwrap(), path, size(64));
    }
    let stats = || client.stats().unwrap();
    let before = descriptors(service.id());
    let mut random = random();
    for round in 0..12 {
        let victim = place.viewer();
        if round % 3 == 0 {
            until("the viewer is a client", || stats().clients == 2);
        }
        std::thread::sleep(Duration::from_micros(random(30_000)));
        if round % 4 == 1 {
            // It stops reading first.
            victim.signal(Signal::STOP);
        }
        let path = &paths[random(paths.len() as u64) as usize];
        right(&client.bitmap(path, size(64)).unwrap(), path, size(64));
        victim.signal(Signal::KILL);
        drop(victim);
        until("the dead client is forgotten", || stats().clients == 1);
    }
    until("its descriptors are closed", || descriptors(service.id()) <= before);
    let there = bitmaps(service.id());
    assert_eq!(there.len() as u64, stats().bitmaps);
    assert_eq!(there.values().map(|(_, bytes)| bytes).sum::<u64>(), stats().resident_bytes);
    assert!(stats().most_resident_bytes <= 2 << 20);
}

#[test]
fn the_service_is_killed_at_any_moment() {
    let place = Place::new(12);
    let paths = place.pictures();
    let mut random = random();
    for _ in 0..5 {
        let service = place.serve(&["--limit", "1M"]);
        let client = place.client();
        let bitmap = client.bitmap(&paths[0], size(64)).unwrap();
        let pixels = bitmap.pixels().unwrap();
        let asker = {
            let (client, paths) = (client.clone(), paths.clone());
            std::thread::spawn(move || {
                for (round, path) in (0..).zip(paths.iter().cycle()) {
                    match client.bitmap(path, size(64 + round % 40)) {
                        Ok(bitmap) => drop(bitmap.pixels()),
                        Err(error) => return error,
                    }
                }
                unreachable!("there are pictures")
            })
        };
        std::thread::sleep(Duration::from_micros(random(20_000)));
        service.signal(Signal::KILL);
        let error = asker.join().unwrap();
        assert!(error.is_disconnected(), "{error}");
        // What is looked at stays, and who asks is told.
        assert_eq!(pixels.to_image().unwrap(), decoded(&paths[0], size(64)));
        assert!(client.bitmap(&paths[1], size(64)).unwrap_err().is_disconnected());
        assert!(matches!(client.stats(), Err(Error::Binder { .. })));
    }
    // A viewer starts another one.
    let viewer = place.viewer();
    let mut last = None;
    for _ in 0..3 {
        until("the viewer has a service", || child_of(viewer.id()).is_some_and(|child| Some(child) != last));
        last = child_of(viewer.id());
        until("it can be found", || {
            let services = ServiceManager::at(&place.address()).unwrap();
            services.check_service(NAME).is_ok_and(|service| service.is_some())
        });
        kill_process(Pid::from_raw(last.unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    until("and another one", || child_of(viewer.id()).is_some_and(|child| Some(child) != last));
    // The service ends with its viewer.
    let last = child_of(viewer.id()).unwrap();
    drop(viewer);
    until("the service has ended", || is_gone(last));
}

/// The kernel ends a service that makes memory larger than files may be (`SIGXFSZ`).
#[test]
fn pictures_that_end_the_service_are_given_up() {
    let place = Place::new(2);
    let mut command = Command::new("sh");
    command.env("ASHMEM_BINDER", place.address()).env("TMPDIR", place.0.path()).stdin(Stdio::null());
    command.args(["-c", "ulimit -f 1 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_bitmap_cache"), "view"]);
    let output = command.arg(place.folder()).args(["--script", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((figures["shown"].as_u64(), figures["pictures"].as_u64()), (Some(0), Some(2)), "{figures}");
}

#[test]
fn clients_that_mean_no_good_disturb_nobody() {
    let place = Place::new(24);
    let service = place.serve(&["--limit", "1M", "--clients", "6", "--largest", "1"]);
    let paths = place.pictures();
    let (hog, client) = (place.client(), place.client());
    // It keeps all that it gets, and leases it.
    let mut kept = Vec::new();
    for path in &paths {
        match hog.bitmap(path, size(64)) {
            Ok(bitmap) => kept.push(bitmap),
            Err(error) => assert_eq!(error.refusal(), Some(Refusal::Quota), "{error}"),
        }
    }
    assert!(!kept.is_empty() && kept.len() < paths.len());
    let _leases: Vec<_> = kept.iter().map(|bitmap| bitmap.pixels().unwrap()).collect();
    // Files of all kinds, from several threads.
    let huge = place.folder().join("huge.png");
    image::GrayImage::new(1100, 1000).save(&huge).unwrap();
    let broken = place.folder().join("broken.jpg");
    fs::write(&broken, &fs::read(&paths[0]).unwrap()[..700]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (hog, place, huge, broken) = (&hog, &place, &huge, &broken);
            scope.spawn(move || {
                for round in 0..30 {
                    let path = match (thread + round) % 4 {
                        0 => huge.clone(),
                        1 => place.folder(),
                        2 => PathBuf::from("/dev/zero"),
                        _ => broken.clone(),
                    };
                    assert!(hog.bitmap(path, size(64)).unwrap_err().refusal().is_some());
                }
            });
        }
        // Parcels that are none of the protocol's.
        scope.spawn(|| {
            let binder = ServiceManager::at(&place.address()).unwrap().get_service(NAME).unwrap();
            rubbish(&binder);
        });
        for path in paths.iter().cycle().take(60) {
            right(&client.bitmap(path, size(64)).unwrap(), path, size(64));
        }
    });
    assert!(client.stats().unwrap().most_resident_bytes <= 1 << 20);
    let in_use: u64 = bitmaps(service.id()).values().map(|(_, bytes)| bytes).sum();
    assert!(in_use <= 1 << 20, "{in_use}");
}

/// Sends what no client sends.
fn rubbish(binder: &SIBinder) {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().unwrap();
    let session: SIBinder = {
        let request = proxy.build_request("ashmem.example.IBitmapCache").unwrap();
        let mut reply = proxy.transact(1, &request, 0).unwrap().unwrap();
        assert_eq!(reply.read::<i32>().unwrap(), 0);
        reply.read().unwrap()
    };
    let session = session.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut random = random();
    for round in 0..200 {
        for (proxy, interface) in
            [(proxy, "ashmem.example.IBitmapCache"), (session, "ashmem.example.IBitmapSession")]
        {
            let interface = if round % 5 == 0 { "another" } else { interface };
            let mut request = proxy.build_request(interface).unwrap();
            for _ in 0..random(12) {
                let word = [random(1 << 32) as i32, random(300) as i32 - 5, -1, i32::MAX][random(4) as usize];
                request.write(&word).unwrap();
            }
            let mut reply = match proxy.transact(1 + random(3) as u32, &request, 0) {
                Ok(reply) => reply.unwrap(),
                Err(_) => continue,
            };
            // Stats, or a refusal.
            let _ = reply.read::<i32>();
        }
    }
}
