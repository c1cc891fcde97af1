//! Java's `Binder` as others call it.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::ManuallyDrop;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ashmem_binder::rsbinder::observe::{TransactionObserver, TxnContext, set_observer};
use ashmem_binder::rsbinder::{
    self, DEBUG_PID_TRANSACTION, DeathRecipient, EXTENSION_TRANSACTION, IBinder, Parcel, SIBinder,
    StatusCode, Transactable, TransactionCode, WIBinder,
};
use jni::Env;
use jni::errors::Error;
use jni::objects::JObject;
use jni::refs::Global;
use jni::sys::jlong;

use super::java::{Classes, classes};
use super::{identity, parcel, received};
use crate::throw::{Failure, Result};
use crate::vm;

/// Keeps the Java object, and calls it.
pub(super) struct JavaBinder {
    id: jlong,
    descriptor: String,
    object: Global<JObject<'static>>,
}

/// Those that somebody has, by the number of their object.
static LEFT: LazyLock<Mutex<HashMap<jlong, Weak<JavaBinder>>>> = LazyLock::new(Mutex::default);

fn left() -> MutexGuard<'static, HashMap<jlong, Weak<JavaBinder>>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The binder of a Java object, the same for all that hold it at the same time.
pub(super) fn of(env: &mut Env<'_>, classes: &Classes, id: jlong, object: &JObject<'_>) -> Result<SIBinder> {
    let known = left().get(&id).and_then(Weak::upgrade);
    let binder = match known {
        Some(binder) => binder,
        None => {
            let descriptor = classes.interface_of(env, object)?;
            let new = Arc::new(JavaBinder { id, descriptor, object: env.new_global_ref(object)? });
            let mut left = left();
            // Another thread may have been faster.
            match left.get(&id).and_then(Weak::upgrade) {
                Some(binder) => {
                    drop(left);
                    binder
                }
                None => {
                    left.insert(id, Arc::downgrade(&new));
                    new
                }
            }
        }
    };
    SIBinder::new(binder)
        .map_err(|status| Failure::illegal_state(format!("a binder cannot be held: {status}")))
}

/// The Java object of a binder, if it is of this process.
pub(super) fn java_object<'local>(
    env: &mut Env<'local>,
    binder: &SIBinder,
) -> Result<Option<JObject<'local>>> {
    match binder.as_any().downcast_ref::<JavaBinder>() {
        Some(binder) => Ok(Some(env.new_local_ref(&binder.object)?)),
        None => Ok(None),
    }
}

/// How many Java objects others hold.
pub(super) fn count() -> usize {
    left().len()
}

impl Drop for JavaBinder {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = left().entry(self.id) {
            // Not if there is a new one by now.
            if entry.get().strong_count() == 0 {
                entry.remove();
            }
        }
        vm::prepare_to_drop();
    }
}

impl JavaBinder {
    fn call(
        &self,
        code: TransactionCode,
        request: Parcel,
        reply: &mut Parcel,
        is_oneway: bool,
    ) -> rsbinder::Result<()> {
        if !vm::has_room() {
            log::error!("a call of {} was refused: this thread has no stack for it", self.descriptor);
            return Err(StatusCode::NoMemory);
        }
        let mut request = request;
        let bytes = parcel::bytes(&mut request)?;
        // Of an object without an interface rsbinder wants an empty token, which Java did not write.
        let hidden = if self.descriptor.is_empty() { parcel::NO_TOKEN.min(bytes.len()) } else { 0 };
        // Ends before the reply leaves, and with it what nobody has read.
        let received = received::Received::new(request, hidden);
        let outgoing = vm::with_env(|env| -> Result<_> {
            let bytes = &bytes[hidden..];
            let outgoing = classes(env)?.execute(
                env,
                &self.object,
                code,
                bytes,
                received.handle(),
                is_oneway,
                hidden == 0,
            );
            if matches!(outgoing, Err(Failure::Jni(Error::JavaException))) {
                // Java has logged it. Nobody wants its stack as a text.
                env.exception_clear();
            }
            outgoing
        });
        drop(received);
        match outgoing {
            Ok(Some(_)) if is_oneway => Ok(()),
            Ok(Some(outgoing)) => outgoing.write(reply),
            Ok(None) => Err(StatusCode::UnknownTransaction),
            Err(Failure::Jni(Error::JavaException)) => Err(StatusCode::Unknown),
            Err(failure) => {
                log::error!("a call of {} failed: {failure}", self.descriptor);
                Err(StatusCode::Unknown)
            }
        }
    }
}

impl IBinder for JavaBinder {
    fn link_to_death(&self, _: Weak<dyn DeathRecipient>) -> rsbinder::Result<()> {
        Err(StatusCode::InvalidOperation)
    }

    fn unlink_to_death(&self, _: Weak<dyn DeathRecipient>) -> rsbinder::Result<()> {
        Err(StatusCode::InvalidOperation)
    }

    fn ping_binder(&self) -> rsbinder::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_transactable(&self) -> Option<&dyn Transactable> {
        None
    }

    fn descriptor(&self) -> &str {
        &self.descriptor
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn rpc_transact(
        &self,
        code: TransactionCode,
        reader: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            DEBUG_PID_TRANSACTION => reply.write_u32(std::process::id()),
            EXTENSION_TRANSACTION => reply.write(&None::<SIBinder>),
            _ => {
                let is_oneway = IS_ONEWAY.take();
                identity::serve(|| self.call(code, std::mem::take(reader), reply, is_oneway))
            }
        }
    }

    // Counted by whoever holds it.

    fn inc_strong(&self, _: &SIBinder) -> rsbinder::Result<()> {
        Ok(())
    }

    fn attempt_inc_strong(&self) -> bool {
        true
    }

    fn dec_strong(&self, strong: Option<ManuallyDrop<SIBinder>>) -> rsbinder::Result<()> {
        drop(strong.map(ManuallyDrop::into_inner));
        Ok(())
    }

    fn inc_weak(&self, _: &WIBinder) -> rsbinder::Result<()> {
        Ok(())
    }

    fn dec_weak(&self) -> rsbinder::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Whether the call that is about to come in on this thread is one whose caller does not wait.
    static IS_ONEWAY: Cell<bool> = const { Cell::new(false) };
}

/// Notes what rsbinder tells only those who observe calls.
struct Observer;

impl TransactionObserver for Observer {
    fn on_transact(&self, context: &TxnContext<'_>) -> Option<Box<dyn Any + Send>> {
        IS_ONEWAY.set(context.is_oneway);
        None
    }

    fn on_reply(
        &self,
        _: &TxnContext<'_>,
        _: Option<Box<dyn Any + Send>>,
        _: &rsbinder::Result<()>,
        _: Duration,
    ) {
    }
}

/// Begins to observe calls.
pub(super) fn observe() {
    set_observer(Some(Arc::new(Observer)));
}
