//! Threads of Binder that call Java: known to the JVM as daemons, which keep no program from ending.
