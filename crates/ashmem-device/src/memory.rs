//! Whether the kernel would promise that much memory (`vm.overcommit_memory`).

use std::fs;

/// Whether an area of so many bytes can be mapped without `MAP_NORESERVE`. The driver has the kernel account for all of an area at its
/// first mapping, which the kernel refuses for more than it has; a memfd is not accounted for.
pub(crate) fn is_enough_for(size: u64) -> bool {
    let mode = fs::read("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    match mode.trim_ascii() {
        b"1" => true,
        b"2" => field("CommitLimit:")
            .zip(field("Committed_AS:"))
            .is_none_or(|(limit, committed)| size <= limit.saturating_sub(committed)),
        // Only what is obviously too much is refused.
        _ => field("MemTotal:").is_none_or(|total| size <= total + field("SwapTotal:").unwrap_or(0)),
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn field(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_can_be_had() {
        assert!(is_enough_for(4096));
        assert!(field("MemTotal:").is_some_and(|total| total > 4096));
        assert_eq!(field("NoSuchField:"), None);
    }
}
