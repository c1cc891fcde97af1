//! What the kernel says about the system's memory.

use std::fs;
use std::sync::{Mutex, PoisonError};

use ashmem::pressure::{PressureSource, SystemPressure};

/// A line of `/proc/meminfo`, in bytes.
pub fn memory_of_system(name: &str) -> Option<u64> {
    line_of(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

fn line_of(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Bytes that can be had before the kernel has to kill somebody: of the system's memory, and of what this process's memory cgroups
/// may have.
pub fn obtainable() -> Option<u64> {
    static SOURCE: Mutex<Option<SystemPressure>> = Mutex::new(None);
    let mut source = SOURCE.lock().unwrap_or_else(PoisonError::into_inner);
    let reading = source.get_or_insert_default().read();
    let least = reading.headrooms.iter().map(|headroom| headroom.available).min()?;
    Some(least.saturating_add(memory_of_system("SwapFree").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let text = "MemTotal:   24 kB\nShmemHugePages:  1 kB\nShmem:     8 kB\nBroken: 1\n";
        assert_eq!(line_of(text, "Shmem"), Some(8192));
        assert_eq!(line_of(text, "MemTotal"), Some(24 * 1024));
        assert_eq!(line_of(text, "Broken"), None);
        assert_eq!(line_of(text, "Absent"), None);
    }
}
