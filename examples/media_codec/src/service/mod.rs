//! The codec service: gives each client a decoder, over Binder.

mod nursery;
mod supervisor;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ashmem_binder::rsbinder::{
    self, Binder, ExceptionCode, Interface, Parcel, Remotable, Status, StatusCode, TransactionCode,
};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};

use self::nursery::Nursery;
use crate::MediaType;
use crate::protocol::{BUSY, CREATE, INTERFACE, NAME, UNSUPPORTED, USAGE};

/// What a service allows.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Bytes of address space for each decoder.
    pub memory: u64,
    /// Processor time that a decoder may take without getting on: from one buffer that it takes to the next. It is not the clock's, so a
    /// busy machine ends no decoder.
    pub deadline: Duration,
    /// Codecs that may be in use at a time. Who asks for one more is refused after two seconds.
    pub codecs: u32,
    /// The program that is a decoder when it is started with `decoder --memory BYTES --parent PID`: this one, unless said otherwise.
    pub program: PathBuf,
    /// Whether decoders do wrong when a stream tells them to, for tests.
    #[doc(hidden)]
    pub faults: bool,
}

impl Default for ServiceOptions {
    /// 512 MiB and 10 s for each, 16 of them.
    fn default() -> ServiceOptions {
        ServiceOptions {
            memory: 512 << 20,
            deadline: Duration::from_secs(10),
            codecs: 16,
            // By this link it is found even when its file was replaced or deleted meanwhile.
            program: PathBuf::from("/proc/self/exe"),
            faults: false,
        }
    }
}

/// The codec service.
#[derive(Debug)]
pub struct Service {
    options: ServiceOptions,
    nursery: Nursery,
    counters: Arc<Counters>,
}

/// What [`Usage`](crate::Usage) tells.
#[derive(Debug, Default)]
struct Counters {
    codecs: Mutex<u32>,
    /// One codec less is in use.
    fewer: Condvar,
    started: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    fn codecs(&self) -> MutexGuard<'_, u32> {
        self.codecs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who gives a codec back and asks for another one at once need not know how long it takes to end the first one's decoder.
const GRACE: Duration = Duration::from_secs(2);

/// One codec that is in use, while it lives.
#[derive(Debug)]
struct Place(Arc<Counters>);

impl Place {
    fn take(counters: &Arc<Counters>, most: u32) -> Option<Place> {
        let waited = counters.fewer.wait_timeout_while(counters.codecs(), GRACE, |codecs| *codecs >= most);
        let (mut codecs, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *codecs >= most {
            return None;
        }
        *codecs += 1;
        Some(Place(Arc::clone(counters)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.codecs() -= 1;
        self.0.fewer.notify_one();
    }
}

impl Service {
    /// Serves codecs as long as this process lives. Decoders end with it.
    ///
    /// # Errors
    /// Those of [`ServiceManager::add_service`]; [`ashmem_binder::Error::System`] when there can be no thread.
    pub fn start(services: &ServiceManager, options: ServiceOptions) -> ashmem_binder::Result<()> {
        let counters = Arc::new(Counters::default());
        let nursery = Nursery::open(options.clone(), Arc::clone(&counters));
        let nursery = nursery.map_err(|source| ashmem_binder::Error::System {
            operation: "start the thread that starts decoders",
            source,
        })?;
        let service = Service { options, nursery, counters };
        services.add_service(NAME, &Binder::new(service).as_binder())
    }

    fn create(&self, word: u32, reply: &mut Parcel) -> rsbinder::Result<()> {
        match MediaType::from_word(word) {
            Some(MediaType::Fault) if !self.options.faults => return refuse(reply, UNSUPPORTED, ""),
            None => return refuse(reply, UNSUPPORTED, ""),
            Some(_) => {}
        }
        let Some(place) = Place::take(&self.counters, self.options.codecs) else {
            return refuse(reply, BUSY, "");
        };
        let parts = self.nursery.decoder().and_then(|mut decoder| {
            let (region, lifeline) = (decoder.region()?, decoder.lifeline()?);
            let process = decoder.process();
            supervisor::watch(decoder, place, self.options.deadline)?;
            Ok((region, lifeline, process))
        });
        match parts {
            Ok((region, lifeline, process)) => {
                reply.write(&Status::from(ExceptionCode::None))?;
                reply.write(&ParcelFileDescriptor::new(region))?;
                reply.write(&ParcelFileDescriptor::new(lifeline))?;
                reply.write(&process)
            }
            Err(error) => refuse(reply, 0, &error.to_string()),
        }
    }

    fn usage(&self, reply: &mut Parcel) -> rsbinder::Result<()> {
        let (codecs, Counters { started, lost, .. }) = (*self.counters.codecs(), &*self.counters);
        reply.write(&Status::from(ExceptionCode::None))?;
        reply.write(&codecs)?;
        reply.write(&started.load(Ordering::Relaxed))?;
        reply.write(&lost.load(Ordering::Relaxed))
    }
}

fn refuse(reply: &mut Parcel, code: i32, reason: &str) -> rsbinder::Result<()> {
    reply.write(&Status::new_service_specific_error(code, Some(reason.to_owned())))
}

impl Remotable for Service {
    fn descriptor() -> &'static str {
        INTERFACE
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            CREATE => self.create(request.read()?, reply),
            USAGE => self.usage(reply),
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn io::Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}
