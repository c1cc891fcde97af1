//! `read`, `pread`, `lseek` and `write`: the driver says where, the backing file has the bytes.

use ashmem_device::model::Whence;
use rustix::io::Errno;

use crate::kernel::{Kernel, Object};
use crate::language::{Operation, PAGE, runs};
use crate::operations::answer;

/// The longest read of the interpreter.
const LONGEST: u64 = 1 << 20;

fn read_bytes(
    kernel: &mut Kernel,
    me: usize,
    fd: usize,
    offset: Option<i64>,
    count: u64,
) -> Result<Vec<u8>, Errno> {
    if offset.is_some_and(|offset| offset < 0) {
        return Err(Errno::INVAL);
    }
    let count = count.min(LONGEST);
    let file = kernel.file(me, fd).ok_or(Errno::BADF)?;
    match &mut kernel.files[file].object {
        Object::Device(id) => {
            let area = kernel.device.area_mut(*id).unwrap();
            let Some(at) = area.check_read(offset, count)? else { return Ok(Vec::new()) };
            Ok(kernel.backings[kernel.backing_of[id]].read(at, count))
        }
        Object::Backing { backing, position } => {
            let bytes = kernel.backings[*backing].read(offset.map_or(*position, |at| at as u64), count);
            if offset.is_none() {
                *position += bytes.len() as u64;
            }
            Ok(bytes)
        }
    }
}

fn did_read(kernel: &mut Kernel, me: usize, fd: usize, offset: Option<i64>, count: usize) {
    if let Ok(area) = kernel.area(me, fd) {
        area.did_read(offset, count as u64);
    }
}

pub fn read(kernel: &mut Kernel, me: usize, fd: usize, offset: Option<i64>, count: u64) -> String {
    match read_bytes(kernel, me, fd, offset, count) {
        Err(error) => answer(Err(error)),
        Ok(bytes) if bytes.is_empty() => "0".to_owned(),
        Ok(bytes) => {
            did_read(kernel, me, fd, offset, bytes.len());
            format!("{} {}", bytes.len(), runs(&bytes))
        }
    }
}

pub fn read_into(kernel: &mut Kernel, operation: &Operation) -> String {
    let (me, fd) = (operation.process, operation.slot(1));
    let bytes = match read_bytes(kernel, me, fd, None, operation.number(4)) {
        Ok(bytes) => bytes,
        Err(error) => return answer(Err(error)),
    };
    let at = operation.number(3);
    let Kernel { backings, processes, .. } = kernel;
    let mapping = processes[me].as_mut().unwrap().mappings[operation.slot(2)].as_mut().unwrap();
    let start = (at % PAGE) as usize;
    let stored = mapping.store((at / PAGE) as usize, backings, |page| {
        page[start..start + bytes.len()].copy_from_slice(&bytes);
    });
    if stored.is_err() {
        return answer(Err(Errno::FAULT));
    }
    did_read(kernel, me, fd, None, bytes.len());
    bytes.len().to_string()
}

pub fn seek(kernel: &mut Kernel, operation: &Operation) -> Result<i64, Errno> {
    let file = kernel.file(operation.process, operation.slot(1)).ok_or(Errno::BADF)?;
    let offset = operation.number(2) as i64;
    let whence = match operation.word(3) {
        "set" => Whence::Set,
        "cur" => Whence::Current,
        "end" => Whence::End,
        "data" => Whence::Data,
        "hole" => Whence::Hole,
        other => Whence::new(other.parse().unwrap())?,
    };
    let position = match &mut kernel.files[file].object {
        Object::Device(id) => {
            let area = kernel.device.area_mut(*id).unwrap();
            let backing = kernel.backing_of.get(id).map(|&backing| &kernel.backings[backing]);
            let length = backing.map_or(0, |backing| backing.length);
            area.seek(offset, whence, length, &mut |at, whence| backing.unwrap().find(at, whence))?
        }
        Object::Backing { backing, position } => {
            let base = if whence == Whence::End { kernel.backings[*backing].length } else { 0 };
            *position = base.wrapping_add_signed(offset);
            *position
        }
    };
    Ok(position as i64)
}

pub fn write(kernel: &mut Kernel, me: usize, fd: usize, count: u64) -> String {
    let Some(file) = kernel.file(me, fd) else { return answer(Err(Errno::BADF)) };
    match &mut kernel.files[file].object {
        Object::Device(id) => answer(Err(kernel.device.area(*id).unwrap().write_error())),
        Object::Backing { backing, position } => {
            kernel.backings[*backing].write(*position, &vec![0x57; count as usize]);
            *position += count;
            count.to_string()
        }
    }
}
