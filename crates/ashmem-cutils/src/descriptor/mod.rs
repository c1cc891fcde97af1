//! What is known of the descriptors that a program passes in.
//!
//! C code has nothing but numbers: it closes them with `close(2)`, and the kernel gives them out again. For a number whose region
//! has pin state, the library keeps an *entry*: a duplicate of the descriptor, the mapped pin state, and with them a place in
//! the reclaimer's list. So a pin need not ask the kernel anything, provided that closing is [seen](closing): then the entry goes
//! with the descriptor. Where it is not seen, every use asks the kernel whether the number still names the same file, and
//! entries whose numbers do not are dropped when others are made.
//!
//! There are no locks here. What a thread uses is kept until it is done ([`cell`]), and `fork(2)` leaves a child nothing to
//! wait for.

mod cell;
#[cfg(not(loom))]
mod closing;
#[cfg(not(loom))]
mod entries;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(not(loom))]
mod table;

#[cfg(not(loom))]
pub(crate) use entries::{PinState, at_once, is_new, looking, make_room, pinning};
