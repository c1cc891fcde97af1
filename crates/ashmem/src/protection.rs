//! The protection mask: what mappings of a region may do.

use std::fmt;

use rustix::mm::ProtFlags;

bitflags::bitflags! {
    /// What mappings may do with a region's pages; the bits are those of `PROT_*` in `mmap(2)`.
    ///
    /// A region starts with all three and can only lose them ([`Region::set_protection`](crate::Region::set_protection)).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Protection: u32 {
        /// Pages may be read.
        const READ = 1;
        /// Pages may be written.
        const WRITE = 2;
        /// Pages may be executed.
        const EXEC = 4;
    }
}

impl Protection {
    pub(crate) fn flags(self) -> ProtFlags {
        let mut flags = ProtFlags::empty();
        flags.set(ProtFlags::READ, self.contains(Protection::READ));
        flags.set(ProtFlags::WRITE, self.contains(Protection::WRITE));
        flags.set(ProtFlags::EXEC, self.contains(Protection::EXEC));
        flags
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit, letter| if self.contains(bit) { letter } else { '-' };
        write!(f, "{}{}{}", letter(Self::READ, 'r'), letter(Self::WRITE, 'w'), letter(Self::EXEC, 'x'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_in_proc_maps() {
        assert_eq!(Protection::all().to_string(), "rwx");
        assert_eq!((Protection::READ | Protection::EXEC).to_string(), "r-x");
        assert_eq!(Protection::empty().to_string(), "---");
    }
}
