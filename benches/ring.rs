//! Messages between two processes, through a ring against a socket, and waking each other, through rings against pipes.
//!
//! The peer is this program again, with a socket as its standard input and a pipe as its standard output. Orders and answers
//! go through the socket. Each process stays on a core of its own.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ashmem::ring::{Consumer, Producer, Ring};
use ashmem::{Mapping, Region, page_size};

use crate::contention::{meet, on, stay_on, two_cpus};
use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// First argument of the peer.
pub const PEER: &str = "--ring-peer";

/// Bytes of a message.
const MESSAGE: usize = 4096;

/// Bytes of a ring: about what a socket buffers.
const CAPACITY: u64 = 256 << 10;

/// What wakes the other process.
const PING: [u8; 8] = *b"ping....";

/// Work between a message and its answer, after which the other process is asleep for sure.
const WORK: Duration = Duration::from_micros(50);

pub fn run(suite: &mut Suite) {
    let Some(cpus) = two_cpus() else {
        eprintln!("ring: skipped, there is one core");
        return;
    };
    let cases = [
        ("messages_4KiB", "messages of 4 KiB, 2 processes", Required::Speed(3.0), Task::Messages),
        ("ping_pong", "one way of a ping-pong, 2 processes", Required::Cost(1.0), Task::PingPong),
        ("wake_up", "the same, after 50 µs of silence", Required::Cost(1.0), Task::WakeUp),
    ];
    for (name, what, required, task) in cases {
        let reference = match task {
            Task::Messages => "Unix stream socket",
            Task::PingPong | Task::WakeUp => "two pipes",
        };
        suite.run(Case { id: ("ring", name), what, reference, required, slow: false }, || {
            let ours = Rc::new(RefCell::new(Peer::start(cpus)));
            let reference = ours.clone();
            Pair::new(
                move |count| ours.borrow_mut().with(task, Through::Rings, count),
                move |count| reference.borrow_mut().with(task, Through::Kernel, count),
            )
        });
    }
}

/// What both processes do.
#[derive(Clone, Copy, PartialEq)]
enum Task {
    Messages,
    PingPong,
    WakeUp,
}

#[derive(Clone, Copy, PartialEq)]
enum Through {
    Rings,
    Kernel,
}

/// The ways between the processes, as one of them has them.
struct Desk {
    page: Mapping,
    to_peer: Producer,
    from_peer: Consumer,
    socket: UnixStream,
    pipe_to_peer: File,
    pipe_from_peer: File,
    message: Vec<u8>,
}

impl Desk {
    /// Does a task as the process that begins, or as the other one.
    fn run(&mut self, task: Task, through: Through, count: u64, begins: bool) -> Duration {
        self.message.resize(MESSAGE, 1);
        meet(ok(self.page.atomic_u32(0)), 2);
        match (task, through, begins) {
            (Task::Messages, Through::Rings, true) => time(count, || ok(self.to_peer.send(&self.message))),
            (Task::Messages, Through::Rings, false) => {
                time(count, || ok(self.from_peer.receive(&mut self.message)))
            }
            (Task::Messages, Through::Kernel, true) => {
                time(count, || ok(self.socket.write_all(&self.message)))
            }
            (Task::Messages, Through::Kernel, false) => {
                time(count, || ok(self.socket.read_exact(&mut self.message)))
            }
            (_, Through::Rings, _) => self.ping_pong(task, count, begins, Desk::ring_ping, Desk::ring_pong),
            (_, Through::Kernel, _) => self.ping_pong(task, count, begins, Desk::pipe_ping, Desk::pipe_pong),
        }
    }

    /// The time of one way: half of what a message and its answer take, without the work in between.
    fn ping_pong(
        &mut self,
        task: Task,
        count: u64,
        begins: bool,
        ping: fn(&mut Desk),
        pong: fn(&mut Desk),
    ) -> Duration {
        let work = if task == Task::WakeUp { WORK } else { Duration::ZERO };
        let mut worked = Duration::ZERO;
        let all = time(count, || {
            if !begins {
                pong(self);
            }
            // Both processes work once for each message and its answer.
            worked += wait(work);
            ping(self);
            if begins {
                pong(self);
            }
        });
        all.saturating_sub(worked * 2) / 2
    }

    fn ring_ping(&mut self) {
        ok(self.to_peer.send(&PING));
    }

    fn ring_pong(&mut self) {
        ok(self.from_peer.receive(&mut self.message));
    }

