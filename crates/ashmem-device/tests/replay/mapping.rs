//! The operations on mappings, for which the driver is asked by `mmap`, and whose memory shows what was purged.

use ashmem_device::model::{MapCall, MapKind};
use rustix::io::Errno;

use crate::kernel::{Kernel, Object};
use crate::language::{Operation, PAGE, hash, number, pages, quote, runs};
use crate::memory::{Backing, Mapping, Page, Source};
use crate::operations::{PROMISED, Printed, answer};

/// Operations that only the MMU and the kernel's memory management answer.
const MEMORY: &[&str] = &["msync", "mincore"];

pub fn perform(kernel: &mut Kernel, operation: &Operation) -> Printed {
    if operation.name() == "mmap" {
        return map(kernel, operation).into();
    }
    let Kernel { backings, processes, .. } = kernel;
    let process = processes[operation.process].as_mut().unwrap();
    let read_implies_exec = process.read_implies_exec;
    let place = &mut process.mappings[operation.slot(1)];
    let Some(mapping) = place else { return "nomap".into() };
    let (second, third) = (operation.number(2), operation.number(3));
    let (offset, length) = match operation.name() {
        "fill" | "check" => (second.wrapping_mul(PAGE), third.wrapping_mul(PAGE)),
        "poke" | "peek" => (second, 1),
        "maps" | "mremap" => (0, 0),
        "munmap" if operation.words.len() < 4 => (0, 0),
        "readmap" => (second, third.min(1 << 20)),
        _ => (second, third),
    };
    if mapping.is_outside(offset, length) {
        return "out-of-map".into();
    }
    let range = mapping.range(offset, length);
    let aligned = offset % PAGE == 0;
    match operation.name() {
        "munmap" if operation.words.len() < 4 => {
            *place = None;
            "0".into()
        }
        "munmap" => {
            if !aligned || length == 0 {
                return answer(Err(Errno::INVAL)).into();
            }
            mapping.pages[range].fill(Page::reserved());
            "0".into()
        }
        "mprotect" => {
            let mut wanted = operation.protection(4);
            if read_implies_exec && wanted & 1 != 0 {
                wanted |= 4;
            }
            answer(if aligned { protect(&mut mapping.pages[range], wanted) } else { Err(Errno::INVAL) })
                .into()
        }
        "mremap" => answer(resize(mapping, second)).into(),
        "madvise" => {
            let advice = operation.word(4);
            answer(if aligned { advise(mapping, range, advice, backings) } else { Err(Errno::INVAL) }).into()
        }
        "mlock" | "munlock" => {
            let locked = operation.name() == "mlock";
            mapping.pages[range.clone()].iter_mut().for_each(|page| page.locked = locked);
            if locked {
                mapping.populate(range, backings);
            }
            "0".into()
        }
        "remapfp" => {
            if !matches!(mapping.pages[range.start].source, Source::Contents { .. }) {
                return answer(Err(Errno::INVAL)).into();
            }
            mapping.pages[range].fill(Page::reserved());
            answer(Err(Errno::PERM)).into()
        }
        "maps" => show(mapping, backings).into(),
        "fill" => {
            let byte = number(operation.word(4)) as u8;
            for index in range {
                if let Err(fault) = mapping.store(index, backings, |page| page.fill(byte)) {
                    return format!("{} at page {index}", fault.name()).into();
                }
            }
            "ok".into()
        }
        "poke" => {
            let at = (offset % PAGE) as usize;
            match mapping.store(range.start, backings, |page| page[at] = third as u8) {
                Ok(()) => "ok".into(),
                Err(fault) => fault.name().into(),
            }
        }
        "peek" => match mapping.load(range.start, backings) {
            Ok(page) => format!("{:02x}", page[(offset % PAGE) as usize]).into(),
            Err(fault) => fault.name().into(),
        },
        "check" => {
            let summary = |index| match mapping.load(index, backings) {
                Err(fault) => fault.name().to_owned(),
                Ok(page) if page.iter().all(|byte| *byte == page[0]) => format!("{:02x}", page[0]),
                Ok(page) => format!("x{:08x}", hash(&page)),
            };
            pages(&range.map(summary).collect::<Vec<_>>()).into()
        }
        "readmap" => {
            let loaded: Result<Vec<_>, _> = range.map(|index| mapping.load(index, backings)).collect();
            let bytes = loaded.unwrap().concat();
            let start = (offset % PAGE) as usize;
            runs(&bytes[start..start + length as usize]).into()
        }
        name => {
            assert!(MEMORY.contains(&name), "{name} is not known");
            Printed { text: None, remark: None }
        }
    }
}

fn map(kernel: &mut Kernel, operation: &Operation) -> String {
    let me = operation.process;
    kernel.process(me).mappings[operation.slot(2)] = None;
    match new_mapping(kernel, operation) {
        Ok(mapping) => {
            kernel.process(me).mappings[operation.slot(2)] = Some(mapping);
            "0".to_owned()
        }
        Err(error) => answer(Err(error)),
    }
}

