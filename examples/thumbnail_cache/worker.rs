//! A worker process: visits all images again and again, and says after each what it saw.

use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ashmem::{BuildError, Cache, Mapping, Region};
use image::{GenericImageView, Rgba};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

use super::Result;
use super::bitmap::{self, Bitmap};
use super::channel::{self, Job, Message};

/// Does what comes over standard input, which is a socket.
pub fn run() -> Result<()> {
    // Where that is impossible, the next message to a parent that is gone ends it.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let [cache, sheet] = channel::receive_descriptors(&socket)
        .map_err(|error| format!("a worker's standard input is a socket of its parent: {error}"))?;
    let job: Job = channel::receive(&mut BufReader::new(&socket))?.ok_or("the parent is gone")?;
    let result = Worker::new(&job, Region::from_fd(cache)?, Region::from_fd(sheet)?)
        .and_then(|worker| worker.work(|message| Ok(channel::send(&socket, message)?)));
    if let Err(error) = result {
        channel::send(&socket, &Message::Stopped { reason: error.to_string() })?;
    }
    Ok(())
}

struct Worker<'a> {
    job: &'a Job,
    cache: Option<Cache>,
    sheet: Mapping,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Job, cache: Region, sheet: Region) -> Result<Worker<'a>> {
        let cache = job.budget.map(|budget| Cache::options().budget(budget).open(cache)).transpose()?;
        Ok(Worker { job, cache, sheet: sheet.map()? })
    }

    fn work(&self, mut say: impl FnMut(&Message) -> Result<()>) -> Result<()> {
        let mut random = Random(self.job.worker as u64);
        // An image that cannot be decoded is not tried again.
        let mut failures: Vec<Option<Message>> = vec![None; self.job.images.len()];
        let mut waits = 0;
        let mut order: Vec<usize> = (0..self.job.images.len()).collect();
        for round in 0..self.job.rounds {
            random.shuffle(&mut order);
            for &number in &order {
                let draws = round == 0 && number % self.job.workers == self.job.worker;
                let message = match &failures[number] {
                    Some(failure) => failure.clone(),
                    None => self.visit(number, draws, &mut waits)?,
                };
                say(&message)?;
                if matches!(message, Message::Failed { .. }) {
                    failures[number] = Some(message);
                }
            }
        }
        if self.job.dies {
            // Others had decoded everything.
            die();
        }
        say(&Message::Finished { waits })
    }

    fn visit(&self, number: usize, draws: bool, waits: &mut u64) -> Result<Message> {
        let image = &self.job.images[number];
        let failed = |reason: String| Ok(Message::Failed { image: number, reason });
        let (checksum, decoded) = match &self.cache {
            Some(cache) => match bitmap::get(cache, image, waits, || self.half_way()) {
                Ok(entry) => (self.look(&Bitmap::new(&entry)?, number, draws)?, entry.is_built()),
                Err(BuildError::Builder(error)) => return failed(error.to_string()),
                Err(BuildError::Region(error)) => return Err(error.into()),
            },
            None => match image.decode() {
                Ok(bitmap) => (self.look(&bitmap, number, draws)?, true),
                Err(error) => return failed(error.to_string()),
            },
        };
        Ok(Message::Visited { image: number, checksum, decoded, drawn: draws })
    }

    fn half_way(&self) {
        if self.job.dies {
            die();
        }
    }

    /// What is done with a bitmap at each visit.
    fn look(
        &self,
        bitmap: &impl GenericImageView<Pixel = Rgba<u8>>,
        number: usize,
        draws: bool,
    ) -> Result<u64> {
        if draws {
            self.job.sheet.put_shared(&self.sheet, number, &self.job.sheet.tile(bitmap))?;
        }
        Ok(bitmap::checksum(bitmap))
    }
}

/// As if the OOM killer had come.
fn die() {
    let _ = kill_process(getpid(), Signal::KILL);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}
