//! The driver's ioctl numbers (`uapi/linux/ashmem.h`).

/// Bytes of a name, with its NUL.
pub(crate) const NAME_LENGTH: usize = 256;

/// A request of the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    SetName,
    GetName,
    SetSize,
    GetSize,
    SetProtection,
    GetProtection,
    Pin,
    Unpin,
    PinStatus,
    PurgeAll,
    FileId,
}

const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn number(direction: u32, number: u32, size: u32) -> u32 {
    direction << 30 | size << 16 | 0x77 << 8 | number
}

/// The request of that number, for a caller whose `long` has 64 bits, or 32.
pub(crate) fn request(request: u32, is_32_bit: bool) -> Option<Request> {
    const TABLE: [(u32, Request); 11] = [
        (number(WRITE, 1, 256), Request::SetName),
        (number(READ, 2, 256), Request::GetName),
        (number(WRITE, 3, 8), Request::SetSize),
        (number(NONE, 4, 0), Request::GetSize),
        (number(WRITE, 5, 8), Request::SetProtection),
        (number(NONE, 6, 0), Request::GetProtection),
        (number(WRITE, 7, 8), Request::Pin),
        (number(WRITE, 8, 8), Request::Unpin),
        (number(NONE, 9, 0), Request::PinStatus),
        (number(NONE, 10, 0), Request::PurgeAll),
        (number(READ, 11, 8), Request::FileId),
    ];
    // The driver takes the 64-bit numbers from 32-bit programs, too.
    let wide = TABLE.iter().find(|(number, _)| *number == request).map(|(_, request)| *request);
    let narrow = match request {
        _ if !is_32_bit => None,
        request if request == number(WRITE, 3, 4) => Some(Request::SetSize),
        request if request == number(WRITE, 5, 4) => Some(Request::SetProtection),
        _ => None,
    };
    wide.or(narrow)
}

/// Whether a request has the driver's type.
pub(crate) fn is_driver_s(request: u32) -> bool {
    request & 0xff00 == 0x7700
}

/// Requests that the kernel answers itself, for files of all kinds (`ioctl(2)`, `do_vfs_ioctl`).
pub(crate) fn is_for_every_file(request: u32) -> bool {
    const FIGETBSZ: u32 = 2;
    const FIONBIO: u32 = 0x5421;
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    const FIOASYNC: u32 = 0x5452;
    matches!(request, FIGETBSZ | FIONBIO | FIONCLEX | FIOCLEX | FIOASYNC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_header() {
        assert_eq!(request(0x4100_7701, false), Some(Request::SetName));
        assert_eq!(request(0x8100_7702, false), Some(Request::GetName));
        assert_eq!(request(0x4008_7703, false), Some(Request::SetSize));
        assert_eq!(request(0x7704, false), Some(Request::GetSize));
        assert_eq!(request(0x4008_7707, true), Some(Request::Pin));
        assert_eq!(request(0x770a, false), Some(Request::PurgeAll));
        assert_eq!(request(0x8008_770b, false), Some(Request::FileId));
        assert_eq!(request(0x4004_7703, true), Some(Request::SetSize));
        assert_eq!(request(0x4004_7703, false), None);
        assert_eq!(request(0x8004_770b, true), None);
        for other in [0, 0x7700, 0x7703, 0x770b, u32::MAX] {
            assert_eq!(request(other, true), None);
        }
    }
}
