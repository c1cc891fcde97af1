//! A decoder that does wrong, as one would that a stream has taken over. Only where the service was started for such tests.

use std::fs::File;
use std::io::Read;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::decode::Failure;
use super::input::Input;
use super::{Channel, lock};
use crate::layout::CONTROL;
use crate::port::Incoming;
use crate::record::Record;

/// Does what the stream's first byte says.
pub(super) fn commit(input: &mut Input<'_>, channel: &Mutex<Channel>) -> Result<(), Failure> {
    let mut order = [0];
    input.read_exact(&mut order)?;
    match order[0] {
        b'a' => process::abort(),
        b'x' => process::exit(0),
        b'p' => std::panic::panic_any("as told"),
        b'w' => loop {
            std::hint::spin_loop();
        },
        b's' => loop {
            std::thread::park();
        },
        b'm' => hoard(),
        // What it may not do. Where it may, the stream ends with an error that says so.
        b'o' => drop(File::open("/proc/self/status")),
        b'n' => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        b'e' => drop(process::Command::new("/bin/true").spawn()),
        b't' => drop(std::thread::Builder::new().spawn(|| {})),
        b'k' => drop(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)),
        // What makes no sense to the client.
        b'g' => scribble(input, channel)?,
        b'i' => hand_over(channel, Record { index: 77, ..Record::default() })?,
        b'l' => hand_over(channel, Record { length: u32::MAX, ..Record::default() })?,
        b'f' => hand_over(channel, Record { format: [1, 0, 0], ..Record::default() })?,
        other => return Err(Failure::Malformed(format!("no fault is called {other}"))),
    }
    Err(Failure::Malformed("it could do that".to_owned()))
}

/// Asks for memory until there is none. It touches none, so that this takes no time.
fn hoard() -> ! {
    let mut hoarded = Vec::new();
    loop {
        hoarded.push(std::hint::black_box(vec![0_u8; 1 << 20]));
    }
}

fn hand_over(channel: &Mutex<Channel>, record: Record) -> Result<(), Failure> {
    lock(channel).port.push(Incoming::Output, record).map_err(|error| Failure::Malformed(error.to_string()))
}

/// Fills the control block with what comes out of the seed in the stream, and ends as if all were well.
fn scribble(input: &mut Input<'_>, channel: &Mutex<Channel>) -> Result<(), Failure> {
    let mut seed = [0; 8];
    input.read_exact(&mut seed)?;
    let mut state = u64::from_le_bytes(seed) | 1;
    let channel = lock(channel);
    let words = channel.port.mapping.atomic_u32s(0, CONTROL / 4);
    for word in words.map_err(|error| Failure::Malformed(error.to_string()))? {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small numbers come closest to making sense.
        let value = (state >> 33) as u32;
        word.store(if state >> 63 == 0 { value & 15 } else { value }, Ordering::Release);
    }
    process::exit(0)
}
