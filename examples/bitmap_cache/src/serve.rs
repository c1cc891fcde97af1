//! `serve`: the service's process.

use std::io;
use std::thread;

use ashmem_binder::ServiceManager;
use bitmap_cache::service::Service;

use super::arguments::Serve;
use super::{Impossible, Result, say};

/// What it says once it can be found.
pub const READY: &str = "bitmap_cache: ready";

pub fn run(arguments: &Serve) -> Result<()> {
    let impossible = |error: &dyn std::error::Error| Impossible(error.to_string());
    let services = ServiceManager::new().map_err(|error| impossible(&error))?;
    let service =
        Service::new(&arguments.roots, arguments.limits.options()).map_err(|error| impossible(&error))?;
    service.add_to(&services).map_err(|error| impossible(&error))?;
    say(READY);
    if arguments.until_input_ends {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(());
    }
    // All is done by threads of the library.
    loop {
        thread::park();
    }
}
