//! Who wants to know of descriptors that are closed.
#![allow(unsafe_code, reason = "calls functions of other libraries")]

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_uint, c_void};

use crate::errno;

/// Is called with the first and the last descriptor of a range, before they are closed and after. Where [`crate::close`] may be
/// called, this may be called: in signal handlers, and in children of `vfork(2)`, whose memory is their parent's.
pub type Listener = unsafe extern "C" fn(first: c_uint, last: c_uint);

/// Descriptors that a call closes if they are open: at least one, and none above `INT_MAX`, as there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    first: c_uint,
    last: c_uint,
}

impl Descriptors {
    pub(crate) const ALL: Descriptors = Descriptors { first: 0, last: c_int::MAX as c_uint };

    /// None if it is negative: nothing is open there.
    pub(crate) fn one(fd: c_int) -> Option<Descriptors> {
        let fd = c_uint::try_from(fd).ok()?;
        Some(Descriptors { first: fd, last: fd })
    }

    /// Both ends included. None if nothing can be open there.
    pub(crate) fn range(first: c_uint, last: c_uint) -> Option<Descriptors> {
        let last = last.min(Descriptors::ALL.last);
        (first <= last).then_some(Descriptors { first, last })
    }
}

/// Grows from the front and never shrinks, so it can be read without a lock.
pub(crate) struct Listeners([AtomicPtr<c_void>; 8]);

/// Those of the process.
pub(crate) static LISTENERS: Listeners = Listeners::new();

impl Listeners {
    const fn new() -> Listeners {
        Listeners([const { AtomicPtr::new(ptr::null_mut()) }; 8])
    }

    /// From now on, for good. The same one is called only once, however often it is added. False if there are eight others.
    pub(crate) fn add(&self, listener: Listener) -> bool {
        let listener = listener as *mut c_void;
        // Everybody takes the first free place, so two threads that add the same one meet there.
        self.0.iter().any(|place| {
            match place.compare_exchange(ptr::null_mut(), listener, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => true,
                Err(there) => there == listener,
            }
        })
    }

    /// Tells all of them, and leaves errno as it is.
    pub(crate) fn announce(&self, descriptors: Descriptors) {
        if self.0[0].load(Ordering::Relaxed).is_null() {
            return;
        }
        let errno = errno::get();
        for place in &self.0 {
            let listener = place.load(Ordering::Acquire);
            if listener.is_null() {
                break;
            }
            // SAFETY: only `add` writes to a place, and writes a listener.
            let listener = unsafe { mem::transmute::<*mut c_void, Listener>(listener) };
            // SAFETY: who added it allows it to be called like this.
            unsafe { listener(descriptors.first, descriptors.last) };
        }
        errno::set(errno);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static HEARD: RefCell<Vec<(usize, c_uint, c_uint)>> = const { RefCell::new(Vec::new()) };
    }

    unsafe extern "C" fn listener<const NUMBER: usize>(first: c_uint, last: c_uint) {
        HEARD.with_borrow_mut(|heard| heard.push((NUMBER, first, last)));
        errno::set(NUMBER as c_int);
    }

    #[test]
    fn descriptors_that_can_be_open() {
        let most = c_int::MAX as c_uint;
        assert_eq!(Descriptors::one(-1), None);
        assert_eq!(Descriptors::one(c_int::MIN), None);
        assert_eq!(Descriptors::one(0), Descriptors::range(0, 0));
        assert_eq!(Descriptors::one(c_int::MAX), Descriptors::range(most, c_uint::MAX));
        assert_eq!(Descriptors::range(0, c_uint::MAX), Some(Descriptors::ALL));
        assert_eq!(Descriptors::range(4, 3), None);
        assert_eq!(Descriptors::range(most + 1, c_uint::MAX), None);
    }

    #[test]
    fn each_is_told_once_and_errno_stays() {
        let listeners = Listeners::new();
        let five = Descriptors { first: 5, last: 6 };
        listeners.announce(five);
        assert!(HEARD.take().is_empty());
        for _ in 0..3 {
            assert!(listeners.add(listener::<1>));
            assert!(listeners.add(listener::<2>));
        }
        errno::set(77);
        listeners.announce(five);
        assert_eq!(errno::get(), 77);
        assert_eq!(HEARD.take(), [(1, 5, 6), (2, 5, 6)]);
    }

    #[test]
    fn there_is_room_for_eight() {
        let listeners = Listeners::new();
        let eight: [Listener; 8] = [
            listener::<1>,
            listener::<2>,
            listener::<3>,
            listener::<4>,
            listener::<5>,
            listener::<6>,
            listener::<7>,
            listener::<8>,
        ];
        assert!(eight.into_iter().all(|listener| listeners.add(listener)));
        assert!(!listeners.add(listener::<9>));
        assert!(listeners.add(listener::<8>), "it is there already");
        listeners.announce(Descriptors { first: 1, last: 1 });
        let told: Vec<usize> = HEARD.take().into_iter().map(|(number, ..)| number).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
