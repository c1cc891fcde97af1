//! What is sent, and how the receiver's copy is told from another one.

use ashmem::{Mapping, Region};

use super::Result;

/// Bytes at a time, where memory is read that another process may write.
const CHUNK: usize = 64 << 10;

/// One size of it, whole in the sender's memory: as bytes of its own, and as a region.
pub struct Payload {
    pub bytes: Vec<u8>,
    pub region: Region,
    pub sum: u64,
}

impl Payload {
    pub fn new(size: u64) -> Result<Payload> {
        let mut state = size;
        let mut bytes = vec![0; usize::try_from(size)?];
        for chunk in bytes.chunks_mut(8) {
            // Knuth's multiplier: neither constant nor the same in two places.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        let region = Region::create("payload", size)?;
        region.map()?.write_at(0, &bytes)?;
        let mut sum = Sum::default();
        sum.add(&bytes);
        Ok(Payload { bytes, region, sum: sum.value() })
    }
}

/// A sum over words that notices what is missing, doubled, or in another place.
#[derive(Default)]
pub struct Sum {
    sum: u64,
    weighted: u64,
}

impl Sum {
    /// The next bytes; all but the last ones a multiple of eight.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            self.sum = self.sum.wrapping_add(word);
            self.weighted = self.weighted.wrapping_add(self.sum);
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.sum = self.sum.wrapping_add(u64::from_le_bytes(word));
            self.weighted = self.weighted.wrapping_add(self.sum);
        }
    }

    /// Of shared memory.
    pub fn add_mapping(&mut self, mapping: &Mapping) -> ashmem::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut offset = 0;
        while offset < mapping.len() {
            let length = (mapping.len() - offset).min(CHUNK as u64);
            let chunk = &mut chunk[..length as usize];
            mapping.read_at(offset, chunk)?;
            self.add(chunk);
            offset += length;
        }
        Ok(())
    }

    pub fn value(&self) -> u64 {
        self.sum ^ self.weighted.rotate_left(32)
    }
}
