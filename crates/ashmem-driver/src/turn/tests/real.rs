//! The loop in a thread, over the limits of this system.
//!
//! A memory cgroup needs permission to make one below the test's own; says so and passes where there is none. The processes in it are
//! this test binary again, running the ignored test `member`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use ashmem::pressure::{BUFFER_SIZE, Membership};

use super::*;

const LIMIT: u64 = 128 * MIB;
/// Four fifths and three fifths of the limit.
const CACHE: u64 = 100 * MIB;
const NEIGHBOUR: u64 = 76 * MIB;
const REGION: u64 = 4 * MIB;

/// How many milliseconds the neighbour waits at the limit, in all, before it goes on: on a busy machine the loop may not have run yet.
const PATIENCE: u32 = 5000;

const ROLE: &str = "ASHMEM_TEST_ROLE";
const CGROUP: &str = "ASHMEM_TEST_CGROUP";

/// What a daemon would have.
struct Fixed {
    served: Mutex<Vec<Served>>,
    policy: Arc<Policy>,
    reclaimer: Reclaimer,
    wake: OwnedFd,
    is_stopping: AtomicBool,
    noted: Mutex<(Vec<snapshot::Limit>, Counts)>,
    thread: AtomicU64,
}

impl Fixed {
    fn new(served: Vec<Served>) -> Fixed {
        Fixed {
            served: Mutex::new(served),
            policy: Arc::default(),
            reclaimer: Reclaimer::builder().without_thread().build(),
            wake: wake(),
            is_stopping: AtomicBool::new(false),
            noted: Mutex::default(),
            thread: AtomicU64::new(0),
        }
    }

    /// Runs the loop in a thread while `action` runs.
    fn with<T>(&self, action: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let thread = rustix::thread::gettid().as_raw_nonzero().get();
                self.thread.store(thread as u64, Ordering::SeqCst);
                run(self);
            });
            let _stop = Stop(self);
            action()
        })
    }
}

struct Stop<'a>(&'a Fixed);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        ring(&self.0.wake);
    }
}

impl Host for Fixed {
    fn served(&self) -> Vec<Served> {
        self.served.lock().expect("not poisoned").clone()
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.clone()
    }

