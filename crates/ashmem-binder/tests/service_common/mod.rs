//! What the tests of services share: a binder, calls to it, and processes that serve it.
//!
//! The other processes are the test binary again, running its ignored test `worker`, which calls [`work`].
//! They say what they have to say in lines that start with `@`, and end when their standard input does.
#![allow(dead_code, reason = "not each test needs everything")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    self, Binder, FIRST_CALL_TRANSACTION, Interface, Parcel, Remotable, SIBinder, StatusCode, TransactionCode,
};
use ashmem_binder::{Error, ServiceManager};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, WaitOptions};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const ADDRESS: &str = "ASHMEM_TEST_ADDRESS";
const ALLOWED: &str = "ASHMEM_TEST_ALLOWED";

/// Much longer than anything takes, also on a machine that is busy. What takes as long has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// The id of the process that serves it.
const WHO: TransactionCode = FIRST_CALL_TRANSACTION;
/// Answers when two callers are there at the same time, or says that nobody came.
const MEET: TransactionCode = FIRST_CALL_TRANSACTION + 1;

#[derive(Default)]
pub struct Subject {
    callers: Mutex<u32>,
    changed: Condvar,
}

impl Remotable for Subject {
    fn descriptor() -> &'static str {
        "ashmem.test.ISubject"
    }

    fn on_transact(&self, code: TransactionCode, _: &mut Parcel, reply: &mut Parcel) -> rsbinder::Result<()> {
        match code {
            WHO => reply.write(&i32::try_from(std::process::id()).expect("a process id")),
            MEET => {
                let mut callers = self.callers.lock().expect("not poisoned");
                *callers += 1;
                self.changed.notify_all();
                let alone = |callers: &mut u32| *callers < 2;
                let waited = self.changed.wait_timeout_while(callers, LONG, alone).expect("not poisoned");
                reply.write(&!waited.1.timed_out())
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

pub fn subject() -> SIBinder {
    Binder::new(Subject::default()).as_binder()
}

fn call(binder: &SIBinder, code: TransactionCode) -> rsbinder::Result<Parcel> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().ok_or(StatusCode::BadType)?;
    let request = proxy.build_request(Subject::descriptor())?;
    proxy.transact(code, &request, 0)?.ok_or(StatusCode::UnexpectedNull)
}

/// Which process answers.
pub fn who(binder: &SIBinder) -> rsbinder::Result<u32> {
    u32::try_from(call(binder, WHO)?.read::<i32>()?).map_err(|_| StatusCode::BadValue)
}

/// Whether somebody else called meanwhile.
pub fn meet(binder: &SIBinder) -> rsbinder::Result<bool> {
    call(binder, MEET)?.read::<bool>()
}

/// A directory of services in a directory that others may enter.
pub struct Place {
    pub temporary: tempfile::TempDir,
    pub address: String,
}

impl Place {
    pub fn new() -> Place {
        let temporary = tempfile::tempdir().expect("a directory");
        let readable = rustix::fs::Mode::from_raw_mode(0o755);
        rustix::fs::chmod(temporary.path(), readable).expect("its owner");
        let address = format!("unix://{}/services", temporary.path().display());
        Place { temporary, address }
    }

    /// What may be entered by those who are allowed.
    pub fn open() -> Place {
        let place = Place::new();
        std::fs::create_dir(place.path()).expect("new");
        rustix::fs::chmod(place.path(), rustix::fs::Mode::from_raw_mode(0o755)).expect("its owner");
        place
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.temporary.path().join("services")
    }

    pub fn manager(&self) -> ServiceManager {
        ServiceManager::at(&self.address).expect("an address")
    }
}

pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(address: &str, role: &str) -> Worker {
        Worker::start_as(address, role, None, &[])
    }

    pub fn start_as(address: &str, role: &str, user: Option<u32>, allowed: &[u32]) -> Worker {
        // By this name it is found also where others may not look.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ADDRESS, address)
            .env(ALLOWED, allowed.iter().map(|uid| format!("{uid} ")).collect::<String>())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user).current_dir("/");
        }
        Worker::spawn(&mut command)
    }

    pub fn spawn(command: &mut Command) -> Worker {
        let mut child = command.spawn().expect("started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Worker { child, input, output }
    }

    /// Starts one that serves these names, and waits until it does.
    pub fn serve(address: &str, names: &str) -> Worker {
        let mut worker = Worker::start(address, &format!("serve {names}"));
        assert_eq!(worker.says(), "ready");
        worker
    }

    /// What it says next.
    pub fn says(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("read") > 0 {
            if let Some((_, said)) = line.split_once('@') {
                return said.trim_end().to_owned();
            }
            line.clear();
        }
        panic!("a worker ended: {:?}", self.child.wait());
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("piped"), "{line}").expect("told");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("a child");
        if signal == Signal::STOP {
            // Its threads stop one after the other.
            rustix::process::waitpid(Some(id), WaitOptions::UNTRACED).expect("a child");
        }
    }

    /// SIGKILL, and waits until it is dead.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("waited for");
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("alive").count()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that comes without fail, looking at it again and again.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can be other users");
    }
    root
}

