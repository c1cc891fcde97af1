//! A process with a cache that gives way: something to look at with `ashmem top`, with and without the driver daemon.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ashmem::{Mapping, Reclaimer, Region};

use super::{Error, raise_descriptor_limit, require_memory};
use crate::signals::Endings;
use crate::text::size;

/// The size of a tile in bytes.
const TILE: u64 = 1 << 20;

/// Between two uses of a tile.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two lines of output.
const LINES: Duration = Duration::from_secs(1);

struct Tile {
    region: Region,
    mapping: Mapping,
    /// What it is full of.
    byte: u8,
}

/// What became of the tiles since the last line.
#[derive(Default)]
struct Uses {
    intact: u64,
    rebuilt: u64,
    /// Tiles that were neither gone nor whole.
    wrong: u64,
}

/// Keeps a cache of so many bytes and uses it, until a signal ends it or the time is over. False when a tile was not what the pin
/// said.
pub fn run(bytes: u64, time: Option<Duration>) -> Result<bool, Error> {
    let count = bytes.div_ceil(TILE);
    require_memory(count * TILE)?;
    raise_descriptor_limit();
    // Before any thread, so that signals come to this one.
    let endings = Endings::hold_back().map_err(Error::Wait)?;
    let tiles = (0..count).map(Tile::new).collect::<Result<Vec<Tile>, Error>>()?;
    say(&format!("{count} tiles of {}, unpinned; used at random until Ctrl-C", size(TILE)))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let user = scope.spawn(|| use_tiles(&tiles, &stop));
        match time {
            Some(time) => thread::sleep(time),
            None => endings.wait().map_err(Error::Wait)?,
        }
        stop.store(true, Ordering::Relaxed);
        user.join().unwrap_or(Ok(false))
    })
}

fn use_tiles(tiles: &[Tile], stop: &AtomicBool) -> Result<bool, Error> {
    let mut dice = u64::from(std::process::id());
    let mut uses = Uses::default();
    let (mut rebuilt, mut wrong) = (0, 0);
    let mut said = Instant::now();
    // The first line says what there is.
    say(&line(tiles, &uses)?)?;
    while !stop.load(Ordering::Relaxed) {
        // Some are used more than others, as tiles are: the square of an even chance.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chance = u128::from(dice >> 32);
        let place = (chance * chance * tiles.len() as u128) >> 64;
        if let Some(tile) = tiles.get(place as usize) {
            tile.make_use(&mut uses)?;
        }
        if said.elapsed() >= LINES {
            said = Instant::now();
            say(&line(tiles, &uses)?)?;
            rebuilt += uses.rebuilt;
            wrong += uses.wrong;
            uses = Uses::default();
        }
        thread::sleep(PAUSE);
    }
    say(&format!("rebuilt {} tiles that had been taken away", rebuilt + uses.rebuilt))?;
    Ok(wrong + uses.wrong == 0)
}

fn line(tiles: &[Tile], uses: &Uses) -> Result<String, Error> {
    let mut resident = 0;
    for tile in tiles {
        resident += tile.region.resident()?;
    }
    let by = match Reclaimer::global().driver() {
        Some(path) => format!("the driver daemon at {}", path.display()),
        None => "this process".to_owned(),
    };
    let all = tiles.len() as u64 * TILE;
    let trouble = if uses.wrong > 0 { format!(", {} WRONG", uses.wrong) } else { String::new() };
    let Uses { intact, rebuilt, .. } = uses;
    Ok(format!(
        "{} of {} in memory; used {intact} that were there, rebuilt {rebuilt}{trouble}; looked after by {by}",
        size(resident),
        size(all),
    ))
}

impl Tile {
    fn new(number: u64) -> Result<Tile, Error> {
        let region = Region::options().purgeable().create(format!("tile {number}"), TILE)?;
        let mapping = region.map()?;
        let tile = Tile { region, mapping, byte: number as u8 | 1 };
        tile.mapping.fill(0, TILE, tile.byte)?;
        tile.region.unpin(..)?;
        Ok(tile)
    }

    fn make_use(&self, uses: &mut Uses) -> Result<(), Error> {
        if self.region.pin(..)?.is_purged() {
            self.mapping.fill(0, TILE, self.byte)?;
            uses.rebuilt += 1;
        } else {
            uses.intact += 1;
        }
        let read = self.mapping.read_vec(0, TILE)?;
        uses.wrong += u64::from(read.iter().any(|byte| *byte != self.byte));
        self.region.unpin(..)?;
        Ok(())
    }
}

fn say(line: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        // Nobody reads any more, and `ashmem top` may still look.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}