    fn reclaimer(&self) -> &Reclaimer {
        &self.reclaimer
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn note(&self, limits: Vec<snapshot::Limit>, counts: Counts) {
        *self.noted.lock().expect("not poisoned") = (limits, counts);
    }
}

#[test]
fn the_loop_follows_what_it_is_told() {
    let host = Fixed::new(Vec::new());
    let eventually = |what: &str, is_done: &dyn Fn() -> bool| {
        for _ in 0..10_000 {
            if is_done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("never: {what}");
    };
    let noted = || host.noted.lock().expect("not poisoned").clone();
    host.with(|| {
        let mut scene = Scene::new();
        let _region = scene.region(&[std::process::id()], MIB);
        host.served.lock().expect("not poisoned").append(&mut scene.served);
        ring(&host.wake);
        eventually("it looks", &|| noted().1.looks > 0 && !noted().0.is_empty());
        assert_eq!((noted().0[0].name.as_str(), noted().0[0].regions), ("system", 1));
        host.served.lock().expect("not poisoned").clear();
        ring(&host.wake);
        eventually("it forgets", &|| noted().0.is_empty());
    });
}

/// A memory cgroup with a limit and two cgroups in it, removed on drop.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Cgroup, String> {
        let proc = Proc::default();
        let own = proc.cgroups_of(None, &mut vec![0; BUFFER_SIZE]).ok_or("no /proc/self/cgroup")?;
        let found = Membership::find(&own, &proc.mounts());
        let has_usage = |directory: &Path| directory.join("memory.usage_in_bytes").exists();
        let parent = found.directories.iter().find(|directory| has_usage(&directory.path));
        let parent = &parent.ok_or("this process is in no memory cgroup v1")?.path;
        let path = parent.join(format!("ashmem-driver-test-{}", std::process::id()));
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir(&path).map_err(failed)?;
        let cgroup = Cgroup(path.clone());
        for part in ["cache", "neighbour"] {
            fs::create_dir(path.join(part)).map_err(failed)?;
            // Without swap, as far as the kernel lets us: pages in swap are no longer in the way.
            let _ = fs::write(path.join(part).join("memory.swappiness"), "0");
        }
        fs::write(path.join("memory.limit_in_bytes"), LIMIT.to_string()).map_err(failed)?;
        Ok(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let parts = ["cache", "neighbour", ""];
        // A process that was just killed may still be leaving.
        for _ in 0..100 {
            if parts.iter().fold(false, |_, part| fs::remove_dir(self.0.join(part)).is_ok()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("left behind: {}", self.0.display());
    }
}

/// A process in one of the two.
struct Member {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn start(cgroup: &Cgroup, role: &str) -> Member {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "turn::tests::real::member", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(CGROUP, &cgroup.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Member { child, output }
    }

    /// Waits for a line with `word` and returns the rest of it; `None` when the process ends before.
    fn hear(&mut self, word: &str) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("a pipe") > 0 {
            if let Some(at) = line.find(word) {
                return Some(line[at + word.len()..].trim().to_owned());
            }
            line.clear();
        }
        None
    }

    fn go_on(&mut self) {
        // Fails when it was killed, which is seen at the end.
        let _ = self.child.stdin.as_mut().expect("piped").write_all(b"x\n");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("a pipe");
}

/// Waits until the other side says something or goes away.
fn pause() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn member() {
    let (Ok(role), Ok(cgroup)) = (std::env::var(ROLE), std::env::var(CGROUP)) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let cgroup = Path::new(&cgroup);
    fs::write(cgroup.join(&role).join("cgroup.procs"), std::process::id().to_string()).expect("joined");
    if role == "neighbour" {
        let used = || -> u64 {
            let text = fs::read_to_string(cgroup.join("memory.usage_in_bytes")).expect("there");
            text.trim().parse().expect("a number")
        };
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        let mut patience = PATIENCE;
        say("ready");
        pause();
        for _ in 0..NEIGHBOUR / MIB {
            while patience > 0 && used() > LIMIT - 4 * MIB {
                std::thread::sleep(Duration::from_millis(1));
                patience -= 1;
            }
            hoard.push(vec![1; MIB as usize]);
        }
        say("filled");
        pause();
        return;
    }
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let regions: Vec<Region> =
        (0..CACHE / REGION).map(|_| options.create("cache", REGION).expect("made")).collect();
    for region in &regions {
        region.map().expect("mapped").fill(0, REGION, 7).expect("inside");
        region.unpin(..).expect("unpinned");
    }
    let numbers = regions.iter().map(|region| std::os::fd::AsRawFd::as_raw_fd(&region.as_fd()).to_string());
    say(&format!("regions {}", numbers.collect::<Vec<_>>().join(" ")));
    pause();
    let purged = regions.iter().map(|region| region.pin(..).expect("pinned").is_purged());
    let purged: String = purged.map(|purged| if purged { 'p' } else { 'i' }).collect();
    say(&format!("purged {purged}"));
    pause();
}

/// The regions that a process says it has.
fn adopt(member: &mut Member) -> Vec<Served> {
    let process = member.child.id();
    let numbers = member.hear("regions").expect("the cache alone fits below the limit");
    let served = |number: &str| {
        let path = format!("/proc/{process}/fd/{number}");
        let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("opened");
        Served { region: Region::adopt(file.into()).expect("a region"), processes: vec![process] }
    };
    numbers.split(' ').map(served).collect()
}

#[test]
fn a_cache_gives_way_to_a_neighbour_in_another_cgroup_below_the_same_limit() {
    let cgroup = match Cgroup::make() {
        Ok(cgroup) => cgroup,
        Err(reason) => {
            println!("SKIPPED: cannot make a memory cgroup: {reason}");
            return;
        }
    };
    for _ in 0..3 {
        let mut cache = Member::start(&cgroup, "cache");
        let host = Fixed::new(adopt(&mut cache));
        let (filled, report) = host.with(|| {
            let mut neighbour = Member::start(&cgroup, "neighbour");
            assert!(neighbour.hear("ready").is_some());
            neighbour.go_on();
            let filled = neighbour.hear("filled").is_some();
            cache.go_on();
            (filled, cache.hear("purged"))
        });
        assert!(filled, "the neighbour was killed");
        let report = report.expect("the cache lives");
        let gone = report.chars().take_while(|&state| state == 'p').count();
        assert!(report.chars().skip(gone).all(|state| state == 'i'), "not the oldest first: {report}");
        assert!(gone as u64 * REGION >= CACHE + NEIGHBOUR - LIMIT, "{report}");
        let (limits, counts) = host.noted.lock().expect("not poisoned").clone();
        let name = cgroup.0.display().to_string();
        let limit = limits.iter().find(|limit| limit.name == name).expect("the limit is known");
        assert_eq!((limit.limit, limit.regions), (LIMIT, CACHE / REGION));
        assert_eq!(host.reclaimer.metrics().freed_bytes, gone as u64 * REGION);
        println!("{report}, {counts:?}");
    }
}

/// Times that a thread went to sleep.
fn sleeps(thread: u64) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a count").trim().parse().expect("a number")
}

/// Processor time of this thread.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn wake_ups(host: &Fixed, seconds: u64) -> u64 {
    let before = sleeps(host.thread.load(Ordering::SeqCst));
    std::thread::sleep(Duration::from_secs(seconds));
    sleeps(host.thread.load(Ordering::SeqCst)) - before
}

#[test]
#[ignore = "takes half a minute, and prints figures"]
fn figures() {
    let host = Fixed::new(Vec::new());
    host.with(|| {
        while host.thread.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(100));
        println!("wake-ups in 10 s while nothing is registered: {}", wake_ups(&host, 10));
        let mut scene = Scene::new();
        let _regions: Vec<Region> =
            (0..100).map(|_| scene.region(&[std::process::id()], page_size())).collect();
        host.served.lock().expect("not poisoned").append(&mut scene.served);
        ring(&host.wake);
        std::thread::sleep(Duration::from_millis(500));
        println!("wake-ups in 20 s, 100 regions are registered: {}", wake_ups(&host, 20));
        println!("{:?}", host.noted.lock().expect("not poisoned"));
    });

    // Half of the descriptors are the regions' own.
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
            maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        },
    );
    const MANY: usize = 9_000;
    let mut scene = Scene::new();
    let regions: Vec<Region> =
        (0..MANY).map(|number| scene.region(&[number as u32 % 100], page_size())).collect();
    for process in 0..100 {
        scene.fake.process(process, &format!("c{}", process % 10));
        scene.fake.v2(&format!("c{}", process % 10), &(32u64 << 30).to_string(), 0);
    }
    let measured = |what: &str, scene: &mut Scene| {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                scene.clock.advance(100);
                let before = spent();
                let served = scene.served.clone();
                scene.turn.look(&served, &scene.policy, &|| false);
                spent() - before
            })
            .collect();
        times.sort_unstable();
        println!("{what}, {MANY} regions: {:?} of the processor", times[4]);
    };
    measured("a look far from ten limits", &mut scene);
    scene.policy.budget = Some(1 << 40);
    measured("counting for a budget", &mut scene);
    scene.policy.budget = None;
    for region in &regions {
        let _ = region.pin(..).expect("pinned");
    }
    scene.fake.available(0);
    let mut times = Vec::new();
    for _ in 0..9 {
        scene.clock.advance(1000);
        let before = spent();
        scene.look();
        times.push(spent() - before);
    }
    times.sort_unstable();
    println!("a look that is short, with nothing to take, {MANY} regions: {:?} of the processor", times[4]);
}
