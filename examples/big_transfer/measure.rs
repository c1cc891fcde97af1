//! Takes the time.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Result;
use super::payload::Payload;
use super::sender::Sender;
use super::ways::{Open, Way};

/// Small payloads are sent more often than is asked for, as long as all of it takes no longer than this.
const ENOUGH: Duration = Duration::from_millis(100);
const MOST_ROUNDS: u32 = 1000;

/// One size in one way.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub way: Way,
    /// Of the payload, in bytes.
    pub size: u64,
    /// Median from the whole payload at the sender to one that the receiver can read, in nanoseconds; none when it was refused.
    pub nanoseconds: Option<u64>,
    /// Median of what reading every byte of it took the receiver afterwards.
    pub reading_nanoseconds: Option<u64>,
    /// Why it cannot be sent so.
    pub refusal: Option<String>,
    /// Whether what arrived is what was sent.
    pub is_right: bool,
}

pub fn run(sizes: &[u64], rounds: u32) -> Result<Vec<Figure>> {
    let sender = Sender::start()?;
    let mut figures = Vec::new();
    for &size in sizes {
        let payload = Payload::new(size)?;
        for way in Way::ALL {
            figures.push(one(&sender, way, &payload, rounds)?);
        }
    }
    Ok(figures)
}

fn one(sender: &Sender, way: Way, payload: &Payload, rounds: u32) -> Result<Figure> {
    let size = payload.bytes.len() as u64;
    let mut open = Open::new(way, sender)?;
    // The first one makes buffers, and is not counted.
    if let Err(error) = open.send(payload, sender) {
        // A receiver that has gone is no refusal.
        sender.check().map_err(|_| format!("{}: {error}", way.name()))?;
        let refusal = Some(error.to_string());
        return Ok(Figure {
            way,
            size,
            nanoseconds: None,
            reading_nanoseconds: None,
            refusal,
            is_right: true,
        });
    }
    let (mut sending, mut reading, mut is_right) = (Vec::new(), Vec::new(), true);
    let start = Instant::now();
    for round in 0..MOST_ROUNDS {
        if round >= rounds && start.elapsed() >= ENOUGH {
            break;
        }
        let now = Instant::now();
        open.send(payload, sender)?;
        sending.push(now.elapsed());
        let received = sender.check()?;
        reading.push(received.reading);
        is_right &= received.length == size && received.sum == payload.sum;
    }
    Ok(Figure {
        way,
        size,
        nanoseconds: Some(median(sending)),
        reading_nanoseconds: Some(median(reading)),
        refusal: None,
        is_right,
    })
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
