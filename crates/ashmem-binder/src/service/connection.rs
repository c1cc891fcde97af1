//! The connections of sessions: rsbinder's, with what it has not.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{PeerIdentity, RpcError, RpcTransport};

use super::admission::Place;

type RpcResult<T> = Result<T, RpcError>;

/// Carries what rsbinder's own transport carries.
pub(super) struct Connection {
    /// Closed before the place is free.
    transport: UnixTransport,
    /// Whether its socket's timeouts stay as they are.
    is_timed: Option<Arc<AtomicBool>>,
    #[allow(dead_code, reason = "held for its drop")]
    place: Option<Place>,
}

impl Connection {
    /// One that was let in, and counts as long as it lives.
    pub(super) fn accepted(transport: UnixTransport, place: Place) -> Connection {
        Connection { transport, is_timed: None, place: Some(place) }
    }

    /// One to a server. Once `is_timed` is set, its timeouts stay.
    pub(super) fn to_server(transport: UnixTransport, is_timed: Option<Arc<AtomicBool>>) -> Connection {
        Connection { transport, is_timed, place: None }
    }

    fn is_timed(&self) -> bool {
        self.is_timed.as_ref().is_some_and(|is_timed| is_timed.load(Ordering::Relaxed))
    }
}

impl RpcTransport for Connection {
    fn send_frame(&self, frame: &[u8]) -> RpcResult<()> {
        self.transport.send_frame(frame)
    }

    fn recv_frame(&self) -> RpcResult<Vec<u8>> {
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
        self.transport.send_frame_with_fds(frame, fds)
    }

    fn recv_frame_with_fds(&self) -> RpcResult<(Vec<u8>, Vec<OwnedFd>)> {
        self.transport.recv_frame_with_fds()
    }

    fn send_raw(&self, bytes: &[u8]) -> RpcResult<()> {
        self.transport.send_raw(bytes)
    }

    fn recv_raw(&self, bytes: &mut [u8]) -> RpcResult<usize> {
        self.transport.recv_raw(bytes)
    }

    fn send_raw_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> RpcResult<()> {
        self.transport.send_raw_with_fds(bytes, fds)
    }

    fn recv_raw_with_fds(&self, bytes: &mut [u8]) -> RpcResult<(usize, Vec<OwnedFd>)> {
        self.transport.recv_raw_with_fds(bytes)
    }

    fn send_raw_draining(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        drain: &mut dyn FnMut() -> RpcResult<()>,
    ) -> RpcResult<()> {
        self.transport.send_raw_draining(bytes, fds, drain)
    }
}
