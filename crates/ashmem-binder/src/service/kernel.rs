//! Services over the kernel's binder, through its service manager: Android's, or rsbinder's `rsb_hub`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rsbinder::hub::{self, DUMP_FLAG_PRIORITY_ALL};
use rsbinder::{Endpoint, ProcessState, SIBinder, StatusCode};

use super::name::Name;
use super::process::{Process, lock};
use crate::{Error, Result};

const REACH: &str = "reach the service manager of the kernel's binder";

/// One driver. A process can have only one.
#[derive(Debug)]
pub(super) struct Kernel {
    endpoint: Endpoint,
}

/// What the service manager has under a name. It may not have heard yet that the service's process has ended.
fn find(manager: &hub::ServiceManager, name: Name<'_>) -> Result<Option<SIBinder>> {
    match manager.try_get_service(name.as_str()) {
        // The service, if not the manager itself.
        Err(StatusCode::DeadObject) if manager.try_list_services(DUMP_FLAG_PRIORITY_ALL).is_ok() => Ok(None),
        found => found.map_err(Error::binder(REACH)),
    }
}

impl Kernel {
    /// Nothing is opened before it is used.
    pub(super) fn new(endpoint: Endpoint) -> Kernel {
        Kernel { endpoint }
    }

    pub(super) fn address(&self) -> String {
        rsbinder::Uri::new(self.endpoint.clone()).to_string()
    }

    fn driver(&self) -> &Path {
        let Endpoint::Kernel(kernel) = &self.endpoint else { return Path::new(rsbinder::LEGACY_BINDER_PATH) };
        let default = [rsbinder::DEFAULT_BINDER_PATH, rsbinder::LEGACY_BINDER_PATH].map(Path::new);
        kernel.driver().unwrap_or(if default[0].exists() { default[0] } else { default[1] })
    }

    fn manager(&self) -> Result<Arc<hub::ServiceManager>> {
        if !Process::current().is_first() && ProcessState::is_initialized() {
            // The driver's descriptor is the parent's.
            return Err(Error::binder("use the kernel's binder in a forked process")(
                StatusCode::InvalidOperation,
            ));
        }
        if !ProcessState::is_initialized() {
            // Only this says what is wrong: that there is no driver, or that it may not be used.
            File::options()
                .read(true)
                .write(true)
                .open(self.driver())
                .map_err(Error::system("open the driver of the kernel's binder"))?;
        }
        match rsbinder::serve(self.endpoint.clone()) {
            Ok(_) => {}
            Err(StatusCode::BadValue) => {
                return Err(Error::InvalidAddress {
                    address: self.address(),
                    reason: "this process uses the kernel's binder in another way already".to_owned(),
                });
            }
            Err(status) => return Err(Error::binder("start to use the kernel's binder")(status)),
        }
        // Calls come in, and so does the news of a death.
        ProcessState::start_thread_pool();
        hub::default().map_err(Error::binder(REACH))
    }

    pub(super) fn add(&self, name: Name<'_>, binder: &SIBinder) -> Result<()> {
        let manager = self.manager()?;
        // Service managers replace silently.
        if find(&manager, name)?.is_some() {
            return Err(Error::NameTaken { name: name.as_str().to_owned() });
        }
        manager
            .add_service(name.as_str(), binder.clone())
            .map_err(|status| Error::binder("add a service to the kernel's binder")(status.into()))?;
        let old = lock(&Process::current().kernel).insert(name.as_str().to_owned(), binder.clone());
        drop(old);
        Ok(())
    }

    pub(super) fn remove(&self, name: Name<'_>) -> Result<()> {
        let manager = self.manager()?;
        let process = Process::current();
        let own = lock(&process.kernel).get(name.as_str()).cloned();
        let Some(binder) = own else {
            return Err(Error::NoSuchService { name: name.as_str().to_owned() });
        };
        manager
            .try_unregister_service(name.as_str(), &binder)
            .map_err(Error::binder("remove a service from the kernel's binder"))?;
        let removed = lock(&process.kernel).remove(name.as_str());
        drop(removed);
        Ok(())
    }

    pub(super) fn check(&self, name: Name<'_>) -> Result<Option<SIBinder>> {
        find(&*self.manager()?, name)
    }

    pub(super) fn list(&self) -> Result<Vec<String>> {
        let listed = self.manager()?.try_list_services(DUMP_FLAG_PRIORITY_ALL);
        listed.map_err(|status| Error::binder(REACH)(status.into()))
    }
}
