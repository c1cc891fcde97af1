//! What a heap's maker asked for.

use rsbinder::shared_memory as wire;

bitflags::bitflags! {
    /// The flags of a heap, with AOSP's values: `IMemoryHeap.h`, `MemoryHeapBase.h`.
    ///
    /// They travel with the heap. Bits that are not known here are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct HeapFlags: u32 {
        /// Receivers map it for reading only, which the kernel enforces.
        const READ_ONLY = wire::FLAG_READ_ONLY;
        /// The process that makes the heap does not map it.
        const DONT_MAP_LOCALLY = wire::FLAG_DONT_MAP_LOCALLY;
        /// For heaps on devices; no effect here.
        const NO_CACHING = wire::FLAG_NO_CACHING;
        /// What heaps here are anyway.
        const FORCE_MEMFD = wire::FLAG_FORCE_MEMFD;
        /// The file may get further seals; otherwise they are sealed, too (`F_SEAL_SEAL`).
        const MEMFD_ALLOW_SEALING = wire::FLAG_MEMFD_ALLOW_SEALING;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_aosp() {
        assert_eq!(HeapFlags::READ_ONLY.bits(), 1);
        assert_eq!(HeapFlags::DONT_MAP_LOCALLY.bits(), 0x100);
        assert_eq!(HeapFlags::NO_CACHING.bits(), 0x200);
        assert_eq!(HeapFlags::FORCE_MEMFD.bits(), 0x400);
        assert_eq!(HeapFlags::MEMFD_ALLOW_SEALING.bits(), 0x800);
    }
}
