//! Server and client in one go: the server is this program once more, as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Result, client, say, server};

pub fn run() -> Result<()> {
    let _server = Server::start()?;
    client::run(&[42, -7, i32::MIN])
}

/// Ends with this value, and with this process if that is killed.
struct Server(Child);

impl Server {
    fn start() -> Result<Server> {
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let child = Command::new("/proc/self/exe")
            .args(["server", "--until-input-ends"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start the server: {error}"))?;
        let mut server = Server(child);
        let mut line = String::new();
        if let Some(output) = server.0.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim_end() != server::READY {
            // It has said itself why.
            return Err("the server did not start".into());
        }
        say(server::READY);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