/// In one word: `ok`, or which error.
pub fn outcome<T>(result: &Result<T, Error>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(Error::NameTaken { .. }) => "taken".to_owned(),
        Err(Error::NoSuchService { .. }) => "none".to_owned(),
        Err(Error::NotPrivate { .. }) => "not private".to_owned(),
        Err(Error::System { source, .. }) => format!("{:?}", source.kind()),
        Err(error) => format!("{error:?}"),
    }
}

/// What a worker does.
pub fn work() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let mut options = ServiceManager::options().timeout(Some(LONG));
    for uid in std::env::var(ALLOWED).unwrap_or_default().split_whitespace() {
        options = options.allow_uid(uid.parse().expect("a user"));
    }
    let address = std::env::var(ADDRESS).expect("an address");
    let services =
        if address.is_empty() { options.open() } else { options.open_at(&address) }.expect("an address");
    let say = |said: &str| println!("@{said}");
    let told = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("read") > 0
    };
    let (role, names) = role.split_once(' ').unwrap_or((&role, ""));
    if role == "few" {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = Rlimit { current: Some(32), maximum: getrlimit(Resource::Nofile).maximum };
        setrlimit(Resource::Nofile, limit).expect("lower");
    }
    match role {
        "serve" | "few" => {
            for name in names.split(' ') {
                let added = services.add_service(name, &subject());
                if added.is_err() {
                    say(&outcome(&added));
                    return;
                }
            }
            say("ready");
        }
        "later" => {
            say("ready");
            told();
            services.add_service(names, &subject()).expect("added");
        }
        "list" => say(&services.list_services().expect("listed").join(" ")),
        // Keeps the lock of the directory, as a process that was stopped in the wrong moment.
        "lock" => {
            let lock = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(names);
            rustix::fs::fcntl_lock(lock.as_ref().expect("open"), FlockOperation::NonBlockingLockExclusive)
                .expect("locked");
            say("ready");
            while told() {}
        }
        // Each thread tries once; says how many of them won, and stays.
        "race" => {
            say("ready");
            told();
            let threads = 4;
            let start = Barrier::new(threads);
            let won = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            match services.add_service(names, &subject()) {
                                Ok(()) => 1,
                                Err(Error::NameTaken { .. }) => 0,
                                Err(error) => panic!("{error}"),
                            }
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().expect("no panic")).sum::<u32>()
            });
            say(&won.to_string());
        }
        // Says who serves it, once for each line it is told.
        "call" => loop {
            match services.get_service(names) {
                Ok(binder) => say(&who(&binder).expect("answered").to_string()),
                error => say(&outcome(&error)),
            }
            if !told() {
                return;
            }
        },
        _ => panic!("{role}?"),
    }
    while told() {}
}

/// Counts deaths.
#[derive(Default)]
pub struct Deaths(pub Mutex<u32>);

impl rsbinder::DeathRecipient for Deaths {
    fn binder_died(&self, _: &rsbinder::WIBinder) {
        *self.0.lock().expect("not poisoned") += 1;
    }
}

impl Deaths {
    pub fn of(binder: &SIBinder) -> Arc<Deaths> {
        let deaths = Arc::new(Deaths::default());
        let weak: std::sync::Weak<dyn rsbinder::DeathRecipient> = Arc::downgrade(&(deaths.clone() as Arc<_>));
        binder.link_to_death(weak).expect("remote");
        deaths
    }

    pub fn count(&self) -> u32 {
        *self.0.lock().expect("not poisoned")
    }
}

/// Files that do not belong to the library.
pub fn link(target: impl AsRef<Path>, place: &Place, name: &str) {
    std::os::unix::fs::symlink(target, place.path().join(name)).expect("new");
}
