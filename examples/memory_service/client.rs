//! What uses both services.

use ashmem::MemoryFile;
use ashmem_binder::rsbinder::Strong;
use ashmem_binder::{ServiceManager, memory_file_from};

use super::memory::{self, IMemoryService};
use super::message::{self, IMyService};
use super::{Result, say};

/// What is sent where nobody says what.
pub const TEXT: &str = "落霞与孤鹜齐飞，秋水共长天一色。";

/// It looks for the service when it is needed first, and once more after a call has failed.
pub struct Client {
    services: ServiceManager,
    service: Option<Strong<dyn IMemoryService>>,
    /// The service's memory, in a mapping of this process that can only read.
    file: Option<MemoryFile>,
}

impl Client {
    pub fn new() -> Result<Client> {
        Ok(Client { services: ServiceManager::new()?, service: None, file: None })
    }

    /// The value, out of memory; asks nobody after the first time.
    pub fn read(&mut self) -> Result<i32> {
        let mut bytes = [0; memory::LENGTH as usize];
        self.memory_file()?.read_at(0, &mut bytes)?;
        Ok(i32::from_be_bytes(bytes))
    }

    /// Asks the service to change the value.
    pub fn write(&mut self, value: i32) -> Result<()> {
        let answer = self.memory_service()?.set_value(value);
        if answer.is_err() {
            self.service = None;
        }
        Ok(answer?)
    }

    /// What happens when the value is written where it is.
    pub fn write_to_memory(&mut self, value: i32) -> Result<()> {
        Ok(self.memory_file()?.write_at(0, &value.to_be_bytes())?)
    }

    /// The second service's answer to a text.
    pub fn send(&self, text: &str) -> Result<String> {
        let binder = self.services.get_service(message::NAME)?;
        message::send(&*Strong::<dyn IMyService>::try_from(binder)?, text)
    }

    fn memory_service(&mut self) -> Result<&dyn IMemoryService> {
        let service = match self.service.take() {
            Some(service) => service,
            None => {
                let binder = self.services.get_service(memory::NAME)?;
                // Its memory is another one, too.
                self.file = None;
                Strong::try_from(binder)?
            }
        };
        Ok(&**self.service.insert(service))
    }

    fn memory_file(&mut self) -> Result<&MemoryFile> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let descriptor = self.memory_service()?.get_file_descriptor()?;
                memory_file_from(descriptor.ok_or("the service has no memory")?, memory::LENGTH)?
            }
        };
        Ok(self.file.insert(file))
    }
}

/// Writes each value and reads it back, then sends a text.
pub fn run(values: &[i32]) -> Result<()> {
    let mut client = Client::new()?;
    say(&format!("client: the value is {}", client.read()?));
    for &value in values {
        client.write(value)?;
        say(&format!("client: wrote {value}, read {}", client.read()?));
    }
    match client.write_to_memory(1) {
        Ok(()) => return Err("a client could write to the service's memory".into()),
        Err(error) => say(&format!("client: writing to the memory itself is refused: {error}")),
    }
    say(&format!("client: the answer is: {}", client.send(TEXT)?));
    Ok(())
}
