//! The same composing, without windows and without other processes.

use super::compose::{Lines, Plane, compose};
use crate::Result;
use crate::picture::Picture;
use crate::rect::{Rect, Size};
use crate::service::Placement;

/// Composes pictures that are all in this process's memory: what a compositor is compared with.
pub struct PictureComposer {
    screen: Picture,
    lines: Lines,
}

impl PictureComposer {
    /// With a screen of that size.
    #[must_use]
    pub fn new(size: Size) -> PictureComposer {
        PictureComposer { screen: Picture::new(size), lines: Lines::default() }
    }

    /// Composes pictures from the hindmost to the foremost, all of the screen. Each has its place, and whether the alpha of its pixels counts as
    /// 255.
    ///
    /// # Errors
    /// None that can be helped.
    pub fn compose(&mut self, pictures: &[(Placement, bool, &Picture)]) -> Result<&Picture> {
        let planes: Vec<_> = pictures
            .iter()
            .map(|&(Placement { x, y, alpha, .. }, is_opaque, source)| Plane {
                rect: Rect::of_size(source.size()).moved(x, y),
                alpha,
                is_opaque,
                source,
            })
            .collect();
        let rect = self.screen.bounds();
        compose(&planes, rect, &mut self.screen, &mut self.lines)?;
        Ok(&self.screen)
    }
}
