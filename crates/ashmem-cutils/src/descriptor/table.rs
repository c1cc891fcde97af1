//! A cell for each descriptor that a process can have.
#![allow(unsafe_code, reason = "blocks of cells that are made when they are needed")]

use std::ops::RangeInclusive;
use std::ptr;

use super::cell::Cell;
use crate::sync::{AtomicPtr, Ordering};

/// Descriptors whose cells are found without a look at a block.
const LOW: usize = 1024;
/// Cells in a block.
const BLOCK: usize = 4096;
/// Blocks, for more descriptors than any system lets a process have.
const BLOCKS: usize = 16384;

type Block<T> = [Cell<T>; BLOCK];

/// Cells by descriptor. Blocks of them are made when they are needed, and never freed.
pub(crate) struct Table<T> {
    low: [Cell<T>; LOW],
    /// The cells of low descriptors in the first block are not used.
    blocks: [AtomicPtr<Block<T>>; BLOCKS],
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table {
            low: [const { Cell::empty() }; LOW],
            blocks: [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS],
        }
    }

    /// The cell of a descriptor, unless there was never anything in its block.
    #[inline]
    pub(crate) fn get(&self, fd: u32) -> Option<&Cell<T>> {
        let fd = fd as usize;
        match self.low.get(fd) {
            Some(cell) => Some(cell),
            None => self.block(fd / BLOCK).map(|block| &block[fd % BLOCK]),
        }
    }

    #[inline]
    fn block(&self, index: usize) -> Option<&Block<T>> {
        let block = self.blocks.get(index)?.load(Ordering::Acquire);
        // SAFETY: null, or a block that came from `Box::into_raw` and is never freed.
        unsafe { block.as_ref() }
    }

    /// The cell of a descriptor; `None` for a number beyond all descriptors.
    pub(crate) fn get_or_make(&self, fd: u32) -> Option<&Cell<T>> {
        if let Some(cell) = self.get(fd) {
            return Some(cell);
        }
        let slot = self.blocks.get(fd as usize / BLOCK)?;
        let cells: Box<[Cell<T>]> = (0..BLOCK).map(|_| Cell::empty()).collect();
        let block: Box<Block<T>> = cells.try_into().ok()?;
        let block = Box::into_raw(block);
        if slot.compare_exchange(ptr::null_mut(), block, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: it came from `Box::into_raw`, and nobody else has seen it.
            drop(unsafe { Box::from_raw(block) });
        }
        self.get(fd)
    }

    /// Those cells of a range of descriptors that have something in them.
    pub(crate) fn filled(&self, range: RangeInclusive<u32>) -> impl Iterator<Item = (u32, &Cell<T>)> {
        let (first, last) = (*range.start() as usize, *range.end() as usize);
        let low = (first..(last + 1).min(LOW)).map(|fd| (fd, &self.low[fd]));
        let blocks = (first / BLOCK..=last / BLOCK).take_while(|index| *index < BLOCKS);
        let high = blocks.filter_map(|index| Some((index * BLOCK, self.block(index)?))).flat_map(
            move |(start, block)| {
                let cells = first.max(start) - start..=(last - start).min(BLOCK - 1);
                cells.map(move |cell| (start + cell, &block[cell]))
            },
        );
        low.chain(high).filter(|(_, cell)| !cell.is_empty()).map(|(fd, cell)| (fd as u32, cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::cell::Domain;

    #[test]
    fn finds_what_was_filled() {
        let table: Table<u32> = Table::new();
        let domain: Domain<u32, 4> = Domain::new();
        let numbers = [0, 1, 1023, 1024, 4095, 4096, 4097, 1 << 20, (BLOCK * BLOCKS - 1) as u32];
        for number in numbers {
            assert!(table.get_or_make(number).expect("a cell").fill(number).is_ok());
        }
        assert!(table.get_or_make((BLOCK * BLOCKS) as u32).is_none());
        assert!(table.get(u32::MAX).is_none());
        let found = |range| table.filled(range).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(found(0..=u32::MAX), numbers);
        assert_eq!(found(1..=4095), [1, 1023, 1024, 4095]);
        assert_eq!(found(4096..=4096), [4096]);
        assert_eq!(found(2..=1022), []);
        assert_eq!(found(1025..=4094), []);
        assert_eq!(found(u32::MAX..=u32::MAX), []);
        for number in numbers {
            let cell = table.get(number).expect("a cell");
            assert_eq!(domain.read_as_guest(cell).map(|it| *it), Some(number));
            domain.retire(cell.take().expect("filled"));
        }
        assert_eq!(found(0..=u32::MAX), []);
    }
}
