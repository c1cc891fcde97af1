//! A daemon in a process of its own, and clients that say what they like.
//!
//! The daemon is the test binary again, running its ignored test `daemon`, which calls [`serve`]. It obeys lines on its standard
//! input, and answers each with one.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ashmem::driver::protocol::{Question, Reply, Request, VERSION};
use ashmem::driver::socket::{self, Packet};
use ashmem::{Reclaimer, Region, RegionOptions};
use ashmem_driver::{Audience, Driver, Listener, Policy, Quota, Snapshot};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tempfile::TempDir;

const SOCKET: &str = "ASHMEM_TEST_DRIVER";
const DESCRIPTORS: &str = "ASHMEM_TEST_DESCRIPTORS";

/// No test gets there; it only ends those that fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon for everyone.
pub struct Daemon {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub path: PathBuf,
}

impl Daemon {
    pub fn start(path: &Path) -> Daemon {
        Daemon::with_descriptors(path, None)
    }

    /// With so many descriptors at most.
    pub fn with_descriptors(path: &Path, most: Option<u64>) -> Daemon {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "daemon", "--ignored", "--nocapture", "--test-threads=1"]).env(SOCKET, path);
        if let Some(most) = most {
            command.env(DESCRIPTORS, most.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let commands = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut daemon = Daemon { child, commands, answers, path: path.to_owned() };
        assert_eq!(daemon.answer(), "ready");
        daemon
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that is meant for us.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).expect("read") > 0, "the daemon has gone");
            if let Some((_, answer)) = line.trim_end().split_once("daemon: ") {
                return answer.to_owned();
            }
        }
    }

    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").expect("written");
        self.answer()
    }

    /// Takes pages away, and says how many bytes that freed.
    pub fn reclaim(&mut self, bytes: u64) -> u64 {
        self.tell(&format!("reclaim {bytes}")).parse().expect("a number")
    }

    pub fn set_quota(&mut self, quota: &Quota) {
        let Quota { regions, connections, size } = quota;
        self.tell(&format!("quota {regions} {connections} {}", size.unwrap_or(0)));
    }

    /// Its descriptors, but for those through which it watches the system.
    pub fn descriptors(&self) -> usize {
        let own = |link: &Path| ["/proc", "/sys"].iter().any(|own| link.starts_with(own));
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("a process");
        let links = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| !own(link) && !link.to_string_lossy().starts_with("anon_inode:")).count()
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("a process").count()
    }

    /// Waits until it has so many descriptors again.
    pub fn settle(&self, descriptors: usize) {
        until(|| self.descriptors() == descriptors, || format!("{} descriptors", self.descriptors()));
    }

    /// A field of `/proc/PID/status`, in KiB.
    pub fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
    }

    /// Has it do nothing meanwhile.
    pub fn while_stopped(&self, act: impl FnOnce()) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::STOP).expect("stopped");
        // Its threads stop one after the other.
        rustix::process::waitpid(Some(process), rustix::process::WaitOptions::UNTRACED).expect("a child");
        act();
        rustix::process::kill_process(process, rustix::process::Signal::CONT).expect("goes on");
    }

    /// Ends it as it should end.
    pub fn stop(mut self) {
        assert_eq!(self.tell("stop"), "stopped");
        self.child.wait().expect("a child");
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a child");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that comes soon.
pub fn until(mut is_so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "{}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the daemon's process does.
pub fn serve() {
    let Some(path) = std::env::var_os(SOCKET).map(PathBuf::from) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if let Some(most) = std::env::var(DESCRIPTORS).ok().and_then(|most| most.parse().ok()) {
        let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("lowered");
    }
    let listener = Listener::bind(&path, Audience::Everyone).expect("a listener");
    let driver = Driver::start(listener, Policy::default()).expect("a daemon");
    say("ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("read");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match words.as_slice() {
            ["reclaim", bytes] => say(&driver.reclaim(number(bytes)).bytes.to_string()),
            ["quota", regions, connections, size] => {
                let size = Some(number(size)).filter(|size| *size > 0);
                let quota = Quota { regions: number(regions), connections: number(connections), size };
                driver.reload(Policy { quota, ..Policy::default() });
                say("done");
            }
            ["stop"] => {
                driver.stop();
                return say("stopped");
            }
            _ => panic!("{line}"),
        }
    }
}

fn say(line: &str) {
    println!("daemon: {line}");
    std::io::stdout().flush().expect("written");
}

/// A directory with a place for a socket, which other users reach.
pub fn place() -> (TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = dir.path().join("ashmem/driver");
    (dir, path)
}

/// One connection.
pub struct Client {
    pub socket: OwnedFd,
}

impl Client {
    pub fn connect(path: &Path) -> Client {
        Client { socket: socket::connect(path).expect("connected") }
    }

    /// As another user, for who is root.
    pub fn connect_as(path: &Path, user: u32) -> Client {
        let (user, root) = (rustix::process::Uid::from_raw(user), rustix::process::Uid::ROOT);
        // Of this thread alone.
        rustix::thread::set_thread_res_uid(root, user, root).expect("somebody else");
        let client = Client::connect(path);
        rustix::thread::set_thread_res_uid(root, root, root).expect("root again");
        client
    }

    /// One that has been greeted.
    pub fn greeted(path: &Path) -> Client {
        Client::connect(path).greet()
    }

    pub fn greeted_as(path: &Path, user: u32) -> Client {
        Client::connect_as(path, user).greet()
    }

    fn greet(self) -> Client {
        let client = self;
        client.say(&Request::Hello { version: VERSION });
        let reply = client.hear();
        assert!(matches!(reply, Reply::Welcome { version: VERSION, .. }), "{reply:?}");
        client
    }

    pub fn say(&self, request: &Request) {
        self.send(&request.encode(), &[]);
    }

    /// Waits while the daemon is behind.
    pub fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
        self.try_send(packet, descriptors).expect("sent");
    }

    pub fn try_send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        loop {
            match socket::send(&self.socket, packet, descriptors) {
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => std::thread::sleep(Duration::from_millis(1)),
                sent => return sent,
            }
        }
    }

    pub fn register(&self, id: u64, file: impl AsFd) {
        self.send(&Request::Register(vec![id]).encode(), &[file.as_fd()]);
    }

    /// The next packet, or none at the end.
    pub fn packet(&self) -> Option<Packet> {
        let time = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        assert_eq!(poll(&mut polled, Some(&time)), Ok(1), "the daemon says nothing");
        match socket::receive(&self.socket) {
            Ok(packet) => packet,
            Err(Errno::CONNRESET) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn hear(&self) -> Reply {
        let packet = self.packet().expect("the daemon has ended the connection");
        Reply::decode(&packet.bytes).expect("a reply")
    }

    /// What the daemon says until it has done everything that was said so far.
    pub fn settle(&self) -> Vec<Reply> {
        self.say(&Request::Ping(77));
        std::iter::from_fn(|| Some(self.hear()).filter(|reply| *reply != Reply::Pong(77))).collect()
    }

    pub fn is_ended(&self) -> bool {
        loop {
            match socket::receive(&self.socket) {
                Err(Errno::AGAIN) => return false,
                Ok(None) | Err(_) => return true,
                Ok(Some(_)) => {}
            }
        }
    }

    pub fn expect_end(&self) {
        while let Some(packet) = self.packet() {
            assert!(Reply::decode(&packet.bytes).is_some());
        }
    }

    pub fn ask(&self, question: Question) -> String {
        loop {
            self.say(&Request::Ask(question));
            let packet = loop {
                let packet = self.packet().expect("an answer");
                if !matches!(Reply::decode(&packet.bytes), Some(Reply::Purged { .. })) {
                    break packet;
                }
            };
            match Reply::decode(&packet.bytes).expect("a reply") {
                Reply::Answer(length) => {
                    let file = packet.descriptors.into_iter().next().expect("a document");
                    let mut text = String::new();
                    let mut file = File::from(file);
                    std::io::Seek::rewind(&mut file).expect("rewound");
                    file.read_to_string(&mut text).expect("text");
                    assert_eq!(text.len() as u64, length);
                    return text;
                }
                // Somebody else asks just now.
                Reply::Declined(_) => std::thread::sleep(Duration::from_millis(1)),
                reply => panic!("{reply:?}"),
            }
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        serde_json::from_str(&self.ask(Question::Snapshot)).expect("a snapshot")
    }
}

/// Regions that nobody in this process reclaims.
pub fn options() -> RegionOptions {
    let reclaimer = Reclaimer::builder().without_thread().build();
    Region::options().purgeable().reclaimer(&reclaimer)
}

/// A region with that many bytes of data, unpinned.
pub fn unpinned(name: &str, bytes: u64) -> Region {
    let region = options().create(name, bytes).expect("a region");
    region.map().expect("mapped").fill(0, bytes, 1).expect("filled");
    region.unpin(..).expect("unpinned");
    region
}
