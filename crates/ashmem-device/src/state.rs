//! Everything that the device knows: the areas and their files.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashmem_driver::reclaim::Served;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::caches::Caches;
use crate::calls::message::Mail;
use crate::files::Files;
use crate::holders::Holders;
use crate::model::{Access, AreaId, Device, Flavour, MapCall, MapKind, Pin};
use crate::node::Node;
use crate::pins::Pins;
use crate::protect::Protections;
use crate::reclaim::Bell;
use crate::task::FileId;

/// What all listeners have in common. No client's memory is touched, and no client's file asked, while the state is locked.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) node: Node,
    pub(crate) mail: Mail,
    pub(crate) reclaimer: ashmem::Reclaimer,
    pub(crate) bell: Bell,
}

/// The driver's state, and what stands for its memory.
pub(crate) struct State {
    pub(crate) device: Device,
    areas: HashMap<AreaId, Held>,
    by_file: HashMap<FileId, AreaId>,
    pub(crate) protections: Protections,
    pub(crate) caches: Caches,
}

/// Is told of each range that the device takes away.
type Take<'a> = &'a mut dyn FnMut(AreaId, Range<u64>);

/// What a mapping that is allowed takes.
pub(crate) enum Mappable {
    Now {
        /// What the caller's descriptor has to lead to first, if it does not.
        exchange: Option<OwnedFd>,
        /// The bits that it may ever have.
        mask: u64,
    },
    /// A moment's patience.
    NotYet,
}

/// The mapping that was allowed last.
struct Last {
    thread: i32,
    file: FileId,
    at: Instant,
}

/// How long a thread may take from being let go on to having mapped what its descriptor leads to.
const EXCHANGED: Duration = Duration::from_millis(5);

/// What belongs to an area besides the driver's own state.
pub(crate) struct Held {
    pub(crate) files: Files,
    pub(crate) pins: Pins,
    pub(crate) holders: Holders,
    last: Option<Last>,
}

impl Shared {
    pub(crate) fn new(flavour: Flavour, reclaimer: ashmem::Reclaimer, bell: Bell) -> Shared {
        let state = State {
            device: Device::new(ashmem::page_size(), flavour),
            areas: HashMap::new(),
            by_file: HashMap::new(),
            protections: Protections::default(),
            caches: Caches::default(),
        };
        Shared { state: Mutex::new(state), node: Node::new(), mail: Mail::default(), reclaimer, bell }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete when something can panic, as far as is known; and nobody else could go on otherwise.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The area that a file belongs to.
    pub(crate) fn area_of(&self, file: FileId) -> Option<AreaId> {
        self.lock().by_file.get(&file).copied()
    }
}

impl State {
    /// A new area, as `open` makes one.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`.
    pub(crate) fn open(&mut self, access: Access) -> Result<AreaId, Errno> {
        let files = match Files::new() {
            // Areas that nobody has any more have descriptors yet.
            Err(Errno::MFILE) => {
                self.let_go();
                Files::new()?
            }
            made => made?,
        };
        let id = self.device.open(access);
        self.by_file.insert(files.id(), id);
        self.areas.insert(id, Held { files, pins: Pins::default(), holders: Holders::default(), last: None });
        Ok(id)
    }

    /// The area is gone: nobody has a descriptor or a mapping.
    pub(crate) fn forget(&mut self, id: AreaId) {
        if let Some(held) = self.areas.remove(&id) {
            for file in held.files.ids() {
                self.by_file.remove(&file);
            }
            // Freeing a large area's pages takes a while; here nobody waits for it but the next call.
            drop(held);
        }
        self.device.close(id);
    }

    pub(crate) fn area_of(&self, file: FileId) -> Option<AreaId> {
        self.by_file.get(&file).copied()
    }

    /// The area that a file belongs to, which a thread has as this descriptor.
    pub(crate) fn seen(&mut self, file: FileId, thread: i32, fd: i32) -> Option<AreaId> {
        let id = self.area_of(file)?;
        self.areas.get_mut(&id)?.holders.saw(thread, fd);
        for _ in 0..self.caches.dropped().min(DROPS_MAX) {
            self.take(Device::drop_caches);
        }
        Some(id)
    }