    fn pipe_ping(&mut self) {
        ok(self.pipe_to_peer.write_all(&PING));
    }

    fn pipe_pong(&mut self) {
        ok(self.pipe_from_peer.read_exact(&mut [0; PING.len()]));
    }
}

/// Keeps the core busy; says for how long.
fn wait(work: Duration) -> Duration {
    let start = Instant::now();
    if work.is_zero() {
        return work;
    }
    loop {
        let passed = start.elapsed();
        if passed >= work {
            return passed;
        }
        std::hint::spin_loop();
    }
}

/// The other process, from this one's side. It ends with the socket.
struct Peer {
    desk: Option<Desk>,
    cpu: usize,
    process: Child,
}

fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_fd().as_raw_fd())
}

impl Peer {
    fn start(cpus: [usize; 2]) -> Peer {
        let rings = ["to peer", "from peer"].map(|name| ok(Ring::create(name, CAPACITY)));
        let page = ok(Region::create("desk", page_size()));
        let (socket, theirs) = ok(UnixStream::pair());
        let (from_us, to_peer) = ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC));
        let (from_peer, to_us) = ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC));
        let process = ok(Command::new(ok(std::env::current_exe()))
            .args([PEER, &cpus[1].to_string(), &proc_path(&page), &proc_path(&from_us)])
            .args(rings.each_ref().map(proc_path))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(to_us))
            .spawn());
        let desk = Desk {
            page: ok(page.map()),
            to_peer: ok(rings[0].producer()),
            from_peer: ok(rings[1].consumer()),
            socket,
            pipe_to_peer: to_peer.into(),
            pipe_from_peer: from_peer.into(),
            message: Vec::new(),
        };
        let mut peer = Peer { desk: Some(desk), cpu: cpus[0], process };
        // The paths lead to descriptors that go now: one round makes sure that the peer has opened them.
        peer.with(Task::PingPong, Through::Kernel, 1);
        peer
    }

    /// Runs a task in both processes and returns the longer time.
    fn with(&mut self, task: Task, through: Through, count: u64) -> Duration {
        let Some(desk) = &mut self.desk else { fail("the peer has ended") };
        let here: &AtomicU32 = ok(desk.page.atomic_u32(0));
        here.store(0, Ordering::SeqCst);
        let order = [task as u64, through as u64, count];
        ok(desk.socket.write_all(order.map(u64::to_ne_bytes).as_flattened()));
        let ours = on(self.cpu, || desk.run(task, through, count, true));
        let mut answer = [0; 8];
        ok(desk.socket.read_exact(&mut answer));
        ours.max(Duration::from_nanos(u64::from_ne_bytes(answer)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.desk = None;
        ok(self.process.wait());
    }
}

/// The main function of the peer; its arguments are its core and the paths of what is shared.
pub fn peer(arguments: &[String]) -> ExitCode {
    let [cpu, page, pipe, from_peer, to_peer] = arguments else { fail("a peer needs a core and four paths") };
    stay_on(ok(cpu.parse()));
    let open = |path: &String| -> OwnedFd { ok(File::options().read(true).write(true).open(path)).into() };
    let mut desk = Desk {
        page: ok(ok(Region::from_fd(open(page))).map()),
        to_peer: ok(ok(Ring::from_fd(open(to_peer))).producer()),
        from_peer: ok(ok(Ring::from_fd(open(from_peer))).consumer()),
        socket: ok(std::io::stdin().as_fd().try_clone_to_owned()).into(),
        pipe_to_peer: ok(std::io::stdout().as_fd().try_clone_to_owned()).into(),
        pipe_from_peer: ok(File::open(pipe)),
        message: Vec::new(),
    };
    let mut order = [[0; 8]; 3];
    while desk.socket.read_exact(order.as_flattened_mut()).is_ok() {
        let [task, through, count] = order.map(u64::from_ne_bytes);
        let task =
            [Task::Messages, Task::PingPong, Task::WakeUp].into_iter().find(|known| *known as u64 == task);
        let through = [Through::Rings, Through::Kernel].into_iter().find(|known| *known as u64 == through);
        let (Some(task), Some(through)) = (task, through) else { fail("the peer does not know this task") };
        let time = desk.run(task, through, count, false);
        ok(desk.socket.write_all(&(time.as_nanos() as u64).to_ne_bytes()));
    }
    ExitCode::SUCCESS
}
