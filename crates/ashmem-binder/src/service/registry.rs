//! Services over sockets, in one directory.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rsbinder::{SIBinder, StatusCode};

use super::address::Place;
use super::directory::{Directory, Entry, PATIENCE, Servers};
use super::name::Name;
use super::options::Options;
use super::process::Process;
use super::server::Server;
use super::server_file::ServerFile;
use super::session;
use super::watch::Watch;
use crate::{Error, Result};

/// How often a service is looked for again when its process ended, or was replaced, or refused, just then.
/// The pauses between, a millisecond at first, double.
const ATTEMPTS: u32 = 6;

/// One directory of services.
#[derive(Debug)]
pub(super) struct Registry {
    place: Place,
    options: Options,
}

/// What one attempt to find a service came to.
enum Found {
    Service(SIBinder),
    Nothing,
    /// Worth another look, and what to say if that was the last one; `None` is for nothing.
    Again(Option<Error>),
}

impl Registry {
    pub(super) fn new(place: Place, options: Options) -> Registry {
        Registry { place, options }
    }

    pub(super) fn address(&self) -> String {
        rsbinder::Uri::new(rsbinder::Endpoint::unix(self.place.path())).to_string()
    }

    fn directory(&self) -> Result<Directory> {
        let made = Directory::open(&self.place, &self.options, true)?;
        made.ok_or_else(|| Error::system("make the directory of services")(rustix::io::Errno::NOENT))
    }

    pub(super) fn add(&self, name: Name<'_>, binder: &SIBinder) -> Result<()> {
        if binder.is_remote() {
            // It can be called by nobody but the session that it came from.
            return Err(Error::binder("add a service of another process")(StatusCode::InvalidOperation));
        }
        let taken = || Error::NameTaken { name: name.as_str().to_owned() };
        let process = Process::current();
        let directory = self.directory()?;
        if self.is_taken(process, &directory, name)? {
            return Err(taken());
        }
        let server = self.server(process, &directory)?;
        // Before others can find it.
        if !server.services.insert(name.as_str(), binder) {
            return Err(taken());
        }
        let claimed = self.claim(process, &directory, name, &server.file);
        if !matches!(claimed, Ok(true)) {
            server.services.remove(name.as_str());
        }
        if claimed? { Ok(()) } else { Err(taken()) }
    }

    fn server(&self, process: &'static Process, directory: &Directory) -> Result<Arc<Server>> {
        let key = (directory.id, self.options.clone());
        if let Some(server) = process.server(&key).filter(|server| server.is_reachable()) {
            return Ok(server);
        }
        // Somebody may have removed the directory. What was served goes on, and is found again.
        let lost = process.lost_server(directory.path(), &self.options);
        let services = lost.as_ref().map(|(_, server)| server.services.clone()).unwrap_or_default();
        let new = Arc::new(Server::start(process, directory, &self.options, services)?);
        let (server, other) = process.keep_server(key, new);
        if let Some((key, lost)) = &lost {
            process.forget_server(key, lost);
            for name in server.services.names() {
                // It may be another process's by now.
                let claimed =
                    Name::new(&name).and_then(|name| self.claim(process, directory, name, &server.file));
                if !claimed? {
                    server.services.remove(&name);
                }
            }
        }
        // Outside of every lock: this removes their files.
        drop((lost, other));
        Ok(server)
    }

    /// Whether a living process has the name.
    fn is_taken(&self, process: &Process, directory: &Directory, name: Name<'_>) -> Result<bool> {
        match directory.entry(&name.to_file())? {
            Some(Entry::Server(server)) => {
                let servers = directory.servers(&self.options, false)?;
                Servers::lives(servers.as_ref(), process, &server)
            }
            _ => Ok(false),
        }
    }

    /// Makes the link, in place of what a dead process left; `false` if somebody else has made it.
    fn claim(
        &self,
        process: &Process,
        directory: &Directory,
        name: Name<'_>,
        own: &ServerFile,
    ) -> Result<bool> {
        let file = name.to_file();
        if directory.link(&file, own)? {
            return Ok(true);
        }
        let lock = directory.lock(process, PATIENCE)?;
        if self.is_taken(process, directory, name)? {
            return Ok(false);
        }
        match directory.entry(&file)? {
            Some(Entry::Other) => {
                return Err(Error::system("add a service to its directory")(rustix::io::Errno::EXIST));
            }
            Some(_) => directory.unlink(&file, &lock)?,
            None => {}
        }
        // Whoever needed no lock may have been faster.
        directory.link(&file, own)
    }

