//! A process's mappings, as `/proc/PID/maps` lists them.

use std::fs;
use std::ops::Range;

use crate::task::{FileId, proc_file};

/// A mapping of a memfd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) addresses: Range<u64>,
    pub(crate) is_shared: bool,
    pub(crate) file: FileId,
}

/// The mappings of memfds that a thread's process has, in the order of their addresses.
pub(crate) fn memfds(thread: i32) -> Vec<Mapped> {
    let text = fs::read(proc_file(thread, "maps")).unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter_map(parse).collect()
}

/// A line of `maps`; `None` for what is no mapping of a memfd.
fn parse(line: &[u8]) -> Option<Mapped> {
    let (fields, path) = fields(line)?;
    if !path.starts_with(b"/memfd:") {
        return None;
    }
    let mut fields = fields.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let is_shared = fields.next()?.ends_with('s');
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = fields.next()?.parse().ok()?;
    let addresses = number(start)?..number(end)?;
    Some(Mapped { addresses, is_shared, file: FileId { device, inode } })
}

/// Splits a line before its path.
fn fields(line: &[u8]) -> Option<(&str, &[u8])> {
    let place = line.iter().position(|&byte| byte == b'/')?;
    let (fields, path) = line.split_at(place);
    Some((std::str::from_utf8(fields).ok()?, path))
}

/// Text of `maps`, `smaps` or `numa_maps` with the paths of files that `name_of` knows replaced, or `None` if there are none such.
pub(crate) fn rename(text: &[u8], name_of: &dyn Fn(FileId) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut renamed = Vec::with_capacity(text.len());
    let mut any = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let name = parse(bare).and_then(|mapped| name_of(mapped.file));
        match (name, fields(bare)) {
            (Some(name), Some((fields, _))) => {
                any = true;
                renamed.extend_from_slice(fields.as_bytes());
                renamed.extend_from_slice(b"/");
                renamed.extend(escape(&name));
                renamed.extend_from_slice(b" (deleted)\n");
            }
            _ => renamed.extend_from_slice(line),
        }
    }
    any.then_some(renamed)
}

/// Line ends would look like the next line.
fn escape(name: &[u8]) -> Vec<u8> {
    name.iter().flat_map(|&byte| if byte == b'\n' { b"\\012".to_vec() } else { vec![byte] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"7f0000001000-7f0000003000 rw-s 00000000 00:01 1025                       /memfd:a b (deleted)";

    #[test]
    fn lines_are_parsed() {
        let mapped = parse(LINE).expect("a mapping");
        assert_eq!(mapped.addresses, 0x7f00_0000_1000..0x7f00_0000_3000);
        assert!(mapped.is_shared);
        assert_eq!(mapped.file, FileId { device: (0, 1), inode: 1025 });
        assert_eq!(parse(b"55e0-55e1 r-xp 00000000 fd:00 7 /bin/cat"), None);
        assert_eq!(parse(b"7fff-8000 rw-p 00000000 00:00 0    [stack]"), None);
        assert_eq!(parse(b"garbage /memfd:x"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn names_are_replaced() {
        let text = [LINE, b"\nVmFlags: rd wr\n55e0-55e1 r-xp 00000000 fd:00 7 /bin/cat\n"].concat();
        let renamed = rename(&text, &|file| (file.inode == 1025).then(|| b"dev/ashmem/x\ny".to_vec()));
        let expected = "7f0000001000-7f0000003000 rw-s 00000000 00:01 1025                       /dev/ashmem/x\\012y (deleted)\n\
                        VmFlags: rd wr\n55e0-55e1 r-xp 00000000 fd:00 7 /bin/cat\n";
        assert_eq!(String::from_utf8(renamed.expect("something")).as_deref(), Ok(expected));
        assert_eq!(rename(&text, &|_| None), None);
    }

    #[test]
    fn its_own_mappings() {
        let memfd = rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let id = FileId::of(&memfd).expect("an id");
        assert!(memfds(own).iter().all(|mapped| mapped.file != id));
    }
}
