//! What a container runtime sends, and a profile to add to: whatever it is, the answer is a value or an error.
#![no_main]

use std::path::Path;

use ashmem_device::agent::ContainerState;
use ashmem_device::filter::{Abi, add_to};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(state) = ContainerState::parse(text) {
        // Without descriptors there is none to take.
        assert!(state.take_listener(&mut Vec::new()).is_err());
    }
    if let Ok(base) = serde_json::from_slice(text) {
        if let Ok(merged) = add_to(base, Abi::native(), Path::new("/run/agent")) {
            assert!(merged.is_object());
        }
    }
});
