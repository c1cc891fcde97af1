//! The loop in its thread, over this system's limits.