    /// # Errors
    /// EBADF for an area that is gone.
    pub(crate) fn held(&mut self, id: AreaId) -> Result<&mut Held, Errno> {
        self.areas.get_mut(&id).ok_or(Errno::BADF)
    }

    pub(crate) fn area(&mut self, id: AreaId) -> Result<&mut crate::model::Area, Errno> {
        self.device.area_mut(id).ok_or(Errno::BADF)
    }

    /// The area and what belongs to it.
    pub(crate) fn parts(&mut self, id: AreaId) -> Result<(&mut crate::model::Area, &mut Held), Errno> {
        let area = self.device.area_mut(id).ok_or(Errno::BADF)?;
        let held = self.areas.get_mut(&id).ok_or(Errno::BADF)?;
        Ok((area, held))
    }

    pub(crate) fn ids(&self) -> Vec<AreaId> {
        self.areas.keys().copied().collect()
    }

    /// SET_NAME. Before the first mapping the name becomes that of the file, too.
    pub(crate) fn set_name(&mut self, id: AreaId, name: &[u8]) -> Result<(), Errno> {
        let (area, held) = self.parts(id)?;
        area.set_name(name)?;
        let label = area.label().unwrap_or(b"ashmem").to_vec();
        let (size, writable) = (area.size(), area.protection() & PROT_WRITE != 0);
        // For people and peers that look at the file. Without it, everything else works.
        if let Ok(file) = held.files.rename(&label, size) {
            if !writable {
                held.files.seal_against_writing()?;
            }
            self.by_file.insert(file, id);
        }
        Ok(())
    }

    /// SET_SIZE, in bytes.
    pub(crate) fn set_size(&mut self, id: AreaId, size: u64) -> Result<(), Errno> {
        let (area, held) = self.parts(id)?;
        area.set_size(size)?;
        // Sizes that no file has cannot be mapped either.
        let _ = held.files.set_size(size);
        Ok(())
    }

    /// SET_PROT_MASK. From the kernel on nobody gets write access any more when WRITE goes.
    pub(crate) fn set_protection(&mut self, id: AreaId, bits: u64, implied: bool) -> Result<(), Errno> {
        let (area, held) = self.parts(id)?;
        let before = area.protection();
        area.set_protection(bits, implied)?;
        if before & !area.protection() & PROT_WRITE != 0 {
            held.pins.close_to_writers(&held.files, area.is_mapped());
        }
        Ok(())
    }

    /// Whether a mapping is allowed, through a descriptor that leads to `current`; with `no_reserve`, memory need not be there for all of it.
    ///
    /// # Errors
    /// As the driver, and ENOMEM.
    pub(crate) fn map(
        &mut self,
        id: AreaId,
        call: &MapCall,
        no_reserve: bool,
        current: FileId,
        thread: i32,
    ) -> Result<Mappable, Errno> {
        let (area, held) = self.parts(id)?;
        let kind = area.check_map(call)?;
        if !area.is_mapped() && !no_reserve && !crate::memory::is_enough_for(area.size()) {
            return Err(Errno::NOMEM);
        }
        let file = match kind {
            MapKind::Contents => held.files.id(),
            MapKind::Zero => held.files.zeros()?,
        };
        // Another thread is about to map the same descriptor, and has not got there yet.
        let now = Instant::now();
        let others = |last: &Last| last.thread != thread && last.file != file && now < last.at + EXCHANGED;
        if held.last.as_ref().is_some_and(others) {
            return Ok(Mappable::NotYet);
        }
        held.last = Some(Last { thread, file, at: now });
        // At once, as what nobody has is forgotten.
        let exchange = if file == current {
            None
        } else {
            Some(held.files.open(file, area.access(), OFlags::empty())?)
        };
        if !area.is_mapped() {
            // Whoever has the file can change its size until now (truncate(2)).
            held.files.set_size(area.size())?;
            held.files.freeze()?;
            if held.files.length() != area.size() {
                return Err(Errno::INVAL);
            }
            area.mapped();
        }
        let mask = area.protection();
        self.by_file.insert(file, id);
        Ok(Mappable::Now { exchange, mask })
    }

