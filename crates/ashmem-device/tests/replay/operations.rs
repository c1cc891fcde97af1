//! The operations that ask the driver.

use ashmem_device::model::{Access, Pin, register};
use rustix::io::Errno;

use crate::kernel::{Kernel, Object, PROCESSES};
use crate::language::{NameArgument, Operation, PAGE, quote, result, slot};
use crate::reading::{read, read_into, seek, write};

/// Operations that only the VFS answers, without asking the driver.
const VFS: &[&str] = &[
    "getfl",
    "fstat",
    "fstatfs",
    "readlink",
    "poll",
    "epolladd",
    "flock",
    "seals",
    "addseals",
    "fsync",
    "sendfile",
    "spliceout",
    "ftruncate",
    "fallocate",
];

/// How much memory the recorded machine was ready to promise: less than 16 TiB, more than the other programs ask for.
pub const PROMISED: u64 = 8 << 40;

/// What an operation printed, and the `#~` line after it if that concerns the driver; `None` if it was not looked at.
pub struct Printed {
    pub text: Option<String>,
    pub remark: Option<String>,
}

impl From<String> for Printed {
    fn from(text: String) -> Printed {
        Printed { text: Some(text), remark: None }
    }
}

impl From<&str> for Printed {
    fn from(text: &str) -> Printed {
        text.to_owned().into()
    }
}

pub fn answer(answer: Result<i64, Errno>) -> String {
    match answer {
        Ok(value) => result(value),
        Err(error) => result(-i64::from(error.raw_os_error())),
    }
}

fn done(outcome: Result<(), Errno>) -> String {
    answer(outcome.map(|()| 0))
}

pub fn perform(kernel: &mut Kernel, operation: &Operation) -> Printed {
    let me = operation.process;
    if kernel.processes[me].is_none() {
        return "noproc".into();
    }
    let name = operation.name();
    if me == 0 {
        match name {
            "xfer" => return transfer(kernel, operation.word(1), operation.word(2)).into(),
            "fork" => {
                let child = operation.slot(1) % PROCESSES;
                kernel.exit(child);
                kernel.fork(child);
                return "0".into();
            }
            "exit" => return if kernel.exit(operation.slot(1)) { "0" } else { "noproc" }.into(),
            _ => {}
        }
    }
    let fd = operation.slot(1);
    match name {
        "open" => open(kernel, operation).into(),
        "close" => if kernel.release(me, fd) { "0" } else { "-1 EBADF" }.into(),
        "reopen" => {
            let (access, flags) =
                if operation.word(3) == "ro" { (Access::Read, 0) } else { (Access::ReadWrite, 2) };
            kernel.open_device(me, operation.slot(2), access, flags);
            "0".into()
        }
        "openmap" => {
            let Some(mapping) = &kernel.process(me).mappings[fd] else { return "nomap".into() };
            let backing = mapping.backing;
            if !kernel.process(me).privileged {
                return "-1 EPERM".into();
            }
            kernel.open(me, operation.slot(2), Object::Backing { backing, position: 0 }, 2);
            "0".into()
        }
        "dup" => match kernel.file(me, fd) {
            None => "-1 EBADF".into(),
            Some(file) => {
                kernel.share(file, me, operation.slot(2));
                "0".into()
            }
        },
        "setname" => set_name(kernel, operation).into(),
        "getname" | "getname32" => get_name(kernel, me, fd).into(),
        "getnamebad" | "pinbad" | "unpinbad" | "statusbad" => {
            done(kernel.area(me, fd).and(Err(Errno::FAULT))).into()
        }
        "fileid" | "fileidbad" => file_id(kernel, operation),
        "setsize" => ioctl(kernel, me, fd, 0x4008_7703, operation.number(2)).into(),
        "getsize" => ioctl(kernel, me, fd, 0x7704, 0).into(),
        "setprot" => {
            let word = operation.word(2);
            let mask = if word.starts_with('m') { operation.number(2) } else { operation.protection(2) };
            ioctl(kernel, me, fd, 0x4008_7705, mask).into()
        }
        "getprot" => ioctl(kernel, me, fd, 0x7706, 0).into(),
        "purge" => ioctl(kernel, me, fd, 0x770a, 0).into(),
        "ioctl" => ioctl(kernel, me, fd, operation.number(2), operation.number(3)).into(),
        "ioctl32" => {
            let request = match operation.number(2) {
                0x4004_7703 => 0x4008_7703,
                0x4004_7705 => 0x4008_7705,
                request => request,
            };
            ioctl(kernel, me, fd, request, operation.number(3) & 0xffff_ffff).into()
        }
        "pin" | "pin32" | "unpin" | "unpin32" | "status" | "status32" => {
            let pin = Pin { offset: operation.number(2) as u32, len: operation.number(3) as u32 };
            answer(pin_request(kernel, me, fd, name.trim_end_matches("32"), pin)).into()
        }
        "unpinseq" => {
            let bad = sequence(operation)
                .filter(|&page| pin_request(kernel, me, fd, "unpin", one_page(page)).is_err())
                .count();
            format!("bad={bad}").into()
        }
        "probe" => probe(kernel, operation),
        "shrink" => {
            kernel.purge(|device, take| device.drop_caches(take));
            "1".into()
        }
        "read" => read(kernel, me, fd, None, operation.number(2)).into(),
        "pread" => read(kernel, me, fd, Some(operation.number(3) as i64), operation.number(2)).into(),
        "readv" => read(kernel, me, fd, None, operation.number(2) + operation.number(3)).into(),
        "readinto" => read_into(kernel, operation).into(),
        "lseek" => answer(seek(kernel, operation)).into(),
        "write" | "pwrite" => write(kernel, me, fd, operation.number(2)).into(),
        "fdinfo" => file_info(kernel, me, fd).into(),
        "personality" => {
            kernel.process(me).read_implies_exec = operation.word(1) == "rie";
            "0".into()
        }
        "ftruncate" if matches!(kernel.area_id(me, fd), Err(Errno::NOTTY)) => {
            let Object::Backing { backing, .. } = kernel.files[kernel.file(me, fd).unwrap()].object else {
                unreachable!()
            };
            kernel.backings[backing].truncate(operation.number(2));
            "0".into()
        }
        _ if VFS.contains(&name) => Printed { text: None, remark: None },
        _ => crate::mapping::perform(kernel, operation),
    }
}

