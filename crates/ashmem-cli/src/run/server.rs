//! The server behind `ashmem run`, which starts it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use ashmem_device::{Options, Server, serve_socket};
use ashmem_driver::{Audience, Listener};

/// How long the server stays when nobody is there.
const IDLE: Duration = Duration::from_secs(5);

/// The server behind `ashmem run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Go on in the background, as nobody's child.
    #[arg(long)]
    detach: bool,
}

/// Serves until nobody has been there for a while.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.detach {
        let mut server = Command::new("/proc/self/exe");
        server.arg(super::SERVER_COMMAND).arg("--socket").arg(&arguments.socket);
        server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Its parent is about to end; nobody waits for it.
        server.spawn()?;
        return Ok(());
    }
    ashmem_device::detach();
    let listener = match Listener::bind(&arguments.socket, Audience::OwnUser) {
        Ok(listener) => listener,
        // Somebody else was faster.
        Err(ashmem_driver::Error::Running { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let server = Server::new(Options::default())?;
    serve_socket(&server, &listener, Some(IDLE)).map_err(io::Error::from)?;
    Ok(())
}
