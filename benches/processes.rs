//! Two processes: as with two threads, for the pin state is in memory that both map.
//!
//! The peer is this program again. It is told what to do through its standard input and answers with the time it took
//! through its standard output; in between it sleeps. Both meet at a counter in a shared page before they start.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Mapping, Region, page_size};

use crate::contention::{meet, on, pin_whole, set_and_clear, small_region, stay_on, two_cpus};
use crate::pair::Pair;
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// First argument of the peer.
pub const PEER: &str = "--peer";

pub fn run(suite: &mut Suite) {
    let Some(cpus) = two_cpus() else {
        eprintln!("processes: skipped, there is one core");
        return;
    };
    suite.run(
        Case {
            id: ("processes", "own_regions"),
            what: "2 processes, own regions: unpin + pin",
            reference: "1 process",
            required: Required::Cost(1.10),
            slow: false,
        },
        || {
            let mut peer = Peer::start(cpus);
            let single = small_region();
            Pair::new(
                move |count| peer.with(Task::OwnRegion, count),
                move |count| on(cpus[0], || pin_whole(&single, count)),
            )
        },
    );
    suite.run(
        Case {
            id: ("processes", "same_region"),
            what: "2 processes, same region: unpin + pin",
            reference: "two exchanges of one contended word",
            required: Required::Cost(1.0),
            slow: false,
        },
        || {
            let (mut peer, mut reference) = (Peer::start(cpus), Peer::start(cpus));
            Pair::new(
                move |count| peer.with(Task::SharedRegion, count),
                move |count| reference.with(Task::SharedWord, count),
            )
        },
    );
}

/// What both processes do.
#[derive(Clone, Copy)]
enum Task {
    OwnRegion,
    SharedRegion,
    SharedWord,
}

/// What a process works on.
struct Desk {
    own: Region,
    shared: Region,
    /// A page that nobody unpins: the counter to meet at, and the word to contend for.
    page: Mapping,
}

impl Desk {
    fn run(&self, task: Task, count: u64) -> Duration {
        meet(self.here(), 2);
        match task {
            Task::OwnRegion => pin_whole(&self.own, count),
            Task::SharedRegion => pin_whole(&self.shared, count),
            Task::SharedWord => set_and_clear(self.word(), count),
        }
    }

    fn here(&self) -> &AtomicU32 {
        ok(self.page.atomic_u32(0))
    }

    /// Half a page away from the counter.
    fn word(&self) -> &AtomicU64 {
        ok(self.page.atomic_u64(page_size() / 2))
    }
}

/// The other process, from this one's side. It ends with its standard input.
struct Peer {
    desk: Desk,
    cpu: usize,
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    process: Child,
}

/// Where the peer finds a region of this process.
fn proc_path(region: &Region) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), region.as_fd().as_raw_fd())
}

impl Peer {
    fn start(cpus: [usize; 2]) -> Peer {
        let shared = small_region();
        let page = ok(Region::create("desk", page_size()));
        let mut process = ok(Command::new(ok(std::env::current_exe()))
            .args([PEER, &cpus[1].to_string()])
            .args([proc_path(&shared), proc_path(&page)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn());
        let (orders, Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            fail("the peer has no pipes");
        };
        let desk = Desk { own: small_region(), shared, page: ok(page.map()) };
        let mut peer = Peer { desk, cpu: cpus[0], orders, answers, process };
        // The paths lead to descriptors of `page`, which goes now: one round makes sure that the peer has opened them.
        peer.with(Task::OwnRegion, 1);
        peer
    }

    /// Runs a task in both processes and returns the longer time.
    fn with(&mut self, task: Task, count: u64) -> Duration {
        self.desk.here().store(0, Ordering::SeqCst);
        let Some(orders) = &mut self.orders else { fail("the peer has ended") };
        ok(orders.write_all(&[task as u64, count].map(u64::to_ne_bytes).concat()));
        let desk = &self.desk;
        let ours = on(self.cpu, || desk.run(task, count));
        let mut answer = [0; 8];
        ok(self.answers.read_exact(&mut answer));
        ours.max(Duration::from_nanos(u64::from_ne_bytes(answer)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.orders = None;
        ok(self.process.wait());
    }
}

/// The main function of the peer; its arguments are its core and the paths of the two regions.
pub fn peer(arguments: &[String]) -> ExitCode {
    let [cpu, shared, page] = arguments else { fail("a peer needs a core and two paths") };
    stay_on(ok(cpu.parse()));
    let desk = Desk { own: small_region(), shared: open(shared), page: ok(open(page).map()) };
    let mut orders = std::io::stdin().lock();
    let mut answers = std::io::stdout().lock();
    let mut order = [[0; 8]; 2];
    while orders.read_exact(order.as_flattened_mut()).is_ok() {
        let [task, count] = order.map(u64::from_ne_bytes);
        let Some(task) = [Task::OwnRegion, Task::SharedRegion, Task::SharedWord]
            .into_iter()
            .find(|known| *known as u64 == task)
        else {
            fail("the peer does not know this task");
        };
        let time = desk.run(task, count);
        ok(answers.write_all(&(time.as_nanos() as u64).to_ne_bytes()));
        ok(answers.flush());
    }
    ExitCode::SUCCESS
}

fn open(path: impl AsRef<OsStr>) -> Region {
    let file = ok(File::options().read(true).write(true).open(path.as_ref()));
    ok(Region::from_fd(file.into()))
}
