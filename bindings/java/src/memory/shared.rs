//! `android.os.SharedMemory`.
#![allow(unsafe_code, reason = "native methods are exported by name, and take over descriptors by number")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashmem::{Error, Protection, SharedMemory};
use jni::objects::{JClass, JLongArray, JObject, JString};
use jni::refs::{Reference, Weak};
use jni::sys::{jboolean, jint, jlong};
use jni::{Env, NativeMethod, native_method};

use super::descriptor;
use super::failure::errno;
use crate::handles::Handles;
use crate::throw::{Failure, Result, Throw};

const _: &[NativeMethod] = &[
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_create(name: JString, size: jint) -> jlong,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_adopt(number: jint, size: jlong[]) -> jlong,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_close(handle: jlong),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_set_protect(handle: jlong, prot: jint) -> jboolean,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_fd(handle: jlong) -> jint,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_duplicate(handle: jlong) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.SharedMemory",
        static extern fn native_count() -> jint,
        error_policy = Throw,
    },
];

static MEMORIES: Handles<SharedMemory> = Handles::new();

/// The class of all objects that have a handle. Weak, so that its loader may go when it is not used any more.
fn known_class() -> MutexGuard<'static, Option<Weak<JClass<'static>>>> {
    static CLASS: Mutex<Option<Weak<JClass<'static>>>> = Mutex::new(None);
    CLASS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The class of all objects that have a handle. None as long as there are none.
pub(super) fn class<'local>(env: &mut Env<'local>) -> Result<Option<JClass<'local>>> {
    match &*known_class() {
        Some(class) => Ok(class.upgrade_local(env)?),
        None => Ok(None),
    }
}

/// None when closed.
pub(super) fn get(handle: jlong) -> Option<Arc<SharedMemory>> {
    MEMORIES.get(handle)
}

pub(super) fn open(handle: jlong) -> Result<Arc<SharedMemory>> {
    get(handle).ok_or_else(closed)
}

/// What failed, as long as it was not that somebody else has closed it.
pub(super) fn failed(function: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error {
        Error::Closed { .. } => closed(),
        error => errno(function)(error),
    }
}

fn closed() -> Failure {
    Failure::illegal_state("SharedMemory is closed")
}

/// A name that may be null.
pub(super) fn name(env: &Env<'_>, name: &JString<'_>) -> Result<Option<String>> {
    if name.is_null() { Ok(None) } else { Ok(Some(name.try_to_string(env)?)) }
}

/// Protection bits as Java has them: those of `mmap(2)`.
pub(super) fn protection(prot: jint) -> Protection {
    Protection::from_bits_retain(prot as u32)
}

fn insert(env: &Env<'_>, class: &JClass<'_>, memory: SharedMemory) -> Result<jlong> {
    let mut known = known_class();
    let is_known = match &*known {
        // Another loader may have the library after the first one has gone.
        Some(known) => env.is_same_object(known, class)?,
        None => false,
    };
    if !is_known {
        *known = Some(env.new_weak_ref(class)?);
    }
    drop(known);
    Ok(MEMORIES.insert(Arc::new(memory)))
}

fn native_create<'local>(
    env: &mut Env<'local>,
    class: JClass<'local>,
    label: JString<'local>,
    size: jint,
) -> Result<jlong> {
    let label = name(env, &label)?;
    let size = u64::try_from(size).unwrap_or(0);
    let memory = SharedMemory::create(label.as_deref(), size).map_err(errno("SharedMemory_create"))?;
    insert(env, &class, memory)
}

fn native_adopt<'local>(
    env: &mut Env<'local>,
    class: JClass<'local>,
    number: jint,
    size: JLongArray<'local>,
) -> Result<jlong> {
    // SAFETY: Java has detached it from its object, so nobody else has it. It is not -1.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    let not_valid = |error: Error| {
        Failure::illegal_argument(format!("FileDescriptor is not valid shared memory: {error}"))
    };
    let memory = SharedMemory::from_fd(descriptor).map_err(not_valid)?;
    let bytes = memory.size().map_err(not_valid)?;
    let Ok(int) = jint::try_from(bytes) else {
        return Err(Failure::illegal_argument(format!("SharedMemory of {bytes} bytes: more than 2 GiB")));
    };
    size.set_region(env, 0, &[int.into()])?;
    insert(env, &class, memory)
}

fn native_close<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(memory) = MEMORIES.remove(handle) {
        memory.close();
    }
    Ok(())
}

fn native_set_protect<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    prot: jint,
) -> Result<jboolean> {
    open(handle)?.set_protect(protection(prot)).map_err(failed("setProtect"))
}

fn native_fd<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    Ok(get(handle).and_then(|memory| memory.fd()).unwrap_or(-1))
}

fn native_duplicate<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JObject<'local>> {
    let descriptor = open(handle)?.try_clone_fd().map_err(failed("dup"))?;
    descriptor::to_java(env, descriptor)
}

fn native_count<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<jint> {
    Ok(MEMORIES.count() as jint)
}
