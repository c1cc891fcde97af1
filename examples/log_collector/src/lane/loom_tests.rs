//! The protocol of a lane in all its interleavings.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::{CONTROL, Head, Lane, Reader, Writer};
use crate::Level;

struct Memory {
    control: Vec<AtomicU64>,
    data: Vec<AtomicU64>,
}

impl Memory {
    fn new(words: usize) -> Arc<Memory> {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Memory { control: zeros(CONTROL), data: zeros(words) })
    }

    fn lane(&self) -> Lane<'_> {
        Lane::new(&self.control, &self.data).expect("a lane")
    }
}

/// A record of three words, unless there is no room.
fn put(writer: &mut Writer, lane: Lane<'_>, number: u8) -> bool {
    let message = [number; 8];
    let head = Head::new(number.into(), 1, Level::Info, 0, message.len()).expect("it fits");
    if !writer.has_room(&lane, head.words()) {
        writer.look(&lane).expect("an honest reader");
    }
    let has_room = writer.has_room(&lane, head.words());
    if has_room {
        writer.put(&lane, head, &[], &message);
    }
    has_room
}

/// The numbers of the records that are there, each of which is whole.
fn take(reader: &mut Reader, lane: Lane<'_>) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut bytes = Vec::new();
    reader.look(lane).expect("an honest writer");
    while let Some(head) = reader.head(lane).expect("an honest writer") {
        reader.take(lane, head, &mut bytes);
        assert_eq!(bytes, [head.time() as u8; 8], "a record is half written");
        numbers.push(head.time() as u8);
        bytes.clear();
    }
    reader.release(lane);
    numbers
}

#[test]
fn what_is_read_is_whole_and_in_order_also_where_words_are_used_again() {
    loom::model(|| {
        // Room for one record: each goes where the last one was, and the second round the end.
        let memory = Memory::new(4);
        let theirs = memory.clone();
        let writer = thread::spawn(move || {
            let lane = theirs.lane();
            let mut writer = Writer::new(&lane).expect("an honest reader");
            (1..=2).filter(|number| put(&mut writer, lane, *number)).collect::<Vec<u8>>()
        });
        let lane = memory.lane();
        let mut reader = Reader::new(lane, None).expect("an honest writer");
        let mut read = take(&mut reader, lane);
        read.extend(take(&mut reader, lane));
        let written = writer.join().expect("no panic");
        read.extend(take(&mut reader, lane));
        assert_eq!(read, written);
    });
}

#[test]
fn a_lane_is_handed_from_thread_to_thread() {
    loom::model(|| {
        let memory = Memory::new(8);
        let threads: Vec<_> = (1..=2_u8)
            .map(|number| {
                let memory = memory.clone();
                thread::spawn(move || {
                    let lane = memory.lane();
                    if !lane.claim(number.into()) {
                        return false;
                    }
                    let mut writer = Writer::new(&lane).expect("an honest reader");
                    assert!(put(&mut writer, lane, number), "there is room for both");
                    lane.give_back();
                    true
                })
            })
            .collect();
        let wrote: Vec<u8> = (1..=2)
            .zip(threads)
            .filter_map(|(number, thread)| thread.join().expect("no panic").then_some(number))
            .collect();
        let lane = memory.lane();
        let mut read = take(&mut Reader::new(lane, None).expect("honest writers"), lane);
        read.sort_unstable();
        assert!(!wrote.is_empty());
        assert_eq!(read, wrote);
    });
}