fn new_mapping(kernel: &mut Kernel, operation: &Operation) -> Result<Mapping, Errno> {
    let (length, offset, extra) = (operation.number(3), operation.number(6), operation.word(7));
    let mut protection = operation.protection(4);
    if kernel.process(operation.process).read_implies_exec && protection & 1 != 0 {
        protection |= 4;
    }
    let shared = operation.word(5) != "private";
    if offset % PAGE != 0 {
        return Err(Errno::INVAL);
    }
    let file = kernel.file(operation.process, operation.slot(1)).ok_or(Errno::BADF)?;
    let (backing, kind, limit) = match kernel.files[file].object {
        Object::Backing { backing, .. } => {
            (backing, if shared { MapKind::Contents } else { MapKind::Zero }, 7)
        }
        Object::Device(id) => {
            let area = kernel.device.area_mut(id).unwrap();
            let kind = area.check_map(&MapCall { length, offset, protection, shared })?;
            let read_only = shared && kind == MapKind::Zero;
            if !area.is_mapped() {
                if area.size() > PROMISED && !extra.contains("noreserve") {
                    return Err(Errno::NOMEM);
                }
                kernel.backings.push(Backing::new(area.size(), area.backing_name()));
                kernel.backing_of.insert(id, kernel.backings.len() - 1);
            }
            area.mapped();
            (kernel.backing_of[&id], kind, area.protection() & if read_only { 5 } else { 7 })
        }
    };
    let new_page = |page| Page {
        protection: protection & 7,
        limit,
        locked: extra.contains("locked"),
        source: match kind {
            MapKind::Contents => Source::Contents { backing, page },
            MapKind::Zero => Source::Private(None),
        },
    };
    let first = offset / PAGE;
    let pages: Vec<Page> = (first..first + length.div_ceil(PAGE)).map(new_page).collect();
    let mapping = Mapping { length, pages, shared, backing, offset };
    if extra.contains("locked") || extra.contains("populate") {
        mapping.populate(0..mapping.pages.len(), &mut kernel.backings);
    }
    Ok(mapping)
}

fn protect(pages: &mut [Page], wanted: u64) -> Result<i64, Errno> {
    for page in pages {
        if wanted & !page.limit & 7 != 0 {
            return Err(Errno::ACCESS);
        }
        page.protection = wanted & 7;
    }
    Ok(0)
}

fn resize(mapping: &mut Mapping, length: u64) -> Result<i64, Errno> {
    let count = length.div_ceil(PAGE) as usize;
    if count == 0 {
        return Err(Errno::INVAL);
    }
    if count > mapping.pages.len() && !mapping.is_whole() {
        return Err(Errno::FAULT);
    }
    while mapping.pages.len() < count {
        mapping.pages.push(mapping.next_page());
    }
    mapping.pages.truncate(count);
    mapping.length = count as u64 * PAGE;
    Ok(0)
}

fn advise(
    mapping: &mut Mapping,
    range: std::ops::Range<usize>,
    advice: &str,
    backings: &mut [Backing],
) -> Result<i64, Errno> {
    for page in &mut mapping.pages[range] {
        match (advice, &mut page.source) {
            ("free", Source::Contents { .. }) => return Err(Errno::INVAL),
            ("dontneed" | "remove", _) if page.locked => return Err(Errno::INVAL),
            ("dontneed" | "free", Source::Private(bytes) | Source::Reserved(bytes)) => *bytes = None,
            ("remove", Source::Reserved(_)) => return Err(Errno::INVAL),
            ("remove", Source::Private(_)) => return Err(Errno::ACCESS),
            ("remove", Source::Contents { .. }) if page.limit & 2 == 0 => return Err(Errno::ACCESS),
            ("remove", Source::Contents { backing, page }) => backings[*backing].punch(*page..*page + 1),
            _ => {}
        }
    }
    Ok(0)
}

/// The line of `/proc/PID/maps` for the first page.
fn show(mapping: &Mapping, backings: &[Backing]) -> String {
    let page = &mapping.pages[0];
    let bits = |bit: u64, letter: char| if page.protection & bit != 0 { letter } else { '-' };
    let rights: String = [bits(1, 'r'), bits(2, 'w'), bits(4, 'x')].into_iter().collect();
    if matches!(page.source, Source::Reserved(_)) {
        return format!("{rights}p off=0 \"\"");
    }
    let mut name = b"/".to_vec();
    for byte in &backings[mapping.backing].name {
        if *byte == b'\n' { name.extend_from_slice(b"\\012") } else { name.push(*byte) }
    }
    name.extend_from_slice(b" (deleted)");
    let kind = if mapping.shared { 's' } else { 'p' };
    format!("{rights}{kind} off={:x} {}", mapping.offset, quote(&name))
}
