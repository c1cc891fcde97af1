//! `android.os.BinderProxy`: objects of other processes, and their death.
#![allow(unsafe_code, reason = "native methods are exported by name")]

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    DeathRecipient, FLAG_ONEWAY, IBinder, RemoteProxy, SIBinder, StatusCode, WIBinder,
};
use ashmem_binder::{Error, interface_of};
use jni::objects::{JByteArray, JClass, JIntArray, JLongArray, JObject, JObjectArray, JString};
use jni::sys::{jboolean, jint, jlong};
use jni::{Env, NativeMethod, native_method};

use super::java::classes;
use super::{object, parcel, received, status};
use crate::handles::Handles;
use crate::throw::{Failure, Result, Throw};
use crate::vm;

const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn transact(
        handle: jlong, code: jint, bytes: jbyte[], size: jint, places: jlong[], objects: JObject[],
        has_token: jboolean, reply: android.os.Parcel, flags: jint
    ) -> jboolean,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn describe(handle: jlong) -> JString,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn ping(handle: jlong) -> jboolean,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn is_alive(handle: jlong) -> jboolean,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn release(handle: jlong),
    error_policy = Throw,
};

const _: NativeMethod = native_method! {
    java_type = "android.os.BinderProxy",
    static extern fn counts() -> jint[],
    error_policy = Throw,
};

/// What a proxy of Java holds.
pub(super) struct Remote {
    binder: SIBinder,
    is_dead: AtomicBool,
    /// Set before anybody else sees the proxy.
    java: OnceLock<jni::refs::Weak<JObject<'static>>>,
    /// Held as long as it may be told.
    obituary: OnceLock<Arc<Obituary>>,
}

static REMOTES: Handles<Remote> = Handles::new();
/// The handle of each binder's youngest proxy, by the binder's address, which stays as long as it is held.
static PROXIES: LazyLock<Mutex<HashMap<usize, jlong>>> = LazyLock::new(Mutex::default);

fn proxies() -> MutexGuard<'static, HashMap<usize, jlong>> {
    PROXIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a proxy holds.
pub(super) fn remote(handle: jlong) -> Result<Arc<Remote>> {
    REMOTES.get(handle).ok_or_else(|| Failure::illegal_state("the proxy was released"))
}

/// The Java object of a binder: its own, if it is of this process, else its proxy.
pub(super) fn to_java<'local>(env: &mut Env<'local>, binder: SIBinder) -> Result<JObject<'local>> {
    if let Some(own) = object::java_object(env, &binder)? {
        return Ok(own);
    }
    let address = address(&binder);
    let known = proxies().get(&address).copied();
    if let Some(proxy) = proxy(env, known)? {
        return Ok(proxy);
    }
    let classes = classes(env)?;
    let remote = Remote::new(binder);
    let handle = REMOTES.insert(remote.clone());
    // From now on its cleaner releases the handle.
    let new = classes.new_proxy(env, handle).inspect_err(|_| drop(REMOTES.remove(handle)))?;
    let weak = env.new_weak_ref(&new)?;
    drop(remote.java.set(weak));
    let mut proxies = proxies();
    // Another thread may have been faster.
    let known = proxies.get(&address).copied();
    if let Some(proxy) = proxy(env, known)? {
        return Ok(proxy);
    }
    proxies.insert(address, handle);
    Ok(new)
}

fn address(binder: &SIBinder) -> usize {
    ptr::from_ref::<dyn IBinder>(&**binder).addr()
}

/// The proxy of a handle, if it was not collected.
fn proxy<'local>(env: &mut Env<'local>, handle: Option<jlong>) -> Result<Option<JObject<'local>>> {
    let Some(remote) = handle.and_then(|handle| REMOTES.get(handle)) else { return Ok(None) };
    match remote.java.get() {
        Some(weak) => Ok(weak.upgrade_local(env)?),
        None => Ok(None),
    }
}

impl Remote {
    fn new(binder: SIBinder) -> Arc<Remote> {
        let is_dead = AtomicBool::new(false);
        let remote = Arc::new(Remote { binder, is_dead, java: OnceLock::new(), obituary: OnceLock::new() });
        let obituary = Arc::new(Obituary(Arc::downgrade(&remote)));
        let linked = remote.binder.link_to_death_arc(&obituary);
        drop(remote.obituary.set(obituary));
        if linked == Err(StatusCode::DeadObject) {
            remote.is_dead.store(true, Ordering::SeqCst);
        }
        remote
    }

    pub(super) fn binder(&self) -> &SIBinder {
        &self.binder
    }

