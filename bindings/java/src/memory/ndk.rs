//! `<android/sharedmem_jni.h>`: the NDK's way from a Java object to its descriptor.
#![allow(unsafe_code, reason = "a function that C calls")]

use std::os::fd::{IntoRawFd, RawFd};

use jni::objects::JObject;
use jni::sys::{JNIEnv, jobject};
use jni::{Env, EnvUnowned, Outcome, jni_sig, jni_str};

use super::shared;
use crate::throw::{Failure, Result};

/// A duplicate of the descriptor of an `android.os.SharedMemory`, closed on exec, which is the caller's to close. -1 if the object is
/// null, of another class, or closed, or there is no free descriptor. Throws nothing.
#[unsafe(no_mangle)]
pub extern "C" fn ASharedMemory_dupFromJava(env: *mut JNIEnv, memory: jobject) -> RawFd {
    if env.is_null() || memory.is_null() {
        return -1;
    }
    // SAFETY: the calling thread's environment, as the caller of C's interface promises. It is used only until this returns.
    let mut env = unsafe { EnvUnowned::from_raw(env) };
    let outcome = env.with_env(|env| -> Result<RawFd> {
        if env.exception_check() {
            // Of the caller's. No other function may be called then.
            return Ok(-1);
        }
        // SAFETY: a reference that is valid until this returns, as the caller promises.
        let memory = unsafe { JObject::from_raw(env, memory) };
        let duplicate = duplicate(env, &memory);
        if duplicate.is_err() {
            env.exception_clear();
        }
        duplicate
    });
    match outcome.into_outcome() {
        Outcome::Ok(number) => number,
        Outcome::Err(_) | Outcome::Panic(_) => -1,
    }
}

fn duplicate(env: &mut Env<'_>, memory: &JObject<'_>) -> Result<RawFd> {
    let Some(class) = shared::class(env)? else { return Ok(-1) };
    if !env.is_instance_of(memory, &class)? {
        return Ok(-1);
    }
    let handle = env.get_field(memory, jni_str!("handle"), jni_sig!("J"))?.j()?;
    let closed = || Failure::illegal_state("closed");
    let memory = shared::get(handle).ok_or_else(closed)?;
    Ok(memory.try_clone_fd().map_err(shared::failed("dup"))?.into_raw_fd())
}
