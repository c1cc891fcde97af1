//! `ashmem run`: a program with a `/dev/ashmem`, on a kernel without the driver.

mod private;
mod server;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ashmem::driver::{device, socket};
use ashmem_device::model::Flavour;
use rustix::io::Errno;

pub use server::Arguments as ServerArguments;
pub use server::run as run_server;

/// The command's name, for who starts it.
pub const SERVER_COMMAND: &str = "device-server";

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Run a program that opens /dev/ashmem, unchanged.
///
/// The program, and everything that it executes, finds Android's ashmem driver at /dev/ashmem: its ioctls, its rules for
/// mmap, its pins. The memory is that of regions, so unpinned pages go when memory runs short. No kernel module, no root.
///
/// The program takes this command's place: signals, terminal and exit status are its own. Exits with 125 when the device cannot be
/// offered, 126 when the program cannot be executed, 127 when there is none of that name, 2 when the command is used wrongly.
#[derive(clap::Args)]
pub struct Arguments {
    /// The socket of the device server. One is started there if there is none. [default: $ASHMEM_DEVICE, or the user's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A device of the program's own, with this command as its server, which stays the program's parent. Chosen without asking where
    /// the system lets only ancestors look at a process (Yama's ptrace_scope).
    #[arg(long, conflicts_with = "socket")]
    private: bool,
    /// As the driver of Android's kernels: with GET_FILE_ID, and the size in fdinfo. Implies --private.
    #[arg(long, conflicts_with = "socket")]
    android: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Does not return, unless something is wrong.
pub fn run(arguments: &Arguments) -> ExitCode {
    let failed = |error: &(dyn Error + 'static), code| {
        let _ = writeln!(io::stderr(), "ashmem: {}", crate::with_causes(error));
        ExitCode::from(code)
    };
    let Some((program, rest)) = arguments.program.split_first() else { return ExitCode::from(125) };
    let is_private = arguments.private || arguments.android;
    if is_private || arguments.socket.is_none() && !ashmem_device::may_be_served_by_others() {
        let flavour = if arguments.android { Flavour::Android } else { Flavour::Mainline };
        return private::run(&arguments.program, flavour).unwrap_or_else(|error| failed(&*error, 125));
    }
    let path = arguments.socket.clone().or_else(|| device::candidates().into_iter().next());
    let Some(path) = path else {
        return failed(&ashmem_device::Error::NoServer { path: PathBuf::from("off") }, 125);
    };
    match connect(&path) {
        Ok(socket) => {
            let error = ashmem_device::launch(&socket, program, rest);
            failed(&error, error.exit_code())
        }
        Err(error) => failed(&error, error.exit_code()),
    }
}

/// A connection to the server there, which is started if there is none.
fn connect(path: &Path) -> Result<OwnedFd, ashmem_device::Error> {
    use ashmem_device::Error as Failed;
    let give_up = Instant::now() + PATIENCE;
    let mut started = false;
    while Instant::now() < give_up {
        match socket::connect(path) {
            Ok(socket) if !device::is_trusted(socket.as_fd(), path) => {
                return Err(Failed::Untrusted { path: path.to_owned() });
            }
            Ok(socket) => match ashmem_device::greet(&socket) {
                Ok(()) => return Ok(socket),
                // It was about to end.
                Err(_) => started = false,
            },
            Err(Errno::NOENT | Errno::CONNREFUSED) if !started => {
                start(path)?;
                started = true;
            }
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Failed::NoServer { path: path.to_owned() })
}

/// Starts a server that is no child of this process: the program must not find one that it does not know.
fn start(path: &Path) -> Result<(), ashmem_device::Error> {
    let mut server = Command::new("/proc/self/exe");
    server.arg(SERVER_COMMAND).arg("--detach").arg("--socket").arg(path);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null());
    let failed = |source| ashmem_device::Error::System { operation: "start the device server", source };
    // It says itself what is wrong.
    server.status().map_err(failed).map(drop)
}
