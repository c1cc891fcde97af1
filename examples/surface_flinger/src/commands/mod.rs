//! The commands.

pub mod bench;
mod children;
pub mod compositor;
pub mod demo;
pub mod producer;
mod text;

use std::io;
use std::thread;

use ashmem_binder::ServiceManager;
use surface_flinger::{Error, Result};

/// The services of the user.
fn services() -> Result<ServiceManager> {
    ServiceManager::new().map_err(|source| Error::Binder { operation: "open the services", source })
}

/// Calls this when standard input ends, which it does with the process that has the other end.
fn at_input_end(then: impl FnOnce() + Send + 'static) -> Result<()> {
    let wait = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        then();
    };
    thread::Builder::new().spawn(wait).map(drop).map_err(Error::system("start a thread"))
}
