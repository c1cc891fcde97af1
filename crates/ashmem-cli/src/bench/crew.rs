//! The processes in the cgroup, as their parent sees them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::cgroup::Cgroup;
use super::member::{Answer, Order};
use super::stop::Stop;
use super::{Error, MEMBER_COMMAND};
use crate::demo::own_executable;

/// How long a member may take for anything. Where a cgroup slows processes down (`memory.high`), that is long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process in the cgroup. It ends with this value, on every path.
pub struct Member {
    child: Child,
    stream: UnixStream,
    received: Vec<u8>,
    stop: Stop,
    is_killed: bool,
}

impl Member {
    /// Starts one. `driver` is what it finds in `ASHMEM_DRIVER`.
    pub fn start(cgroup: &Cgroup, driver: &OsString, stop: &Stop) -> Result<Member, Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::Talk)?;
        let child = Command::new(own_executable())
            .arg(MEMBER_COMMAND)
            .env(ashmem::driver::address::VARIABLE, driver)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(Error::Start)?;
        let mut member =
            Member { child, stream: ours, received: Vec::new(), stop: stop.clone(), is_killed: false };
        match member.ask(&Order::Join(cgroup.directory().to_owned()))? {
            Some(_) => Ok(member),
            None => Err(Error::Ended(ExitStatus::from_raw(libc::SIGKILL))),
        }
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether the kernel has killed it.
    pub fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// Gives an order, and waits for the answer. None when it was killed.
    pub fn ask(&mut self, order: &Order) -> Result<Option<Answer>, Error> {
        self.tell(order)?;
        self.hear()
    }

    /// Gives an order.
    pub fn tell(&mut self, order: &Order) -> Result<(), Error> {
        let mut line = serde_json::to_vec(order).map_err(|error| Error::Talk(error.into()))?;
        line.push(b'\n');
        match self.stream.write_all(&line) {
            // It has ended, and what it says next is that.
            Err(error) if is_end(&error) => Ok(()),
            result => result.map_err(Error::Talk),
        }
    }

    /// Waits for an answer. None when it was killed.
    pub fn hear(&mut self) -> Result<Option<Answer>, Error> {
        if self.is_killed {
            return Ok(None);
        }
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return match serde_json::from_slice(&line).map_err(|error| Error::Talk(error.into()))? {
                    Answer::Failed(reason) => Err(Error::Member(reason)),
                    answer => Ok(Some(answer)),
                };
            }
            if !self.stop.or_readable(self.stream.as_fd(), PATIENCE)? {
                return Err(Error::Silent(PATIENCE));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.ended(),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_end(&error) => return self.ended(),
                Err(error) => return Err(Error::Talk(error)),
            }
        }
    }

    fn ended(&mut self) -> Result<Option<Answer>, Error> {
        let status = self.child.wait().map_err(Error::Talk)?;
        if status.signal() == Some(libc::SIGKILL) {
            self.is_killed = true;
            return Ok(None);
        }
        Err(Error::Ended(status))
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(command: &str) -> Member {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new("sh").args(["-c", command]).stdin(OwnedFd::from(theirs)).spawn().unwrap();
        Member { child, stream: ours, received: Vec::new(), stop: Stop::never(), is_killed: false }
    }

    #[test]
    fn the_kernel_s_kills_are_told_from_other_ends() {
        let mut killed = member("read line; kill -9 $$");
        assert!(killed.ask(&Order::Pin).unwrap().is_none());
        assert!(killed.is_killed() && killed.ask(&Order::Pin).unwrap().is_none());
        let error = member("read line; exit 3").ask(&Order::Pin).unwrap_err();
        assert!(matches!(error, Error::Ended(status) if status.code() == Some(3)), "{error:?}");
    }

    #[test]
    fn answers_are_heard_one_by_one() {
        let mut one = member(
            r#"printf '"done"\n{"touched":{"secs":1,"nanos":2}}\n{"failed":"no"}\nx\n' >&0; sleep 100"#,
        );
        assert!(matches!(one.hear().unwrap(), Some(Answer::Done)));
        assert!(matches!(one.hear().unwrap(), Some(Answer::Touched(time)) if time == Duration::new(1, 2)));
        assert!(matches!(one.hear(), Err(Error::Member(reason)) if reason == "no"));
        assert!(matches!(one.hear(), Err(Error::Talk(_))));
    }
}
