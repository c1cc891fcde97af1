//! What `ashmem run` costs: calls that are looked at, against the least that a notification costs; and all others, against the same without us.
//!
//! Each side is a process that does what it is told through its standard input, as often as it is told, and answers with the time that
//! took: this program again, under the filter, under one that traps a single call, or under none.

#![allow(unsafe_code, reason = "system calls, as a program of any kind makes them")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ashmem::driver::socket;
use ashmem_device::notification::{Answer, Instruction, Listener, install};
use ashmem_device::{Options, Server, serve_socket};
use ashmem_driver::Audience;
use tempfile::TempDir;

use crate::pair::Pair;
use crate::report::Required;
use crate::suite::{Case, Suite};
use crate::{fail, ok};

/// Makes this program a worker: `--device-worker KIND SOCKET`.
pub const WORKER: &str = "--device-worker";

const SIZE: usize = 1 << 20;

/// What a worker does, again and again.
#[derive(Clone, Copy)]
enum Task {
    /// `getppid`, which the bare filter traps.
    Trapped,
    GetSize,
    Pin,
    UnpinAndPin,
    /// `getpid`; `read` of a byte of `/dev/zero`, and of a page; `write` of a byte to `/dev/null`.
    GetPid,
    Read,
    ReadPage,
    Write,
    /// Reading 1 MiB of the area's mapping.
    Sum,
}

const TASKS: [Task; 9] = [
    Task::Trapped,
    Task::GetSize,
    Task::Pin,
    Task::UnpinAndPin,
    Task::GetPid,
    Task::Read,
    Task::ReadPage,
    Task::Write,
    Task::Sum,
];

