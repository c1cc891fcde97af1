//! A stream of frames to another process: a pool's buffers, against memory that was mapped long ago, against copies through
//! a socket, and against fresh memory for each frame.
//!
//! The producer fills 64 MiB, hands them over and fills the next while the consumer sums them and answers, in all cases alike: two frames are
//! under way at a time. The consumer is this program again, on a core of its own; its standard input is the socket between
//! them, and it ends with that.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use ashmem::{Buffer, Pool};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::contention::{on, stay_on, two_cpus};
use crate::frame::{FRAME, Link, RawFrame, consume_pooled, send_pooled, sum_bytes};
use crate::pair::{Pair, time};
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// First argument of the consumer.
pub const CONSUMER: &str = "--consumer";

/// Frames that are under way at a time, and that the bare stream uses in turns.
const UNDER_WAY: usize = 2;

/// Frames that are timed together.
const FRAMES: usize = 8;

/// Bytes that a consumer reads from a socket at a time: few enough for the core's cache.
const CHUNK: usize = 256 << 10;

pub fn run(suite: &mut Suite) {
    let Some(cpus) = two_cpus() else {
        eprintln!("pool: skipped, there is one core");
        return;
    };
    let streamed = "8 times 64 MiB filled, handed over, summed";
    let huge = "the same, the pool with huge pages";
    for (name, what, ours, reference, way, required) in [
        ("mapped", streamed, Way::Pool, "memfds mapped before", Way::Bare, Required::Speed(0.9)),
        ("huge_pages", huge, Way::HugePool, "memfds mapped before", Way::Bare, Required::Nothing),
        ("socket", streamed, Way::Pool, "copied through a socket", Way::Socket, Required::Speed(3.0)),
        ("fresh", streamed, Way::Pool, "a new memfd each time", Way::Fresh, Required::Nothing),
    ] {
        suite.run_bytes(
            Case { id: ("pool", name), what, reference, required, slow: true },
            (FRAMES * FRAME) as u64,
            || Pair::new(stream(cpus, ours), stream(cpus, way)),
        );
    }
}

/// How a frame gets to the consumer.
#[derive(Clone, Copy)]
enum Way {
    /// In a buffer of a pool, opened through imports.
    Pool,
    /// The same, the pool with huge pages.
    HugePool,
    /// In one of two memfds that both have mapped before. Only its number is sent.
    Bare,
    /// Through the socket.
    Socket,
    /// In a memfd that is made, mapped and unmapped for it.
    Fresh,
}

const WAYS: [Way; 5] = [Way::Pool, Way::HugePool, Way::Bare, Way::Socket, Way::Fresh];

/// The consumer, from the producer's side.
struct Consumer {
    link: Option<Link>,
    process: Child,
}

