//! How the recorded programs write their operations, and how the traces write results.

use std::fmt::Write as _;

pub const PAGE: u64 = 4096;

/// One line of a program that is an operation.
pub struct Operation<'a> {
    /// The process that performs it.
    pub process: usize,
    pub words: Vec<&'a str>,
}

impl<'a> Operation<'a> {
    pub fn parse(line: &'a str) -> Operation<'a> {
        let bytes = line.as_bytes();
        let prefixed =
            bytes.len() > 4 && bytes[0] == b'p' && bytes[1].is_ascii_digit() && &bytes[2..4] == b": ";
        let (process, rest) = if prefixed { (usize::from(bytes[1] - b'0'), &line[4..]) } else { (0, line) };
        Operation { process, words: rest.split([' ', '\t']).filter(|word| !word.is_empty()).collect() }
    }

    pub fn name(&self) -> &'a str {
        self.words[0]
    }

    pub fn word(&self, index: usize) -> &'a str {
        self.words.get(index).copied().unwrap_or("")
    }

    pub fn number(&self, index: usize) -> u64 {
        number(self.word(index))
    }

    /// The number of a descriptor, mapping or process.
    pub fn slot(&self, index: usize) -> usize {
        slot(self.word(index))
    }

    pub fn protection(&self, index: usize) -> u64 {
        protection(self.word(index))
    }
}

pub fn slot(word: &str) -> usize {
    word.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

pub fn protection(word: &str) -> u64 {
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        return number(word);
    }
    word.chars().fold(0, |bits, letter| {
        bits | match letter {
            'r' => 1,
            'w' => 2,
            'x' => 4,
            _ => 0,
        }
    })
}

/// Decimal or hexadecimal, `max`, with a unit, and sums and differences of these.
pub fn number(word: &str) -> u64 {
    let mut rest = word;
    let mut value = if rest.starts_with('-') { 0 } else { term(&mut rest) };
    while let Some(sign) = rest.chars().next().filter(|sign| "+-".contains(*sign)) {
        rest = &rest[1..];
        let next = term(&mut rest);
        value = if sign == '+' { value.wrapping_add(next) } else { value.wrapping_sub(next) };
    }
    value
}

fn term(rest: &mut &str) -> u64 {
    let value = if let Some(tail) = rest.strip_prefix("max") {
        *rest = tail;
        u64::MAX
    } else {
        let (radix, digits) = match rest.strip_prefix("0x") {
            Some(digits) => (16, digits),
            None => (10, *rest),
        };
        let end = digits.find(|letter: char| !letter.is_digit(radix)).unwrap_or(digits.len());
        let value = u64::from_str_radix(&digits[..end], radix).unwrap_or(0);
        *rest = &digits[end..];
        value
    };
    let shift = match rest.chars().next() {
        Some('p') => 12,
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some('t') => 40,
        _ => return value,
    };
    *rest = &rest[1..];
    value << shift
}

/// The memory that a name argument points to: the bytes that can be read there.
pub enum NameArgument {
    Null,
    /// Ends in a NUL.
    Terminated(Vec<u8>),
    /// Ends where memory ends.
    Edge(Vec<u8>),
}

impl NameArgument {
    pub fn parse(word: &str) -> NameArgument {
        if word == "@null" {
            return NameArgument::Null;
        }
        if let Some(rest) = word.strip_prefix("@rep:") {
            let (count, letter) = rest.split_once(':').unwrap();
            return NameArgument::Terminated(vec![
                letter.as_bytes()[0];
                count.parse::<usize>().unwrap().min(512)
            ]);
        }
        if let Some(rest) = word.strip_prefix("@edge:") {
            return NameArgument::Terminated(rest.as_bytes().to_vec());
        }
        if let Some(count) = word.strip_prefix("@edgeunterm:") {
            return NameArgument::Edge(vec![b'u'; count.parse().unwrap()]);
        }
        let mut rest = word.strip_prefix('"').unwrap_or(word).trim_end_matches('"');
        let mut bytes = Vec::new();
        while let Some(first) = rest.as_bytes().first() {
            let escape = rest.strip_prefix("\\x").and_then(|tail| tail.get(..2));
            bytes.push(escape.map_or(*first, |digits| u8::from_str_radix(digits, 16).unwrap()));
            rest = &rest[if escape.is_some() { 4 } else { 1 }..];
        }
        NameArgument::Terminated(bytes)
    }
}

/// A result register.
pub fn result(value: i64) -> String {
    if (-4095..0).contains(&value) { format!("-1 {}", error_name(-value)) } else { value.to_string() }
}

fn error_name(error: i64) -> String {
    let names = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY \
                 EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS \
                 EMLINK EPIPE EDOM ERANGE";
    if error == i64::from(rustix::io::Errno::OVERFLOW.raw_os_error()) {
        return "EOVERFLOW".to_owned();
    }
    let index = usize::try_from(error - 1).unwrap();
    names.split(' ').nth(index).map_or_else(|| format!("E{error}"), str::to_owned)
}

pub fn quote(bytes: &[u8]) -> String {
    if bytes.len() > 40 && bytes.iter().all(|byte| *byte == bytes[0]) {
        return format!("\"{}\"*{}", char::from(bytes[0]), bytes.len());
    }
    let mut text = String::from("\"");
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            write!(text, "\\x{byte:02x}").unwrap();
        }
    }
    text + "\""
}

pub fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

/// Bytes in runs.
pub fn runs(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    for (index, run) in bytes.chunk_by(|a, b| a == b).enumerate() {
        if index == 8 {
            text.push(format!("...#{:08x}", hash(bytes)));
            break;
        }
        text.push(format!("{:02x}*{}", run[0], run.len()));
    }
    // The mark of what was left out stands alone.
    format!("[{}]", text.join(" "))
}

/// What `check` prints, of one word per page.
pub fn pages(words: &[String]) -> String {
    let mut text = Vec::new();
    let mut start = 0;
    for run in words.chunk_by(|a, b| a == b) {
        let last = start + run.len() - 1;
        text.push(if start == last {
            format!("{start}:{}", run[0])
        } else {
            format!("{start}-{last}:{}", run[0])
        });
        start = last + 1;
    }
    format!("[{}]", text.join(" "))
}
