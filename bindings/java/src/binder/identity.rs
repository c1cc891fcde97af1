//! `android.os.Binder`: who calls.
#![allow(unsafe_code, reason = "native methods are exported by name")]

use std::cell::Cell;

use ashmem_binder::rsbinder::{get_calling_pid, get_calling_uid};
use jni::objects::JClass;
use jni::sys::{jint, jlong};
use jni::{Env, NativeMethod, native_method};

use crate::throw::{Result, Throw};

const _: NativeMethod = native_method! {
    java_type = "android.os.Binder",
    static extern fn calling_uid() -> jint,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.Binder",
    static extern fn calling_pid() -> jint,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.Binder",
    static extern fn clear_identity() -> jlong,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.Binder",
    static extern fn restore_identity(token: jlong),
    error_policy = Throw,
};

#[derive(Clone, Copy)]
struct Caller {
    uid: u32,
    pid: i32,
}

thread_local! {
    /// Who is said to call, if not who does: over sockets rsbinder does not let that be changed.
    static SAID: Cell<Option<Caller>> = const { Cell::new(None) };
}

/// Serves a call, in which nothing is said yet.
pub(super) fn serve<T>(call: impl FnOnce() -> T) -> T {
    let before = SAID.take();
    let result = call();
    SAID.set(before);
    result
}

fn caller() -> Caller {
    SAID.get().unwrap_or_else(|| Caller { uid: get_calling_uid(), pid: get_calling_pid() })
}

fn calling_uid(_: &mut Env<'_>, _: JClass<'_>) -> Result<jint> {
    Ok(caller().uid as jint)
}

fn calling_pid(_: &mut Env<'_>, _: JClass<'_>) -> Result<jint> {
    Ok(caller().pid)
}

fn clear_identity(_: &mut Env<'_>, _: JClass<'_>) -> Result<jlong> {
    let Caller { uid, pid } = caller();
    SAID.set(Some(Caller {
        uid: rustix::process::getuid().as_raw(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
    }));
    Ok(jlong::from(uid) << 32 | jlong::from(pid as u32))
}

fn restore_identity(_: &mut Env<'_>, _: JClass<'_>, token: jlong) -> Result<()> {
    SAID.set(Some(Caller { uid: (token >> 32) as u32, pid: token as i32 }));
    Ok(())
}