    fn rpc(&self) -> Result<&RpcProxy> {
        let other = || status::unsupported("the object is neither of Java nor of another process");
        self.binder.as_any().downcast_ref::<RpcProxy>().ok_or_else(other)
    }

    /// Tells Java that the process has ended.
    fn tell(&self) {
        let Some(weak) = self.java.get() else { return };
        let told = vm::with_env(|env| -> Result<()> {
            match weak.upgrade_local(env)? {
                Some(proxy) => classes(env)?.died(env, &proxy),
                None => Ok(()),
            }
        });
        if let Err(failure) = told {
            log::error!("a recipient of death cannot be told: {failure}");
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(obituary) = self.obituary.get() {
            // It has been told, if this fails.
            let _ = self.binder.unlink_to_death_arc(obituary);
        }
        vm::prepare_to_drop();
    }
}

struct Obituary(Weak<Remote>);

impl DeathRecipient for Obituary {
    fn binder_died(&self, _: &WIBinder) {
        let Some(remote) = self.0.upgrade() else { return };
        remote.is_dead.store(true, Ordering::SeqCst);
        if vm::is_binder_thread() {
            remote.tell();
        } else if let Err(error) = std::thread::Builder::new().spawn(move || remote.tell()) {
            // A thread of Java found out, by a call that failed. What it holds is its own matter, so it is not the one to tell.
            log::error!("a recipient of death cannot be told: {error}");
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the fields of a parcel, as they are in Java")]
fn transact<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    code: jint,
    bytes: JByteArray<'local>,
    size: jint,
    places: JLongArray<'local>,
    objects: JObjectArray<'local>,
    has_token: jboolean,
    reply: JObject<'local>,
    flags: jint,
) -> Result<jboolean> {
    let remote = remote(handle)?;
    let proxy = remote.rpc()?;
    let classes = classes(env)?;
    let size_in_bytes = usize::try_from(size).unwrap_or(0);
    if size_in_bytes > parcel::MAX_SIZE {
        return Err(status::too_large(size_in_bytes));
    }
    let failed = |status| status::failure(status, &format!("transaction {code:#x}"), size_in_bytes);
    let outgoing = classes.outgoing_parts(env, &bytes, size, &places, &objects)?;
    // What has no token can go to an object without an interface.
    let request = if has_token { proxy.prepare_transact(false) } else { proxy.build_request("") };
    let mut request = request.map_err(failed)?;
    outgoing.write(&mut request).map_err(failed)?;
    let answer = proxy.transact(code as u32, &request, flags as u32 & FLAG_ONEWAY);
    drop(request);
    match answer {
        Ok(Some(mut answer)) => {
            if !reply.is_null() {
                let bytes = parcel::bytes(&mut answer).map_err(failed)?;
                classes.receive(env, &reply, &bytes, received::keep(answer))?;
            }
            Ok(true)
        }
        Ok(None) => Ok(true),
        Err(StatusCode::UnknownTransaction) => Ok(false),
        Err(status) => Err(failed(status)),
    }
}

fn describe<'local>(env: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<JString<'local>> {
    let remote = remote(handle)?;
    match interface_of(&remote.binder) {
        Ok(descriptor) => Ok(env.new_string(descriptor)?),
        Err(Error::Binder { operation, status }) => Err(status::failure(status, operation, 0)),
        Err(error) => Err(status::unchecked(&error)),
    }
}

fn ping(_: &mut Env<'_>, _: JClass<'_>, handle: jlong) -> Result<jboolean> {
    Ok(remote(handle)?.binder.ping_binder().is_ok())
}

fn is_alive(_: &mut Env<'_>, _: JClass<'_>, handle: jlong) -> Result<jboolean> {
    Ok(!remote(handle)?.is_dead.load(Ordering::SeqCst))
}

fn release(_: &mut Env<'_>, _: JClass<'_>, handle: jlong) -> Result<()> {
    let Some(remote) = REMOTES.remove(handle) else { return Ok(()) };
    let address = address(&remote.binder);
    let mut proxies = proxies();
    if proxies.get(&address) == Some(&handle) {
        proxies.remove(&address);
    }
    drop(proxies);
    Ok(())
}

/// How many proxies, objects that others hold, and received parcels there are.
fn counts<'local>(env: &mut Env<'local>, _: JClass<'local>) -> Result<JIntArray<'local>> {
    let counts = [REMOTES.count(), object::count(), received::count()].map(|count| count as jint);
    let array = env.new_int_array(counts.len())?;
    array.set_region(env, 0, &counts)?;
    Ok(array)
}
