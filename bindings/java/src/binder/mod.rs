//! Native methods of Binder.
