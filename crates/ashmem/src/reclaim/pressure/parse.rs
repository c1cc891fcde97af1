//! The text of `/proc/meminfo` and of the memory controllers' files. Any bytes are fine; what makes no sense is `None`.

use super::Headroom;

/// `MemAvailable` and `MemTotal` of `/proc/meminfo` (proc_meminfo(5)), which count in KiB.
///
/// `MemAvailable` is the kernel's own estimate: free pages, and of the page cache and the slabs what can go without
/// swapping. Pages of memfds count as used there, as they should.
pub(super) fn parse_meminfo(text: &[u8]) -> Option<Headroom> {
    let kib = |key| parse_keyed(text, key)?.checked_mul(1024);
    Some(Headroom { available: kib(b"MemAvailable:")?, limit: kib(b"MemTotal:")? })
}

/// The number after `key` in lines of "key number …".
pub(super) fn parse_keyed(text: &[u8], key: &[u8]) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key)?;
        if rest.first() != Some(&b' ') {
            return None;
        }
        parse_number(rest.split(|&byte| byte == b' ').find(|word| !word.is_empty())?)
    })
}

/// A decimal number, alone but for white space around it.
pub(super) fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// What a cgroup has left of `limit`: what it does not use, and what it uses only as inactive page cache.
///
/// Of the page cache only the inactive half is counted, as the kubelet does for its "working set". Active file pages
/// are program text and hot files: a reclaimer that waited for those to go first would trade a rebuildable page for a
/// thrashing program. Anonymous and shared memory (memfds) is not reclaimable at all without swap, and with swap only
/// slowly.
pub(super) fn cgroup_headroom(limit: u64, used: u64, inactive_file: u64) -> Headroom {
    let needed = used.saturating_sub(inactive_file);
    Headroom { available: limit.saturating_sub(needed), limit }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_meminfo() {
        let text =
            b"MemTotal:       16316180 kB\nMemFree:  123 kB\nMemAvailable:    8000000 kB\nSwapTotal: 0 kB\n";
        let expected = Headroom { available: 8_000_000 * 1024, limit: 16_316_180 * 1024 };
        assert_eq!(parse_meminfo(text), Some(expected));
    }

    #[test]
    fn refuses_meminfo_without_an_estimate() {
        assert_eq!(parse_meminfo(b"MemTotal: 5 kB\nMemFree: 5 kB\n"), None);
        assert_eq!(parse_meminfo(b"MemTotal: 5 kB\nMemAvailable: kB\n"), None);
        assert_eq!(parse_meminfo(b"MemTotal: 5 kB\nMemAvailable: 18446744073709551615 kB\n"), None);
        assert_eq!(parse_meminfo(b""), None);
    }

    #[test]
    fn finds_whole_keys_only() {
        let text = b"inactive_file_x 1\ntotal_inactive_file 2\ninactive_file 3\n";
        assert_eq!(parse_keyed(text, b"inactive_file"), Some(3));
        assert_eq!(parse_keyed(text, b"total_inactive_file"), Some(2));
        assert_eq!(parse_keyed(text, b"active_file"), None);
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(parse_number(b" 42\n"), Some(42));
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b"18446744073709551616"[..], b"", b"\n", b"max", b"-1", b"+1", b"4 2", b"0x10"] {
            assert_eq!(parse_number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_cgroup_has_left_what_it_does_not_need() {
        assert_eq!(cgroup_headroom(100, 60, 10), Headroom { available: 50, limit: 100 });
        assert_eq!(cgroup_headroom(100, 130, 10), Headroom { available: 0, limit: 100 });
        assert_eq!(cgroup_headroom(100, 10, 50), Headroom { available: 100, limit: 100 });
        assert_eq!(cgroup_headroom(u64::MAX, 1, u64::MAX).available, u64::MAX);
    }

    proptest! {
        #[test]
        fn survives_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_meminfo(&text);
            let _ = parse_keyed(&text, b"");
            let _ = parse_number(&text);
        }

        #[test]
        fn never_has_more_left_than_the_limit(limit: u64, used: u64, inactive: u64) {
            prop_assert!(cgroup_headroom(limit, used, inactive).available <= limit);
        }
    }
}
