//! `struct msghdr`, as 64-bit and 32-bit programs have it.

use rustix::io::Errno;

use crate::task::Task;

/// What a call says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes an address or a size has.
    pub(super) word: usize,
    pub(super) name: u64,
    pub(super) name_length: u32,
    pub(super) vectors: u64,
    pub(super) vector_count: u64,
    pub(super) control: u64,
    pub(super) control_length: u64,
}

impl Header {
    /// That of a call whose second argument leads to it.
    pub(super) fn read(task: &Task<'_>) -> Result<Header, Errno> {
        let word = if task.abi.is_32_bit() { 4 } else { 8 };
        let mut bytes = [0; 56];
        let bytes = &mut bytes[..7 * word];
        task.read_exact(task.argument(1), bytes)?;
        Ok(Header::parse(bytes, word))
    }

    /// Seven fields: name, its length, vectors, their count, control data, its length, flags. All but the second and the last are words.
    fn parse(bytes: &[u8], word: usize) -> Header {
        let field = |index: usize| {
            let mut value = [0; 8];
            value[..word].copy_from_slice(&bytes[index * word..(index + 1) * word]);
            u64::from_le_bytes(value)
        };
        Header {
            word,
            name: field(0),
            name_length: field(1) as u32,
            vectors: field(2),
            vector_count: field(3),
            control: field(4),
            control_length: field(5),
        }
    }

    pub(super) fn has_room_for_descriptor(&self) -> bool {
        self.control != 0 && self.control_length >= self.word as u64 + 12
    }

    /// Tells the caller what was received.
    ///
    /// # Errors
    /// EFAULT.
    pub(super) fn write_back(
        &self,
        task: &Task<'_>,
        name: &[u8],
        control: &[u8],
        flags: i32,
    ) -> Result<(), Errno> {
        let field = |index: usize| task.argument(1).wrapping_add((index * self.word) as u64);
        if self.name != 0 {
            let shown = name.len().min(self.name_length as usize);
            task.write_all(self.name, &name[..shown])?;
            task.write_all(field(1), &(name.len() as u32).to_le_bytes())?;
        }
        task.write_all(self.control, control)?;
        task.write_all(field(6), &flags.to_le_bytes())?;
        task.write_all(field(5), &(control.len() as u64).to_le_bytes()[..self.word])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        // The upper half of the second field is padding.
        let fields = [1_u64, 0xdead_0000_0002, 3, 4, 5, 28, 7];
        let wide: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        let narrow: Vec<u8> = fields.iter().flat_map(|&field| (field as u32).to_le_bytes()).collect();
        let (wide, narrow) = (Header::parse(&wide, 8), Header::parse(&narrow, 4));
        assert_eq!(
            (wide.name, wide.vectors, wide.vector_count, wide.control, wide.control_length),
            (1, 3, 4, 5, 28)
        );
        assert_eq!(wide.name_length, 2);
        assert_eq!(narrow, Header { word: 4, name_length: 2, ..wide });
        assert!(wide.has_room_for_descriptor() && narrow.has_room_for_descriptor());
        assert!(!Header { control_length: 19, ..wide }.has_room_for_descriptor());
        assert!(Header { control_length: 16, ..narrow }.has_room_for_descriptor());
        assert!(!Header { control: 0, ..wide }.has_room_for_descriptor());
    }
}
