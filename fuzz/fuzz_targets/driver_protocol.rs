//! Packets between processes and the driver daemon: whatever has a meaning is said in just that way.
#![no_main]

use ashmem::driver::protocol::{MESSAGE_MAX, REGIONS_MAX, Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(request) = Request::decode(packet) {
        assert_eq!(request.encode(), packet);
        assert!(packet.len() <= MESSAGE_MAX);
        if let Request::Register(ids) = request {
            assert!((1..=REGIONS_MAX).contains(&ids.len()));
        }
    }
    if let Some(reply) = Reply::decode(packet) {
        assert_eq!(reply.encode(), packet);
        if let Reply::Purged { range, .. } = reply {
            assert!(range.start < range.end);
        }
    }
});
