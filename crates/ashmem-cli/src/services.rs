//! `ashmem services`: what is served, and by whom.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ashmem_binder::{HeapFlags, ServiceManager, process_of};
use serde::Serialize;

use crate::error::Error;
use crate::served::{self, Served};
use crate::text::{new_table, printable, size};
use crate::tools::{json, say};

/// How long services may take to answer, all of them together. A process that lives answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are asked at once. Each may open a session, and a process lets in some twelve of another one.
const THREADS: usize = 8;
/// How long nobody may answer before more are asked.
const PAUSE: Duration = Duration::from_millis(50);

/// List the services
///
/// Heaps and windows of heaps are shown with their size and flags. A service whose process does not answer
/// within two seconds is listed as silent.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    place: served::Place,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// A service. The names are those of the JSON document.
#[derive(Clone, Debug, Serialize)]
struct Line {
    name: String,
    kind: Kind,
    /// Its interface, if it is neither heap nor window.
    interface: Option<String>,
    /// In bytes.
    size: Option<u64>,
    /// Where a window starts in its heap.
    offset: Option<u64>,
    flags: Vec<String>,
    /// As its server says.
    process: Option<u32>,
    /// Why there is no more to be said.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Heap,
    Window,
    Other,
    /// It has not answered.
    Silent,
    /// It answered nonsense, or went away.
    Broken,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let services = arguments.place.services()?;
    let lines = look(&services, services.list_services()?);
    let text = if arguments.json { json(&lines) } else { table(&lines) };
    say(&text)
}

/// Asks in a few threads, and in more while no answer comes, for one that hangs must not keep the others.
fn look(services: &ServiceManager, names: Vec<String>) -> Vec<Line> {
    let mut lines: Vec<_> = names.iter().map(|name| Line::empty(name, Kind::Silent)).collect();
    let (sender, receiver) = mpsc::channel();
    let left = Arc::new(Mutex::new(names.into_iter().enumerate()));
    let start = || {
        for _ in 0..THREADS {
            let (services, sender, left) = (services.clone(), sender.clone(), left.clone());
            // Ends with the process, if it hangs.
            let started = thread::Builder::new().stack_size(256 * 1024).spawn(move || {
                while let Some((index, name)) = next(&left) {
                    // Nobody listens any more when the time is over.
                    let _ = sender.send((index, ask(&services, &name)));
                }
            });
            started?;
        }
        Ok::<(), io::Error>(())
    };
    let deadline = Instant::now() + PATIENCE;
    let mut started = start();
    let mut missing = lines.len();
    let mut answers = Vec::new();
    while missing > 0 {
        let patience = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(patience.min(PAUSE)) {
            Ok(answer) => {
                answers.push(answer);
                missing -= 1;
            }
            Err(_) if patience.is_zero() => break,
            Err(_) => started = started.and_then(|()| start()),
        }
    }
    let trouble = started.err().map_or_else(|| "does not answer".to_owned(), |error| error.to_string());
    for (index, line) in answers {
        match line {
            Some(line) => lines[index] = line,
            None => lines[index].name.clear(),
        }
    }
    for line in &mut lines {
        if line.kind == Kind::Silent {
            line.trouble = Some(trouble.clone());
        }
    }
    lines.retain(|line| !line.name.is_empty());
    lines
}

fn next<T>(left: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    left.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// What there is to say about a service; none when it has ended since.
fn ask(services: &ServiceManager, name: &str) -> Option<Line> {
    let broken = |error: &dyn std::error::Error| {
        let mut line = Line::empty(name, Kind::Broken);
        line.trouble = Some(crate::with_causes(error));
        Some(line)
    };
    let binder = match services.check_service(name) {
        Ok(Some(binder)) => binder,
        Ok(None) => return None,
        Err(error) => return broken(&error),
    };
    let mut line = match Served::from_binder(name, &binder) {
        Ok(served) => match Line::describe(name, &served) {
            Ok(line) => line,
            Err(error) => return broken(&error),
        },
        Err(Error::NoMemory { interface, .. }) => {
            // As long as names are, or somebody means no good.
            let interface = interface.chars().take(200).collect::<String>();
            let interface = Some(printable(&interface)).filter(|interface| !interface.is_empty());
            Line { interface, ..Line::empty(name, Kind::Other) }
        }
        Err(error) => return broken(&error),
    };
    line.process = process_of(&binder).ok();
    Some(line)
}

impl Line {
    fn empty(name: &str, kind: Kind) -> Line {
        Line {
            name: name.to_owned(),
            kind,
            interface: None,
            size: None,
            offset: None,
            flags: Vec::new(),
            process: None,
            trouble: None,
        }
    }

    fn describe(name: &str, served: &Served) -> Result<Line, Error> {
        let flags = flags(served.heap()?.flags());
        let bytes = served.bytes()?;
        let size = Some(bytes.end - bytes.start);
        Ok(match served {
            Served::Heap(_) => Line { size, flags, ..Line::empty(name, Kind::Heap) },
            Served::Window(_) => {
                Line { size, flags, offset: Some(bytes.start), ..Line::empty(name, Kind::Window) }
            }
        })
    }
}

/// What they are called, and the bits that have no name.
fn flags(flags: HeapFlags) -> Vec<String> {
    let mut names: Vec<_> = flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
    let unknown = flags.difference(HeapFlags::all()).bits();
    if unknown != 0 {
        names.push(format!("{unknown:#x}"));
    }
    names
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "There are no services.\n".to_owned();
    }
    let mut table = new_table(&["Name", "Kind", "Size", "Process", "Flags"], &[2, 3]);
    for line in lines {
        let kind = match line.kind {
            Kind::Heap => "heap",
            Kind::Window => "window",
            Kind::Other => "other",
            Kind::Silent => "silent",
            Kind::Broken => "broken",
        };
        let about = line.trouble.as_ref().or(line.interface.as_ref());
        table.add_row([
            printable(&line.name),
            kind.to_owned(),
            line.size.map_or_else(|| "–".to_owned(), size),
            line.process.map_or_else(|| "–".to_owned(), |process| process.to_string()),
            about.map_or_else(|| line.flags.join(", "), |about| printable(about)),
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_are_shown_by_their_bits() {
        assert!(flags(HeapFlags::empty()).is_empty());
        let some = HeapFlags::READ_ONLY | HeapFlags::from_bits_retain(0x8000_0000);
        assert_eq!(flags(some), ["read_only", "0x80000000"]);
    }

    #[test]
    fn a_table_shows_names_harmlessly() {
        assert_eq!(table(&[]), "There are no services.\n");
        let mut line = Line::empty("a\x1b[31m", Kind::Other);
        line.interface = Some("IThing".to_owned());
        let text = table(&[line]);
        assert!(text.contains("IThing") && !text.contains('\x1b'), "{text}");
    }
}
