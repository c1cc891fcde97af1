//! stub
use std::os::fd::BorrowedFd;
use std::time::Duration;
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// x
    pub available: u64,
    /// x
    pub limit: u64,
}
/// x
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// x
    pub headrooms: Vec<Headroom>,
    /// x
    pub stalled: bool,
}
/// x
pub trait PressureSource: Send {
    /// x
    fn read(&mut self) -> Reading;
    /// x
    fn arm(&mut self, reserve: &dyn Fn(u64) -> u64);
    /// x
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>);
    /// x
    fn has_events_for(&self, headroom_index: usize) -> bool;
}
/// x
pub struct SystemPressure;
impl SystemPressure {
    /// x
    pub fn new() -> Self {
        Self
    }
}
impl PressureSource for SystemPressure {
    fn read(&mut self) -> Reading {
        Reading::default()
    }
    fn arm(&mut self, _: &dyn Fn(u64) -> u64) {}
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) {
        let _ = wake;
        std::thread::sleep(timeout.unwrap_or(Duration::from_secs(1)));
    }
    fn has_events_for(&self, _: usize) -> bool {
        false
    }
}
pub(crate) fn next_look(_: &Reading, _: &dyn Fn(u64) -> u64, _: impl Fn(usize) -> bool) -> Duration {
    Duration::from_millis(100)
}
