//! `android.os.ReceivedParcel`: the objects of parcels that came from others, until Java reads them.
#![allow(unsafe_code, reason = "native methods are exported by name")]

use std::sync::{Arc, Mutex, PoisonError};

use ashmem_binder::rsbinder::{self, Parcel, SIBinder, StatusCode};
use jni::objects::{JClass, JIntArray, JObject};
use jni::sys::{jint, jlong};
use jni::{Env, NativeMethod, jni_str, native_method};

use super::{descriptor, proxy};
use crate::handles::Handles;
use crate::memory::descriptor::to_java;
use crate::throw::{Failure, Result, Throw};

static RECEIVED: Handles<Kept> = Handles::new();

/// A parcel, and what Java does not see of it.
struct Kept {
    /// Taken out when it is released, whoever is reading.
    parcel: Mutex<Option<Parcel>>,
    /// Bytes in front of Java's position 0.
    hidden: usize,
}

const _: NativeMethod = native_method! {
    java_type = "android.os.ReceivedParcel",
    static extern fn read_strong_binder(handle: jlong, position: jint, end_position: jint[]) -> android.os.IBinder,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ReceivedParcel",
    static extern fn read_file_descriptor(handle: jlong, position: jint, end_position: jint[]) -> java.io.FileDescriptor,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ReceivedParcel",
    static extern fn release(handle: jlong),
    error_policy = Throw,
};

/// A parcel that Java may read until this is dropped.
pub(super) struct Received(jlong);

impl Received {
    /// Without some bytes at its beginning.
    pub(super) fn new(parcel: Parcel, hidden: usize) -> Received {
        Received(RECEIVED.insert(Arc::new(Kept { parcel: Mutex::new(Some(parcel)), hidden })))
    }

    pub(super) fn handle(&self) -> jlong {
        self.0
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        end(self.0);
    }
}

/// Keeps a parcel until Java releases it.
pub(super) fn keep(parcel: Parcel) -> jlong {
    RECEIVED.insert(Arc::new(Kept { parcel: Mutex::new(Some(parcel)), hidden: 0 }))
}

/// How many are kept.
pub(super) fn count() -> usize {
    RECEIVED.count()
}

pub(super) fn end(handle: jlong) {
    if let Some(received) = RECEIVED.remove(handle) {
        let parcel = received.parcel.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Outside of the lock: this tells the peer what is held no longer.
        drop(parcel);
    }
}

/// Reads an object at a position.
fn read<T>(
    env: &Env<'_>,
    handle: jlong,
    position: jint,
    end_position: &JIntArray<'_>,
    read: impl FnOnce(&mut Parcel, usize) -> rsbinder::Result<T>,
) -> Result<T> {
    let released =
        || Failure::illegal_state("the call that the parcel came with has ended, or the parcel was recycled");
    let kept = RECEIVED.get(handle).ok_or_else(released)?;
    let mut received = kept.parcel.lock().unwrap_or_else(PoisonError::into_inner);
    let parcel = received.as_mut().ok_or_else(released)?;
    let bad = |what: String| Failure::new(jni_str!("android/os/BadParcelableException"), what);
    let at = usize::try_from(position).map_err(|_| bad(format!("position {position}")))? + kept.hidden;
    let object = read(parcel, at).map_err(|status| {
        bad(match status {
            StatusCode::PermissionDenied => format!("the descriptor at {position} is between other objects"),
            _ => format!("there is no such object at {position}: {status}"),
        })
    })?;
    let end = parcel.data_position().saturating_sub(kept.hidden) as jint;
    drop(received);
    end_position.set_region(env, 0, &[end])?;
    Ok(object)
}

fn read_strong_binder<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    position: jint,
    end_position: JIntArray<'local>,
) -> Result<JObject<'local>> {
    let binder = read(env, handle, position, &end_position, |parcel, at| {
        parcel.set_data_position(at);
        parcel.read::<Option<SIBinder>>()
    })?;
    match binder {
        Some(binder) => proxy::to_java(env, binder),
        None => Ok(JObject::null()),
    }
}

fn read_file_descriptor<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    position: jint,
    end_position: JIntArray<'local>,
) -> Result<JObject<'local>> {
    let read = read(env, handle, position, &end_position, descriptor::read)?;
    to_java(env, read)
}

fn release(_: &mut Env<'_>, _: JClass<'_>, handle: jlong) -> Result<()> {
    end(handle);
    Ok(())
}
