//! Native methods of the classes of shared memory.
