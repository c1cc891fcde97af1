//! The pages of one region that is looked at again and again.

use ashmem::Reclaimer;

use super::map::{Picture, each_stretch};
use super::open::Access;
use super::open_region;
use super::scan::{File, scan};
use crate::error::Error;

/// So many holders are looked through, at most.
const MOST: usize = 16;

/// Knows where the region was found the last time. It keeps no descriptor: a region lives as long as its holders want.
#[derive(Debug, Default)]
pub struct Peek {
    file: Option<File>,
}

impl Peek {
    /// The pages of the region with that inode, which some of these processes hold, in at most so many cells.
    pub fn picture(&mut self, inode: u64, holders: &[u32], cells: u64) -> Result<Picture, Error> {
        if let Some(file) = self.file.take().filter(|file| file.id.inode == inode) {
            if let Ok(picture) = picture_of(&file, cells) {
                self.file = Some(file);
                return Ok(picture);
            }
            // Who held it there may have closed it, and others hold it still.
        }
        let file = find(inode, holders)?;
        let picture = picture_of(&file, cells)?;
        self.file = Some(file);
        Ok(picture)
    }
}

fn find(inode: u64, holders: &[u32]) -> Result<File, Error> {
    let mut hidden = false;
    for &process in holders.iter().take(MOST) {
        let found = scan(&[process])?;
        if let Some(file) = found.files.into_iter().find(|file| file.id.inode == inode) {
            return Ok(file);
        }
        hidden |= found.hidden > 0;
    }
    Err(Error::NotShown { hidden })
}

fn picture_of(file: &File, cells: u64) -> Result<Picture, Error> {
    // Nobody watches what is only looked at.
    let region = open_region(file, Access::Read, Reclaimer::global())?;
    let mut picture = Picture::with_cells(region.size(), cells);
    each_stretch(&region, |stretch| picture.add(&stretch))?;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use ashmem::{Region, page_size};

    use super::*;

    #[test]
    fn a_region_of_this_process() {
        let region = Region::create("peek", 4 * page_size()).expect("a region");
        region.map().expect("a mapping").fill(0, page_size(), 1).expect("filled");
        let inode = rustix::fs::fstat(region.as_fd()).expect("a file").st_ino;
        let holders = [std::process::id()];
        let mut peek = Peek::default();
        for _ in 0..2 {
            let picture = peek.picture(inode, &holders, 100).expect("a picture");
            assert_eq!(picture.signs(100).1, [Some(0), Some(4), Some(4), Some(4)]);
        }
        // Where it was found, another one is now.
        drop(region);
        let gone = peek.picture(inode, &holders, 100).expect_err("nobody has it");
        assert_eq!(gone.to_string(), "none of its holders has it open any more");
        assert!(peek.picture(inode, &[], 100).is_err());
    }
}
