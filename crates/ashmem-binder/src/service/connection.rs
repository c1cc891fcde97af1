//! The connections of sessions: rsbinder's, with what it has not.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{PeerIdentity, RpcError, RpcTransport};

use super::admission::Place;

type RpcResult<T> = Result<T, RpcError>;

/// How long the peer may take for an answer. The timeouts of a socket begin anew with each byte.
pub(super) struct Calls {
    /// Whether the socket's timeouts stay as they are; until then, the connection is being set up.
    is_timed: Arc<AtomicBool>,
    set_up: Duration,
    timeout: Option<Duration>,
    /// When something was sent last: [`now`].
    asked: AtomicU64,
}

impl Calls {
    pub(super) fn new(is_timed: Arc<AtomicBool>, set_up: Duration, timeout: Option<Duration>) -> Calls {
        Calls { is_timed, set_up, timeout, asked: AtomicU64::new(now()) }
    }

    fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    fn asks(&self) {
        self.asked.store(now(), Ordering::Relaxed);
    }

    fn check(&self) -> RpcResult<()> {
        let timeout = if self.is_timed() { self.timeout } else { Some(self.set_up) };
        let since = now().saturating_sub(self.asked.load(Ordering::Relaxed));
        match timeout {
            Some(timeout) if Duration::from_millis(since) > timeout => Err(RpcError::Timeout),
            _ => Ok(()),
        }
    }
}

/// Milliseconds of a clock that costs next to nothing to read.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64).wrapping_mul(1000).wrapping_add(now.tv_nsec as u64 / 1_000_000)
}

/// Carries what rsbinder's own transport carries.
pub(super) struct Connection {
    /// Closed before the place is free.
    transport: UnixTransport,
    /// Only where calls are made.
    calls: Option<Calls>,
    #[allow(dead_code, reason = "held for its drop")]
    place: Option<Place>,
}

impl Connection {
    /// One that was let in, and counts as long as it lives.
    pub(super) fn accepted(transport: UnixTransport, place: Place) -> Connection {
        Connection { transport, calls: None, place: Some(place) }
    }

    /// One to a server.
    pub(super) fn to_server(transport: UnixTransport, calls: Option<Calls>) -> Connection {
        Connection { transport, calls, place: None }
    }

    fn is_timed(&self) -> bool {
        self.calls.as_ref().is_some_and(Calls::is_timed)
    }

    fn asks(&self) {
        if let Some(calls) = &self.calls {
            calls.asks();
        }
    }

    fn check(&self) -> RpcResult<()> {
        self.calls.as_ref().map_or(Ok(()), Calls::check)
    }
}

impl RpcTransport for Connection {
    fn send_frame(&self, frame: &[u8]) -> RpcResult<()> {
        self.asks();
        self.transport.send_frame(frame)
    }

    fn recv_frame(&self) -> RpcResult<Vec<u8>> {
        self.check()?;
        self.transport.recv_frame()
    }

    fn peer_identity(&self) -> PeerIdentity {
        self.transport.peer_identity()
    }

    fn describe(&self) -> &str {
        self.transport.describe()
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> RpcResult<()> {
        if self.is_timed() { Ok(()) } else { self.transport.set_read_timeout(timeout) }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> RpcResult<()> {
        if self.is_timed() { Ok(()) } else { self.transport.set_write_timeout(timeout) }
    }

    fn set_liveness(&self, timeout: Option<Duration>) -> RpcResult<()> {
        self.transport.set_liveness(timeout)
    }

    fn peer_closed(&self) -> Option<bool> {
        self.transport.peer_closed()
    }

    fn shutdown_handle(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.transport.shutdown_handle()
    }

    fn shutdown(&self) -> RpcResult<()> {
        self.transport.shutdown()
    }

    fn supports_fd_passing(&self) -> bool {
        self.transport.supports_fd_passing()
    }

    fn send_frame_with_fds(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> RpcResult<()> {
        self.asks();
        self.transport.send_frame_with_fds(frame, fds)
    }

    fn recv_frame_with_fds(&self) -> RpcResult<(Vec<u8>, Vec<OwnedFd>)> {
        self.check()?;
        self.transport.recv_frame_with_fds()
    }

    fn send_raw(&self, bytes: &[u8]) -> RpcResult<()> {
        self.asks();
        self.transport.send_raw(bytes)
    }

    fn recv_raw(&self, bytes: &mut [u8]) -> RpcResult<usize> {
        self.check()?;
        self.transport.recv_raw(bytes)
    }

    fn send_raw_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> RpcResult<()> {
        self.asks();
        self.transport.send_raw_with_fds(bytes, fds)
    }

    fn recv_raw_with_fds(&self, bytes: &mut [u8]) -> RpcResult<(usize, Vec<OwnedFd>)> {
        self.check()?;
        self.transport.recv_raw_with_fds(bytes)
    }

    fn send_raw_draining(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        drain: &mut dyn FnMut() -> RpcResult<()>,
    ) -> RpcResult<()> {
        self.asks();
        self.transport.send_raw_draining(bytes, fds, drain)
    }
}
