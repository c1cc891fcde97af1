//! Who has how much memory in the course of a run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ashmem::page_size;

use super::Error;
use super::cgroup::{Cgroup, kills_in};

/// How often is looked.
const INTERVAL: Duration = Duration::from_micros(500);

/// What was seen. Times are in seconds since the neighbour was told to begin, and negative before.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Timeline {
    pub samples: Vec<Sample>,
    /// When the kernel had killed somebody.
    pub kills: Vec<f64>,
}

/// At one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Sample {
    pub seconds: f64,
    /// All that counts in the cgroup.
    pub used: u64,
    /// The neighbour's share of it.
    pub neighbour: u64,
}

/// A thread that looks.
pub struct Sampler {
    begun: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Timeline>>,
}

impl Sampler {
    /// Looks at a cgroup, and at the neighbour in it, from now on.
    pub fn start(cgroup: &Cgroup, neighbour: u32) -> Result<Sampler, Error> {
        let open =
            |path: std::path::PathBuf| File::open(&path).map_err(|source| Error::Input { path, source });
        let files = Files {
            usage: open(cgroup.usage_file())?,
            kills: open(cgroup.kills_file())?,
            statm: open(format!("/proc/{neighbour}/statm").into())?,
        };
        let (begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_begun, is_ended) = (begun.clone(), ended.clone());
        let thread = std::thread::Builder::new()
            .name("sampler".into())
            .spawn(move || files.watch(&is_begun, &is_ended))
            .map_err(Error::Start)?;
        Ok(Sampler { begun, ended, thread: Some(thread) })
    }

    /// The neighbour begins.
    pub fn mark(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// What was seen until now.
    pub fn finish(mut self) -> Timeline {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

struct Files {
    usage: File,
    kills: File,
    statm: File,
}

impl Files {
    fn watch(&self, begun: &AtomicBool, ended: &AtomicBool) -> Timeline {
        let (started, mut begin) = (Instant::now(), None);
        let mut timeline = Timeline::default();
        let mut kills = self.kills();
        while !ended.load(Ordering::Relaxed) {
            let seconds = started.elapsed().as_secs_f64();
            if begin.is_none() && begun.load(Ordering::Relaxed) {
                begin = Some(seconds);
            }
            if let Some(used) = self.used() {
                // One that was killed has nothing any more.
                let neighbour = self.neighbour().unwrap_or(0).min(used);
                timeline.samples.push(Sample { seconds, used, neighbour });
            }
            let now = self.kills();
            (kills..now).for_each(|_| timeline.kills.push(seconds));
            kills = kills.max(now);
            std::thread::sleep(INTERVAL);
        }
        let begin = begin.unwrap_or(0.0);
        timeline.samples.iter_mut().for_each(|sample| sample.seconds -= begin);
        timeline.kills.iter_mut().for_each(|seconds| *seconds -= begin);
        timeline
    }

    fn used(&self) -> Option<u64> {
        read(&self.usage)?.trim().parse().ok()
    }

    fn kills(&self) -> u64 {
        read(&self.kills).and_then(|text| kills_in(&text)).unwrap_or(0)
    }

    /// Resident pages that are not of files (`proc_pid_statm(5)`).
    fn neighbour(&self) -> Option<u64> {
        anonymous(&read(&self.statm)?)
    }
}

fn anonymous(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, of_files) = (fields.next()??, fields.next()??);
    Some(resident.saturating_sub(of_files) * page_size())
}

fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 1024];
    let length = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_files_do_not_count() {
        assert_eq!(anonymous("1000 300 100 5 0 200 0\n"), Some(200 * page_size()));
        assert_eq!(anonymous("1000 3 100 5 0 200 0\n"), Some(0));
        assert_eq!(anonymous("1000"), None);
    }
}
