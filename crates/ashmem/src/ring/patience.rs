//! How long an end looks for its peer before it sleeps.

/// Looks of an end whose peer answers meanwhile: a few microseconds, less than going to sleep and being woken takes.
const MOST: u32 = 200;
/// Looks of an end whose peer never does, because it has much to do, or waits for this end's core.
const LEAST: u32 = 4;
/// One wait in so many has the most looks all the same, to notice that looking pays again.
const TRIAL: u32 = 32;

/// Learns from wait to wait whether it pays to look.
#[derive(Debug)]
pub(super) struct Patience {
    looks: u32,
    waits: u32,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { looks: MOST, waits: 0 }
    }

    /// How often to look in the wait that begins.
    pub(super) fn looks(&mut self) -> u32 {
        self.waits = self.waits.wrapping_add(1);
        if self.waits % TRIAL == 0 { MOST } else { self.looks }
    }

    /// What was looked for came meanwhile.
    pub(super) fn paid(&mut self) {
        self.looks = MOST.min(self.looks * 2);
    }

    /// It did not.
    pub(super) fn did_not_pay(&mut self) {
        self.looks = LEAST.max(self.looks / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_goes_with_failure_and_comes_with_success() {
        let mut patience = Patience::new();
        assert_eq!(patience.looks(), MOST);
        for _ in 0..TRIAL {
            patience.did_not_pay();
        }
        let looks: Vec<u32> = (0..TRIAL).map(|_| patience.looks()).collect();
        assert_eq!(looks.iter().filter(|looks| **looks == MOST).count(), 1, "one trial");
        assert_eq!(looks.iter().filter(|looks| **looks == LEAST).count() as u32, TRIAL - 1);
        for _ in 0..8 {
            patience.paid();
        }
        assert_eq!(patience.looks(), MOST);
    }
}
