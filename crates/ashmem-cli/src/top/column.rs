//! What the table shows of a region, and in which order.

use std::cmp::Ordering;

use crate::text::printable;
use crate::tools::line::{self, Line};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Name,
    Holders,
    Size,
    Resident,
    Pinned,
    Unpinned,
    Purged,
    LastUnpin,
}

impl Column {
    /// From left to right.
    pub const ALL: [Column; 8] = [
        Column::Name,
        Column::Holders,
        Column::Size,
        Column::Resident,
        Column::Pinned,
        Column::Unpinned,
        Column::Purged,
        Column::LastUnpin,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Column::Name => "Name",
            Column::Holders => "Held by",
            Column::Size => "Size",
            Column::Resident => "In mem",
            Column::Pinned => "Pinned",
            Column::Unpinned => "Unpinned",
            Column::Purged => "Purged",
            Column::LastUnpin => "Last unpin",
        }
    }

    /// The one so many places further to the right, or to the left, going round.
    pub fn step(self, places: isize) -> Column {
        let all = Column::ALL;
        let here = all.iter().position(|column| *column == self).unwrap_or(0);
        all[here.wrapping_add_signed(places).wrapping_add(all.len()) % all.len()]
    }

    /// The one that a key stands for.
    pub fn of_digit(digit: char) -> Option<Column> {
        let number = digit.to_digit(10)?.checked_sub(1)?;
        Column::ALL.get(number as usize).copied()
    }

    /// What is shown of a region.
    pub fn cell(self, line: &Line) -> String {
        match self {
            Column::Name => line.label(),
            Column::Holders => match &line.trouble {
                Some(trouble) => printable(trouble),
                None => line::holders(&line.holders),
            },
            Column::LastUnpin => line.unpinned_for_seconds.map_or_else(|| "–".to_owned(), age),
            _ => short(self.bytes(line)),
        }
    }

    fn bytes(self, line: &Line) -> u64 {
        match self {
            Column::Size => line.size,
            Column::Resident => line.resident,
            Column::Pinned => line.pinned,
            Column::Unpinned => line.unpinned,
            Column::Purged => line.purged,
            Column::Name | Column::Holders | Column::LastUnpin => 0,
        }
    }

    /// Names from A on, the largest sizes and the latest unpins first. Of regions that are alike in this, no two are equal.
    pub fn compare(self, a: &Line, b: &Line) -> Ordering {
        let first = |line: &Line| line.holders.first().map(|holder| (holder.process, line.holders.len()));
        let order = match self {
            Column::Name => Ordering::Equal,
            // Of one process together.
            Column::Holders => first(a).cmp(&first(b)),
            Column::LastUnpin => {
                let age = |line: &Line| line.unpinned_for_seconds.unwrap_or(f64::INFINITY);
                age(a).total_cmp(&age(b))
            }
            _ => self.bytes(b).cmp(&self.bytes(a)),
        };
        order.then_with(|| (&a.name, a.inode).cmp(&(&b.name, b.inode)))
    }
}

/// How long ago, whatever number that is.
pub fn age(seconds: f64) -> String {
    line::age(seconds.max(0.0))
}

/// A number of bytes in eight places.
fn short(bytes: u64) -> String {
    if bytes >= 9999 << 40 { "> 9 PiB".to_owned() } else { line::cell(bytes) }
}

#[cfg(test)]
mod tests {
    use ashmem_driver::snapshot::Region;

    use super::*;

    #[test]
    fn columns_go_round() {
        assert_eq!(Column::Name.step(1), Column::Holders);
        assert_eq!(Column::Name.step(-1), Column::LastUnpin);
        assert_eq!(Column::LastUnpin.step(1), Column::Name);
        assert_eq!(Column::of_digit('1'), Some(Column::Name));
        assert_eq!(Column::of_digit('8'), Some(Column::LastUnpin));
        assert!(['0', '9', 'a'].iter().all(|digit| Column::of_digit(*digit).is_none()));
    }

    #[test]
    fn every_column_is_an_order() {
        let line = |name: &str, inode, size, age: Option<f64>| {
            let name = name.to_owned();
            Line::from_driver(Region { name, inode, size, unpinned_for_seconds: age, ..Region::default() })
        };
        let mut lines = [line("b", 1, 5, None), line("a", 2, 7, Some(3.0)), line("a", 3, 5, Some(1.0))];
        let mut order = |column: Column| {
            lines.sort_by(|a, b| column.compare(a, b));
            lines.each_ref().map(|line| line.inode)
        };
        assert_eq!(order(Column::Name), [2, 3, 1]);
        assert_eq!(order(Column::Size), [2, 3, 1]);
        assert_eq!(order(Column::LastUnpin), [3, 2, 1]);
        assert_eq!(order(Column::Purged), [2, 3, 1]);
    }

    #[test]
    fn sizes_have_room() {
        for bytes in [0, 1023, (1 << 20) - 1, 1023 << 40, 9998 << 40, u64::MAX] {
            assert!(short(bytes).chars().count() <= 8, "{}", short(bytes));
        }
        assert_eq!(age(-5.0), "0.0 s ago");
    }
}