fn open(kernel: &mut Kernel, operation: &Operation) -> String {
    let mode = operation.word(2);
    let slot = operation.slot(1);
    kernel.release(operation.process, slot);
    if mode.contains("excl") {
        return answer(Err(Errno::EXIST));
    }
    let (access, mut flags) = match mode.get(..2) {
        Some("rw") => (Access::ReadWrite, 0o2),
        Some("wo") => (Access::Write, 0o1),
        _ => (Access::Read, 0),
    };
    flags |= if mode.contains("append") { 0o2000 } else { 0 };
    flags |= if mode.contains("nonblock") { 0o4000 } else { 0 };
    kernel.open_device(operation.process, slot, access, flags);
    "0".to_owned()
}

fn transfer(kernel: &mut Kernel, from: &str, to: &str) -> String {
    let split = |word: &str| {
        let (process, descriptor) = word.split_once(':').unwrap();
        (slot(process) % PROCESSES, slot(descriptor))
    };
    let ((from, source), (to, target)) = (split(from), split(to));
    if kernel.processes[from].is_none() {
        return "noproc".to_owned();
    }
    let Some(file) = kernel.file(from, source) else { return "nofd".to_owned() };
    if kernel.processes[to].is_none() {
        return "noproc".to_owned();
    }
    kernel.share(file, to, target);
    "0".to_owned()
}

fn set_name(kernel: &mut Kernel, operation: &Operation) -> String {
    let area = match kernel.area(operation.process, operation.slot(1)) {
        Ok(area) => area,
        Err(error) => return answer(Err(error)),
    };
    done(match NameArgument::parse(operation.word(2)) {
        NameArgument::Null => Err(Errno::FAULT),
        NameArgument::Edge(bytes) if bytes.len() < 256 => Err(Errno::FAULT),
        NameArgument::Edge(bytes) | NameArgument::Terminated(bytes) => area.set_name(&bytes),
    })
}

fn get_name(kernel: &mut Kernel, me: usize, fd: usize) -> String {
    match kernel.area(me, fd) {
        Ok(area) => format!("0 {} wrote={}", quote(area.name()), area.name().len() + 1),
        Err(error) => answer(Err(error)),
    }
}

