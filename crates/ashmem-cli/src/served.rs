//! Services, and the memory that is behind some of them.

use std::ops::Range;

use ashmem_binder::rsbinder::SIBinder;
use ashmem_binder::rsbinder::shared_memory::{IMEMORY_DESCRIPTOR, IMEMORY_HEAP_DESCRIPTOR};
use ashmem_binder::{BpMemory, BpMemoryHeap, Heap, ServiceManager, interface_of};

use crate::error::Error;

/// Where services are.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Where the services are, as unix:///DIRECTORY or binder://; by default $ASHMEM_BINDER,
    /// or the user's own directory
    #[arg(long = "at", value_name = "ADDRESS", verbatim_doc_comment)]
    address: Option<String>,
}

impl Place {
    /// The services there.
    pub fn services(&self) -> Result<ServiceManager, Error> {
        Ok(match &self.address {
            Some(address) => ServiceManager::at(address)?,
            None => ServiceManager::new()?,
        })
    }
}

/// Memory that somebody serves.
pub enum Served {
    /// All of a heap.
    Heap(BpMemoryHeap),
    /// A part of one.
    Window(BpMemory),
}

impl Served {
    /// Finds out what is behind a binder.
    pub fn from_binder(name: &str, binder: &SIBinder) -> Result<Served, Error> {
        let interface = interface_of(binder).map_err(of_service(name))?;
        match interface.as_str() {
            IMEMORY_HEAP_DESCRIPTOR => {
                Ok(Served::Heap(BpMemoryHeap::from_binder(binder).map_err(of_service(name))?))
            }
            IMEMORY_DESCRIPTOR => {
                Ok(Served::Window(BpMemory::from_binder(binder).map_err(of_service(name))?))
            }
            _ => Err(Error::NoMemory { name: name.to_owned(), interface }),
        }
    }

    /// The heap, or that of the window.
    pub fn heap(&self) -> ashmem_binder::Result<&Heap> {
        match self {
            Served::Heap(proxy) => proxy.heap(),
            Served::Window(proxy) => Ok(proxy.window()?.heap()),
        }
    }

    /// The bytes of the heap that are meant, which are inside of it.
    pub fn bytes(&self) -> ashmem_binder::Result<Range<u64>> {
        Ok(match self {
            Served::Heap(proxy) => 0..proxy.heap()?.size(),
            Served::Window(proxy) => {
                let window = proxy.window()?;
                window.offset()..window.offset() + window.size()
            }
        })
    }

    /// Has the server build a range of the heap again.
    pub fn rebuild(&self, range: Range<u64>) -> ashmem_binder::Result<()> {
        match self {
            Served::Heap(proxy) => proxy.rebuild(range),
            Served::Window(proxy) => match proxy.heap()? {
                Some(heap) => heap.rebuild(range),
                None => {
                    Err(ashmem_binder::Error::NotRebuilt { reason: "it is this process's own".to_owned() })
                }
            },
        }
    }
}

/// Says which service had the error.
pub fn of_service(name: &str) -> impl FnOnce(ashmem_binder::Error) -> Error {
    move |source| Error::Service { name: name.to_owned(), source }
}