    pub(super) fn remove(&self, name: Name<'_>) -> Result<()> {
        let process = Process::current();
        let none = || Error::NoSuchService { name: name.as_str().to_owned() };
        let directory = Directory::open(&self.place, &self.options, false)?.ok_or_else(none)?;
        let own = |server: &Arc<Server>| server.services.get(name.as_str()).is_some();
        let server = process.servers_in(directory.id).into_iter().find(own).ok_or_else(none)?;
        let lock = directory.lock(process, PATIENCE)?;
        let file = name.to_file();
        if directory.entry(&file)? == Some(Entry::Server(server.file.clone())) {
            directory.unlink(&file, &lock)?;
        }
        drop(lock);
        if server.services.remove(name.as_str()) { Ok(()) } else { Err(none()) }
    }

    pub(super) fn check(&self, name: Name<'_>) -> Result<Option<SIBinder>> {
        let process = Process::current();
        let Some(directory) = Directory::open(&self.place, &self.options, false)? else { return Ok(None) };
        let mut pause = Duration::from_millis(1);
        for attempt in 1.. {
            match self.find(process, &directory, name)? {
                Found::Service(binder) => return Ok(Some(binder)),
                Found::Nothing => break,
                Found::Again(None) if attempt == ATTEMPTS => break,
                Found::Again(Some(error)) if attempt == ATTEMPTS => return Err(error),
                Found::Again(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        Ok(None)
    }

    fn find(&self, process: &Process, directory: &Directory, name: Name<'_>) -> Result<Found> {
        let file = name.to_file();
        let Some(Entry::Server(server)) = directory.entry(&file)? else { return Ok(Found::Nothing) };
        if process.owns(&server) {
            let servers = process.servers_in(directory.id);
            let own = servers.iter().find(|own| own.file == server);
            let binder = own.and_then(|own| own.services.get(name.as_str()));
            // Removed just now, or a server that another thread is about to drop.
            return Ok(binder.map_or(Found::Again(None), Found::Service));
        }
        let servers = directory.servers(&self.options, false)?;
        let lives = Servers::lives(servers.as_ref(), process, &server)?;
        let (true, Some(servers)) = (lives, &servers) else {
            directory.clean(process, servers.as_ref(), &file, &server);
            // Not if it is all the same, or nothing: that it can be read, but not removed, is no reason to
            // wait.
            let replaced = directory.entry(&file)?.is_some_and(|entry| entry != Entry::Server(server));
            return Ok(if replaced { Found::Again(None) } else { Found::Nothing });
        };
        let session = match session::session(process, directory, servers, &server, &self.options) {
            Ok(session) => session,
            // As it ends, or has too many connections; which of them, the next look will tell.
            Err(Error::System { operation, source })
                if source.kind() == io::ErrorKind::ConnectionRefused
                    || source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Found::Again(Some(Error::System { operation, source })));
            }
            Err(error) if Servers::lives(Some(servers), process, &server)? => return Err(error),
            Err(error) => return Ok(Found::Again(Some(error))),
        };
        match session.get_service(name.as_str()) {
            Ok(binder) => Ok(Found::Service(binder)),
            Err(StatusCode::NameNotFound) => Ok(Found::Again(None)),
            Err(status) => {
                let error = Error::binder("ask a process for its service")(status);
                // The next look finds out whether it has ended, and makes another session if not.
                if status == StatusCode::DeadObject { Ok(Found::Again(Some(error))) } else { Err(error) }
            }
        }
    }

    pub(super) fn watch(&self) -> Result<Watch> {
        Ok(Watch::new(self.directory()?.path()))
    }

    pub(super) fn list(&self) -> Result<Vec<String>> {
        let process = Process::current();
        let Some(directory) = Directory::open(&self.place, &self.options, false)? else {
            return Ok(Vec::new());
        };
        let servers = directory.servers(&self.options, false)?;
        let mut lives: HashMap<ServerFile, bool> = HashMap::new();
        let mut names = Vec::new();
        for file in directory.files()? {
            let Some(name) = Name::from_file(&file) else { continue };
            let file = Name::new(&name)?.to_file();
            let Some(Entry::Server(server)) = directory.entry(&file)? else { continue };
            let known = lives.get(&server).copied();
            let alive = match known {
                Some(alive) => alive,
                None => Servers::lives(servers.as_ref(), process, &server)?,
            };
            if alive {
                names.push(name);
            } else {
                directory.clean(process, servers.as_ref(), &file, &server);
            }
            lives.insert(server, alive);
        }
        names.sort();
        Ok(names)
    }
}