impl Consumer {
    fn start(cpu: usize, way: Way) -> Consumer {
        let (ours, theirs) = ok(UnixStream::pair());
        let process = ok(Command::new(ok(std::env::current_exe()))
            .args([CONSUMER, &cpu.to_string(), &(way as u64).to_string()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn());
        Consumer { link: Some(Link::new(ours)), process }
    }

    fn link(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => fail("the consumer has ended"),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.link = None;
        ok(self.process.wait());
    }
}

/// A producer that sends that many times [`FRAMES`] frames, each with other bytes.
fn stream(cpus: [usize; 2], way: Way) -> impl FnMut(u64) -> Duration {
    let consumer = Consumer::start(cpus[1], way);
    let mut send = sender(way, consumer.link());
    let mut value = 0_u8;
    let mut run = move |count| {
        on(cpus[0], || {
            time(count, || {
                let mut under_way = VecDeque::new();
                for _ in 0..FRAMES {
                    if under_way.len() == UNDER_WAY {
                        arrived(consumer.link(), &mut under_way);
                    }
                    value = value.wrapping_add(1);
                    under_way.push_back((value, send(consumer.link(), value)));
                }
                while !under_way.is_empty() {
                    arrived(consumer.link(), &mut under_way);
                }
            })
        })
    };
    // The pages of what is used again are allocated and mapped here.
    run(1);
    run
}

/// Waits for the answer to the oldest frame that is under way, and gives its memory back.
fn arrived(link: &Link, under_way: &mut VecDeque<(u8, Sent)>) {
    if let Some((value, sent)) = under_way.pop_front() {
        link.receive_sum(value);
        drop(sent);
    }
}

/// What has to be kept until a frame was summed.
enum Sent {
    Pooled(#[allow(dead_code, reason = "held for its drop")] Buffer),
    Fresh(#[allow(dead_code, reason = "held for its drop")] RawFrame),
    Nothing,
}

/// Fills one frame with a value and sends it.
type Send = dyn FnMut(&Link, u8) -> Sent + std::marker::Send;

fn sender(way: Way, link: &Link) -> Box<Send> {
    match way {
        Way::Pool | Way::HugePool => {
            let options = Pool::options();
            let huge_pages = matches!(way, Way::HugePool);
            let pool = if huge_pages { options.huge_pages() } else { options }.build();
            Box::new(move |link, value| Sent::Pooled(send_pooled(&pool, link, value)))
        }
        Way::Bare => {
            let mut frames: Vec<RawFrame> = (0..UNDER_WAY).map(|_| introduce(link)).collect();
            Box::new(move |link, value| {
                let number = usize::from(value) % UNDER_WAY;
                frames[number].fill(value);
                link.send(number as u64, None);
                Sent::Nothing
            })
        }
        Way::Socket => {
            let mut bytes = vec![0; FRAME];
            Box::new(move |link, value| {
                bytes.fill(value);
                link.send_bytes(&bytes);
                Sent::Nothing
            })
        }
        Way::Fresh => Box::new(|link, value| {
            let file = new_file();
            let mut frame = RawFrame::map(&file, true);
            frame.fill(value);
            link.send(0, Some(file.as_fd()));
            Sent::Fresh(frame)
        }),
    }
}

fn new_file() -> OwnedFd {
    let file = ok(memfd_create(c"frame", MemfdFlags::CLOEXEC));
    ok(ftruncate(&file, FRAME as u64));
    file
}

/// Makes a frame that the consumer maps as well.
fn introduce(link: &Link) -> RawFrame {
    let file = new_file();
    link.send(0, Some(file.as_fd()));
    RawFrame::map(&file, true)
}

/// The main function of the consumer; its arguments are its core and the way that frames come.
pub fn consumer(arguments: &[String]) -> ExitCode {
    let [cpu, way] = arguments else { fail("a consumer needs a core and a way") };
    let Some(way) = WAYS.get(ok(way.parse::<usize>())) else { fail("the consumer does not know this way") };
    stay_on(ok(cpu.parse()));
    let link = Link::new(ok(std::io::stdin().as_fd().try_clone_to_owned()).into());
    match way {
        Way::Pool | Way::HugePool => consume_pooled(&link),
        Way::Bare => consume_bare(&link),
        Way::Socket => consume_copies(&link),
        Way::Fresh => consume_fresh(&link),
    }
    ExitCode::SUCCESS
}

fn consume_bare(link: &Link) {
    let mut frames = Vec::new();
    while let Some((number, descriptor)) = link.receive() {
        match descriptor {
            Some(file) => frames.push(RawFrame::map(file, false)),
            None => link.send(frames[number as usize].sum(), None),
        }
    }
}

fn consume_copies(link: &Link) {
    let mut chunk = vec![0; CHUNK];
    let mut sum = 0_u64;
    for number in 1.. {
        if !link.receive_bytes(&mut chunk) {
            return;
        }
        sum = sum.wrapping_add(sum_bytes(&chunk));
        if number % (FRAME / CHUNK) == 0 {
            link.send(std::mem::take(&mut sum), None);
        }
    }
}

fn consume_fresh(link: &Link) {
    while let Some((_, descriptor)) = link.receive() {
        let Some(file) = descriptor else { fail("no descriptor came") };
        link.send(RawFrame::map(file, false).sum(), None);
    }
}