    /// PIN: whether something was purged.
    pub(crate) fn pin(&mut self, id: AreaId, pin: Pin) -> Result<bool, Errno> {
        let pages = self.device.request(id, pin)?;
        self.observe(id, pages);
        let pinned = self.device.pin(id, pin)?;
        let held = self.held(id)?;
        let lost = held.pins.pin(pinned.pages)?;
        Ok(pinned.purged || lost)
    }

    /// UNPIN.
    pub(crate) fn unpin(&mut self, id: AreaId, pin: Pin, shared: &Shared) -> Result<(), Errno> {
        let pages = self.device.request(id, pin)?;
        self.observe(id, pages);
        let pages = self.device.unpin(id, pin)?;
        let held = self.held(id)?;
        held.pins.unpin(&held.files, pages, &shared.reclaimer);
        if held.pins.list() {
            shared.bell.ring();
        }
        Ok(())
    }

    /// The areas that something can be taken from, each with the processes that have it.
    pub(crate) fn served(&mut self) -> Vec<Served> {
        let mut served = Vec::new();
        for (id, held) in &mut self.areas {
            if self.device.unpinned(*id).next().is_none() && !held.pins.is_shared() {
                held.pins.unlist();
                continue;
            }
            let Some(region) = held.pins.region() else { continue };
            served.push(Served { region: region.clone(), processes: held.holders.processes() });
        }
        served
    }

    /// GET_PIN_STATUS: whether everything is pinned.
    pub(crate) fn is_pinned(&mut self, id: AreaId, pin: Pin) -> Result<bool, Errno> {
        let pages = self.device.request(id, pin)?;
        self.observe(id, pages);
        self.device.pin_status(id, pin)
    }

    /// PURGE_ALL_CACHES: the number of pages that were newly purged.
    pub(crate) fn purge_all(&mut self) -> u64 {
        self.take(Device::purge_all)
    }

    /// What writing 2 to `/proc/sys/vm/drop_caches` does.
    pub(crate) fn drop_caches(&mut self) {
        self.caches.heeded();
        self.take(Device::drop_caches);
    }

    fn take(&mut self, purge: fn(&mut Device, Take<'_>) -> u64) -> u64 {
        self.let_go();
        for id in self.ids() {
            self.observe(id, 0..u64::MAX);
        }
        let mut taken = Vec::new();
        let pages = purge(&mut self.device, &mut |id, pages| taken.push((id, pages)));
        for (id, pages) in taken {
            if let Ok(held) = self.held(id) {
                held.pins.purge(&held.files, pages);
            }
        }
        pages
    }

    /// Takes note of what holders of the memory that know nothing of the device have done to its pins.
    fn observe(&mut self, id: AreaId, pages: Range<u64>) {
        let Some(held) = self.areas.get_mut(&id) else { return };
        held.pins.observe(&mut self.device, id, pages);
    }

    /// Ends the pin state of areas that nobody has a descriptor of any more, and forgets those of which there is no mapping either.
    pub(crate) fn let_go(&mut self) {
        for id in self.ids() {
            let Some(held) = self.areas.get_mut(&id) else { continue };
            let (others, gone) = held.files.others();
            for file in gone {
                self.by_file.remove(&file);
            }
            if !others {
                self.forget(id);
            } else if self.device.unpinned(id).next().is_some() {
                let files: Vec<FileId> = held.files.ids().collect();
                if !held.holders.has_any(&files) {
                    // What is mapped stays as it is, for good.
                    self.device.drop_ranges(id);
                    held.pins.pin_all();
                }
            }
        }
    }

    /// A description of an area's file, opened as its client opened the device.
    pub(crate) fn description(&mut self, id: AreaId, file: FileId, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (area, held) = self.parts(id)?;
        held.files.open(file, area.access(), flags)
    }
}

const PROT_WRITE: u64 = libc::PROT_WRITE as u64;

/// After so many, nothing is left.
const DROPS_MAX: u64 = 32;