pub fn run(suite: &mut Suite) {
    let looked_at = [
        ("get_size", "GET_SIZE, trapped", Task::GetSize, 1),
        ("pin", "PIN of a page, trapped", Task::Pin, 1),
        ("unpin_pin", "UNPIN + PIN of a page, trapped", Task::UnpinAndPin, 2),
    ];
    for (name, what, task, calls) in looked_at {
        let reference =
            if calls == 1 { "a notification that does nothing" } else { "two notifications that do nothing" };
        suite.run(
            Case { id: ("device", name), what, reference, required: Required::Cost(3.0), slow: false },
            || {
                let (mut ours, mut bare) = (Worker::start(Kind::Device), Worker::start(Kind::Bare));
                Pair::new(
                    move |count| ours.run(task, count),
                    move |count| bare.run(Task::Trapped, count * calls),
                )
            },
        );
    }
    let others = [
        ("getpid", "getpid under ashmem run", "without", Task::GetPid, Required::Cost(1.3)),
        ("read", "read(2) of 4 KiB under ashmem run", "without", Task::ReadPage, Required::Cost(1.3)),
        ("read_byte", "read(2) of a byte under ashmem run", "without", Task::Read, Required::Nothing),
        (
            "write_byte",
            "write(2) of a byte to /dev/null under ashmem run",
            "without",
            Task::Write,
            Required::Nothing,
        ),
        ("mapped", "reading 1 MiB of an area's mapping", "of a memfd's", Task::Sum, Required::Same(0.05)),
    ];
    for (name, what, reference, task, required) in others {
        suite.run(Case { id: ("device", name), what, reference, required, slow: false }, || {
            let (mut ours, mut plain) = (Worker::start(Kind::Device), Worker::start(Kind::Plain));
            Pair::new(move |count| ours.run(task, count), move |count| plain.run(task, count))
        });
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// With the device.
    Device,
    /// Under a filter that traps one call, which somebody answers at once.
    Bare,
    Plain,
}

/// The other process. It ends with its standard input.
struct Worker {
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    process: Child,
    _directory: TempDir,
}

impl Worker {
    fn start(kind: Kind) -> Worker {
        let directory = ok(tempfile::tempdir());
        let path = directory.path().join("device");
        match kind {
            Kind::Device => serve(&path),
            Kind::Bare => serve_bare(&path),
            Kind::Plain => {}
        }
        let name = match kind {
            Kind::Device => "device",
            Kind::Bare => "bare",
            Kind::Plain => "plain",
        };
        let mut process = ok(Command::new(ok(std::env::current_exe()))
            .args([WORKER, name])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn());
        let (orders, Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            fail("the worker has no pipes");
        };
        Worker { orders, answers, process, _directory: directory }
    }

    fn run(&mut self, task: Task, count: u64) -> Duration {
        let Some(orders) = &mut self.orders else { fail("the worker has ended") };
        ok(orders.write_all([task as u64, count].map(u64::to_ne_bytes).as_flattened()));
        let mut answer = [0; 8];
        ok(self.answers.read_exact(&mut answer));
        Duration::from_nanos(u64::from_ne_bytes(answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        ok(self.process.wait());
    }
}

fn serve(path: &Path) {
    let listener = ok(ashmem_driver::Listener::bind(path, Audience::OwnUser));
    let server = ok(Server::new(Options::default()));
    std::thread::spawn(move || serve_socket(&server, &listener, None));
}

/// Answers the one trapped call with nothing.
fn serve_bare(path: &Path) {
    let listener = ok(ashmem_driver::Listener::bind(path, Audience::OwnUser));
    std::thread::spawn(move || {
        let connection = loop {
            match rustix::net::accept(&listener) {
                Ok(connection) => break connection,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let fd = loop {
            match socket::receive(&connection) {
                Ok(Some(packet)) => break packet.descriptors.into_iter().next(),
                Ok(None) => break None,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let Some(Ok(listener)) = fd.map(Listener::new) else { return };
        ok(socket::send(&connection, b"attached", &[]));
        loop {
            let mut events = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut events, None);
            if !events[0].revents().contains(rustix::event::PollFlags::IN) {
                return;
            }
            if let Ok(call) = listener.receive() {
                let _ = listener.answer(call.id, Answer::Value(1));
            }
        }
    });
}

/// The worker's process.
pub fn worker(arguments: &[String]) -> ExitCode {
    match arguments {
        [kind, path] if kind == "device" => {
            let arguments = [WORKER, "inside", ""].map(OsString::from);
            let program = ok(std::env::current_exe());
            fail(ashmem_device::launch(&connect(path), program.as_os_str(), &arguments))
        }
        [kind, path] if kind == "bare" => {
            let socket = connect(path);
            let listener = install(&one_call()).unwrap_or_else(|refusal| fail(format!("{refusal:?}")));
            ok(socket::send(&socket, b"listener", &[listener.as_fd()]));
            drop(listener);
            while socket::receive(&socket).is_err() {}
            work(None)
        }
        [kind, ..] if kind == "inside" => {
            let device = ok(std::fs::File::options().read(true).write(true).open("/dev/ashmem"));
            work(Some(device.into()))
        }
        _ => work(None),
    }
}

fn connect(path: &str) -> OwnedFd {
    loop {
        match socket::connect(&PathBuf::from(path)) {
            Ok(socket) => return socket,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A filter that has somebody look at `getppid`.
fn one_call() -> Vec<Instruction> {
    let line = |code, operand, if_true, if_false| Instruction { code, if_true, if_false, operand };
    vec![
        line(0x20, 0, 0, 0),
        line(0x15, libc::SYS_getppid as u32, 0, 1),
        line(0x06, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        line(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]
}

fn work(device: Option<OwnedFd>) -> ExitCode {
    let memory = match &device {
        Some(device) => {
            call(|| ioctl(device, 0x4008_7703, SIZE));
            device.as_fd().try_clone_to_owned()
        }
        None => ok(ashmem::Region::create("plain", SIZE as u64)).into_fd().map_err(std::io::Error::other),
    };
    let memory = map(&ok(memory));
    let zero = ok(std::fs::File::open("/dev/zero"));
    let null = ok(std::fs::File::options().write(true).open("/dev/null"));
    let mut order = [0; 16];
    while std::io::stdin().read_exact(&mut order).is_ok() {
        let (task, count) = order.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        let Some(task) = TASKS.get(number(task) as usize) else { fail("an unknown task") };
        let start = Instant::now();
        for _ in 0..number(count) {
            once(*task, device.as_ref(), memory, &zero, &null);
        }
        let time = start.elapsed().as_nanos() as u64;
        ok(std::io::stdout().write_all(&time.to_ne_bytes()));
        ok(std::io::stdout().flush());
    }
    ExitCode::SUCCESS
}

fn once(
    task: Task,
    device: Option<&OwnedFd>,
    memory: *const u64,
    zero: &std::fs::File,
    null: &std::fs::File,
) {
    const PIN: [u32; 2] = [0, 4096];
    let on_device = |request, argument| {
        let Some(device) = device else { fail("no device") };
        call(|| ioctl(device, request, argument));
    };
    match task {
        // SAFETY: takes nothing and cannot fail.
        Task::Trapped => call(|| unsafe { libc::syscall(libc::SYS_getppid) }),
        Task::GetSize => on_device(0x7704, 0),
        Task::Pin => on_device(0x4008_7707, PIN.as_ptr() as usize),
        Task::UnpinAndPin => {
            on_device(0x4008_7708, PIN.as_ptr() as usize);
            on_device(0x4008_7707, PIN.as_ptr() as usize);
        }
        // SAFETY: takes nothing and cannot fail.
        Task::GetPid => call(|| unsafe { libc::syscall(libc::SYS_getpid) }),
        Task::Read => read::<1>(zero),
        Task::ReadPage => read::<4096>(zero),
        Task::Write => call(|| {
            let byte = 0_u8;
            // SAFETY: there is a byte.
            (unsafe { libc::write(null.as_raw_fd(), (&raw const byte).cast(), 1) }) as i64
        }),
        Task::Sum => {
            let mut sum = 0_u64;
            for place in 0..SIZE / 8 {
                // SAFETY: inside of the mapping, which lasts as long as the process.
                sum = sum.wrapping_add(unsafe { memory.wrapping_add(place).read_volatile() });
            }
            std::hint::black_box(sum);
        }
    }
}

fn read<const LENGTH: usize>(zero: &std::fs::File) {
    let mut bytes = [0_u8; LENGTH];
    // SAFETY: there is room for so many.
    call(|| (unsafe { libc::read(zero.as_raw_fd(), (&raw mut bytes).cast(), LENGTH) }) as i64);
}

fn ioctl(device: &OwnedFd, request: u64, argument: usize) -> i64 {
    // SAFETY: the driver's requests take a number, or a pin, which lives long enough.
    i64::from(unsafe { libc::ioctl(device.as_raw_fd(), request as _, argument) })
}

fn call(call: impl FnOnce() -> i64) {
    if call() < 0 {
        fail(std::io::Error::last_os_error());
    }
}

/// Memory with something in it.
fn map(fd: &OwnedFd) -> *const u64 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which nobody unmaps.
    let memory =
        unsafe { libc::mmap(std::ptr::null_mut(), SIZE, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
    if memory == libc::MAP_FAILED {
        fail(std::io::Error::last_os_error());
    }
    // SAFETY: just mapped, writable, and nobody else's.
    unsafe { memory.cast::<u8>().write_bytes(1, SIZE) };
    memory.cast()
}
