//! A toy of the kernel around the model: processes, descriptors, and what the driver's owner has to do.

use std::collections::BTreeMap;
use std::ops::Range;

use ashmem_device::model::{Access, Area, AreaId, Device, Flavour};
use rustix::io::Errno;

use crate::language::PAGE;
use crate::memory::{Backing, Mapping};

pub const PROCESSES: usize = 8;
const SLOTS: usize = 32;

/// What a descriptor leads to.
#[derive(Clone, Copy, PartialEq)]
pub enum Object {
    Device(AreaId),
    /// A backing file opened by another way, with its own position.
    Backing {
        backing: usize,
        position: u64,
    },
}

/// An open file.
pub struct File {
    pub object: Object,
    /// As `fdinfo` shows them.
    pub flags: u32,
    references: usize,
}

#[derive(Clone)]
pub struct Process {
    pub descriptors: Vec<Option<usize>>,
    pub mappings: Vec<Option<Mapping>>,
    pub privileged: bool,
    pub read_implies_exec: bool,
    /// The first inode number that GET_FILE_ID gave it.
    pub first_inode: Option<usize>,
}

impl Process {
    fn new(privileged: bool) -> Process {
        Process {
            descriptors: vec![None; SLOTS],
            mappings: vec![None; SLOTS],
            privileged,
            read_implies_exec: false,
            first_inode: None,
        }
    }
}

pub struct Kernel {
    pub device: Device,
    pub files: Vec<File>,
    pub backings: Vec<Backing>,
    pub backing_of: BTreeMap<AreaId, usize>,
    pub processes: Vec<Option<Process>>,
}

impl Kernel {
    pub fn new(flavour: Flavour) -> Kernel {
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| None).collect();
        processes[0] = Some(Process::new(true));
        processes[1] = Some(Process::new(true));
        processes[2] = Some(Process::new(false));
        Kernel {
            device: Device::new(PAGE, flavour),
            files: Vec::new(),
            backings: Vec::new(),
            backing_of: BTreeMap::new(),
            processes,
        }
    }

    pub fn process(&mut self, process: usize) -> &mut Process {
        self.processes[process].as_mut().unwrap()
    }

    pub fn file(&self, process: usize, slot: usize) -> Option<usize> {
        self.processes[process].as_ref()?.descriptors[slot]
    }

    /// The area behind a descriptor: EBADF without a descriptor, ENOTTY if it is something else.
    pub fn area_id(&self, process: usize, slot: usize) -> Result<AreaId, Errno> {
        match self.file(process, slot).map(|file| self.files[file].object) {
            None => Err(Errno::BADF),
            Some(Object::Backing { .. }) => Err(Errno::NOTTY),
            Some(Object::Device(id)) => Ok(id),
        }
    }

    pub fn area(&mut self, process: usize, slot: usize) -> Result<&mut Area, Errno> {
        let id = self.area_id(process, slot)?;
        Ok(self.device.area_mut(id).unwrap())
    }

    /// Puts a new open file into a slot.
    pub fn open(&mut self, process: usize, slot: usize, object: Object, flags: u32) {
        self.files.push(File { object, flags, references: 1 });
        self.release(process, slot);
        let file = self.files.len() - 1;
        self.process(process).descriptors[slot] = Some(file);
    }

    pub fn open_device(&mut self, process: usize, slot: usize, access: Access, flags: u32) {
        let id = self.device.open(access);
        self.open(process, slot, Object::Device(id), flags);
    }

    /// Another descriptor for an open file.
    pub fn share(&mut self, file: usize, process: usize, slot: usize) {
        self.files[file].references += 1;
        self.release(process, slot);
        self.process(process).descriptors[slot] = Some(file);
    }

    /// Closes a descriptor, if there is one. Whether there was.
    pub fn release(&mut self, process: usize, slot: usize) -> bool {
        let Some(file) = self.process(process).descriptors[slot].take() else { return false };
        self.files[file].references -= 1;
        if self.files[file].references == 0 {
            if let Object::Device(id) = self.files[file].object {
                self.device.close(id);
            }
        }
        true
    }

    pub fn fork(&mut self, child: usize) {
        let copy = self.process(0).clone();
        for file in copy.descriptors.iter().flatten() {
            self.files[*file].references += 1;
        }
        self.processes[child] = Some(copy);
    }

    pub fn exit(&mut self, process: usize) -> bool {
        if self.processes[process].is_none() {
            return false;
        }
        for slot in 0..SLOTS {
            self.release(process, slot);
        }
        self.processes[process] = None;
        true
    }

    /// Lets the device purge, and makes the holes that it asks for. The answer is the device's.
    pub fn purge(
        &mut self,
        purge: impl FnOnce(&mut Device, &mut dyn FnMut(AreaId, Range<u64>)) -> u64,
    ) -> u64 {
        let mut taken = Vec::new();
        let answer = purge(&mut self.device, &mut |id, pages| taken.push((id, pages)));
        for (id, pages) in taken {
            self.backings[self.backing_of[&id]].punch(pages);
        }
        answer
    }
}
