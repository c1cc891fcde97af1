//! Another library in Rust, with a standard library of its own, for a program that is linked with both.

use std::collections::HashMap;

/// Returns `bytes`, with a thread, a table, and a panic that is caught on the way.
#[no_mangle]
pub extern "C" fn other_count(bytes: u8) -> usize {
    let caught = std::panic::catch_unwind(|| {
        std::panic::resume_unwind(Box::new(bytes));
    });
    let map: HashMap<u8, bool> = (0..bytes).map(|byte| (byte, caught.is_err())).collect();
    std::thread::spawn(move || map.values().filter(|caught| **caught).count()).join().unwrap_or(0)
}