fn file_id(kernel: &mut Kernel, operation: &Operation) -> Printed {
    let me = operation.process;
    let id = match kernel.area_id(me, operation.slot(1)) {
        Ok(id) => id,
        Err(error) => return answer(Err(error)).into(),
    };
    let outcome = kernel.device.area(id).unwrap().check_file_id();
    let outcome = outcome.and(if operation.name() == "fileid" { Ok(()) } else { Err(Errno::FAULT) });
    if outcome.is_err() {
        return done(outcome).into();
    }
    let inode = kernel.backing_of[&id];
    let first = *kernel.process(me).first_inode.get_or_insert(inode);
    format!("0 ino={}", if first == inode { "first" } else { "other" }).into()
}

fn ioctl(kernel: &mut Kernel, me: usize, fd: usize, request: u64, argument: u64) -> String {
    let (privileged, read_implies_exec) = {
        let process = kernel.process(me);
        (process.privileged, process.read_implies_exec)
    };
    // FIOCLEX is answered for any descriptor.
    if request == 0x5451 && kernel.file(me, fd).is_some() {
        return "0".to_owned();
    }
    if request == 0x770a {
        return answer(match kernel.area_id(me, fd) {
            Ok(_) if !privileged => Err(Errno::PERM),
            Ok(_) => Ok(register(kernel.purge(|device, take| device.purge_all(take)))),
            Err(error) => Err(error),
        });
    }
    let area = match kernel.area(me, fd) {
        Ok(area) => area,
        Err(error) => return answer(Err(error)),
    };
    answer(match request {
        0x4008_7703 => area.set_size(argument).map(|()| 0),
        0x7704 => Ok(area.size_result()),
        0x4008_7705 => area.set_protection(argument, read_implies_exec).map(|()| 0),
        0x7706 => Ok(register(area.protection())),
        0x8008_770b => area.check_file_id().and(Err(Errno::FAULT)),
        _ => Err(Errno::NOTTY),
    })
}

fn pin_request(kernel: &mut Kernel, me: usize, fd: usize, name: &str, pin: Pin) -> Result<i64, Errno> {
    let id = kernel.area_id(me, fd)?;
    let pages = kernel.device.request(id, pin);
    match name {
        "pin" => {
            let pinned = kernel.device.pin(id, pin)?;
            assert_eq!(Ok(pinned.pages), pages);
            Ok(i64::from(pinned.purged))
        }
        "unpin" => {
            assert_eq!(kernel.device.unpin(id, pin), pages);
            pages.map(|_| 0)
        }
        _ => kernel.device.pin_status(id, pin).map(i64::from),
    }
}

fn one_page(page: u64) -> Pin {
    Pin { offset: (page * PAGE) as u32, len: PAGE as u32 }
}

/// The pages of `unpinseq` and `probe`.
fn sequence(operation: &Operation) -> impl Iterator<Item = u64> + use<> {
    let (start, step, count) = (operation.number(2), operation.number(3), operation.number(4));
    let backwards = operation.word(5) == "rev";
    (0..count).map(move |index| start + step * if backwards { count - 1 - index } else { index })
}

fn probe(kernel: &mut Kernel, operation: &Operation) -> Printed {
    let (mut got, mut prefix, mut bad, mut leading) = (0, 0, 0, true);
    for page in sequence(operation) {
        match pin_request(kernel, operation.process, operation.slot(1), "pin", one_page(page)) {
            Ok(1) => {
                got += 1;
                prefix += u64::from(leading);
            }
            other => {
                bad += u64::from(other.is_err());
                leading = false;
            }
        }
    }
    let count = operation.number(4);
    let share = match got {
        0 => "none",
        _ if got == count => "all",
        _ => "some",
    };
    Printed {
        text: Some(format!("bad={bad} prefix={}", if got == prefix { "yes" } else { "no" })),
        remark: Some(format!("#~ probe purged={share}: {got} of {count}, leading run {prefix}")),
    }
}

fn file_info(kernel: &mut Kernel, me: usize, fd: usize) -> String {
    let Some(file) = kernel.file(me, fd) else { return answer(Err(Errno::NOENT)) };
    let flags = kernel.files[file].flags;
    let Ok(area) = kernel.area(me, fd) else { return "0".to_owned() };
    let mut lines = format!("pos:\t{}\nflags:\t0{:o}\n", area.position(), 0o100_000 | flags).into_bytes();
    lines.extend(area.file_info(Some(42)));
    let mut text = "0".to_owned();
    for line in lines.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
        let line: Vec<u8> =
            line.iter().map(|byte| if b"\t ".contains(byte) { b'_' } else { *byte }).collect();
        let shown = if line.starts_with(b"inode:") { b"inode:*".to_vec() } else { line };
        text.push(' ');
        text.push_str(&quote(&shown));
    }
    text
}
