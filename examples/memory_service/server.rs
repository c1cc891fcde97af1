//! The process that serves both.

use std::io;
use std::thread;

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::Interface;

use super::memory::{self, BnMemoryService, MemoryService};
use super::message::{self, BnMyService, MyService};
use super::{Result, say};

/// What it says once both can be found.
pub const READY: &str = "server: ready";

pub fn run(until_input_ends: bool) -> Result<()> {
    let services = ServiceManager::new()?;
    let memory = BnMemoryService::new_binder(MemoryService::new()?);
    services.add_service(memory::NAME, &memory.as_binder())?;
    services.add_service(message::NAME, &BnMyService::new_binder(MyService).as_binder())?;
    say(READY);
    if until_input_ends {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(());
    }
    // All is done by threads of the library.
    loop {
        thread::park();
    }
}
