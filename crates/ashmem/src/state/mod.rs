//! Pin state: which pages of a region are pinned, unpinned, being purged, or purged.
//!
//! # States of a page
//!
//! ```text
//!            unpin               claim                commit
//!   PINNED ─────────▶ UNPINNED ─────────▶ PURGING ─────────▶ PURGED
//!     ▲ ▲     pin        │  ▲    release     │                 │
//!     │ └────────────────┘  └────────────────┘                 │
//!     └────────────────────────────────────────────────────────┘
//!                      pin, which says "purged"
//! ```
//!
//! Two more ways for who holds pages (rule 6): *accept*, PURGED → UNPINNED, which says "purged" as a pin does; and *lose*,
//! UNPINNED or PURGING → PURGED without taking anything away.
//!
//! Two bits a page, sixteen pages and a generation in an atomic [`PageWord`]. One [`AreaWord`] says, for the whole
//! region, the generation in force and the *base* state of every page whose word carries an older generation. Pinning
//! or unpinning the whole region is one compare-and-swap of the area word: a new base and, if any page word was
//! used, a new generation, which makes all of them old at once.
//!
//! # Rules
//!
//! 1. A page word of generation `g` is written only after the area word was seen at `g` with its `dirty` bit set.
//!    The bit stays set until the generation changes, so "not dirty" means "no page word counts".
//! 2. Generations only grow and never wrap: after the last one, whole-region operations walk the page words. A writer
//!    that meets a page word newer than the area word it has seen looks at the area word again, so an operation that
//!    was overtaken by a whole-region one never replaces newer state.
//! 3. While `purging` or `any_purged` is set, whole-region operations walk the page words and leave generation and base
//!    alone. So a page that was claimed stays claimed until its purger commits it.
//! 4. Claiming needs the purge lock (outside of this module), which the kernel takes away from a purger that dies. Who
//!    holds the lock and finds pages in PURGING finishes the dead purger's work ([`Table::recover`]).
//! 5. A pin that meets PURGING waits for the area word to change, or for the lock. All other operations are lock-free.
//!
//!    Accepting every page clears `any_purged`, too, on the same condition; losing some sets it before and after.
//! 6. A purger that has claimed pages looks for [holds](Holds) on them, and releases those that are held. Who holds pages looks
//!    at their states afterwards. So nothing goes that is held, whatever the states say about pins. Then the purger marks the area
//!    (TAKING): should it die, its pages are there before that mark, and may be gone behind it.
//!
//! # Races that are allowed
//!
//! An operation on several words is not one step: it is linearisable page by page. An operation that is overtaken by a
//! whole-region one takes effect just before it. A page can be purged although it was unpinned a moment ago, when its
//! stamp is read before the new one is written; it was unpinned all the same.

mod area;
mod holds;
mod purge;
mod purged;
mod ranges;
mod stamp;
mod table;
mod word;

#[cfg(all(test, loom))]
mod loom_holds;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;

pub(crate) use area::{Area, AreaWord};
pub(crate) use holds::{HEAD_WORDS, Holds, SLOTS, row_words};
pub(crate) use purge::{CHUNK_PAGES, Fault, runs};
#[cfg(not(loom))]
pub(crate) use stamp::now;
pub(crate) use table::{Corrupt, Counts, Span, Table, Walked, slot, slots, word_at};
pub(crate) use word::{PAGES_PER_WORD, PageWord, Select, States};
