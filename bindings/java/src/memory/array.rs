//! Copies between Java's arrays and memory that peers may write.
#![allow(unsafe_code, reason = "calls functions of JNI that the jni crate has only for slices")]

use std::ffi::c_void;
use std::ptr;

use jni::Env;
use jni::objects::JByteArray;
use jni::sys::{JNI_ABORT, JNI_OK, JNIEnv, JNINativeInterface__1_2, jbyte, jint, jsize};

/// Bytes that the virtual machine copies itself.
const SMALL: jsize = 2048;

/// A part of an array.
///
/// No Rust slice exists of it, nor of the file: other threads may write the array, and peers the file. Small parts are copied by the
/// virtual machine; large ones while it holds the array in place, and with it the collector: so pins are waited for before.
pub(super) struct Part<'a, 'local> {
    array: &'a JByteArray<'local>,
    start: jsize,
    count: jsize,
}

impl<'a, 'local> Part<'a, 'local> {
    /// None if it is outside of an array of this size.
    pub(super) fn new(
        array: &'a JByteArray<'local>,
        size: usize,
        start: jint,
        count: jint,
    ) -> Option<Part<'a, 'local>> {
        let (first, len) = (usize::try_from(start).ok()?, usize::try_from(count).ok()?);
        (len <= size && first <= size - len).then_some(Part { array, start, count })
    }

    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// # Safety
    /// As many bytes can be read there.
    pub(super) unsafe fn fill(&self, env: &Env<'_>, from: *const u8) {
        if self.count > SMALL {
            if let Some(held) = Held::new(env, self.array, JNI_OK) {
                let to = held.start.wrapping_add(self.start as usize);
                // SAFETY: the part was checked, and the array stays; the caller vouches for the memory.
                return unsafe { ashmem::copy_bytes(from, to, self.len()) };
            }
        }
        let set = functions(env).SetByteArrayRegion;
        // SAFETY: an array of bytes, whose part was checked; the caller vouches for the memory. No exception is pending.
        unsafe { set(env.get_raw(), self.array.as_raw(), self.start, self.count, from.cast::<jbyte>()) };
    }

    /// # Safety
    /// As many bytes can be written there.
    pub(super) unsafe fn copy(&self, env: &Env<'_>, to: *mut u8) {
        if self.count > SMALL {
            if let Some(held) = Held::new(env, self.array, JNI_ABORT) {
                let from = held.start.wrapping_add(self.start as usize);
                // SAFETY: the part was checked, and the array stays; the caller vouches for the memory.
                return unsafe { ashmem::copy_bytes(from, to, self.len()) };
            }
        }
        let get = functions(env).GetByteArrayRegion;
        // SAFETY: an array of bytes, whose part was checked; the caller vouches for the memory. No exception is pending.
        unsafe { get(env.get_raw(), self.array.as_raw(), self.start, self.count, to.cast::<jbyte>()) };
    }
}

/// An array that the virtual machine holds in place. Nothing may block, and no other function of JNI be called, until it is dropped.
struct Held<'a> {
    env: *mut JNIEnv,
    functions: &'a JNINativeInterface__1_2,
    array: &'a JByteArray<'a>,
    start: *mut u8,
    mode: jint,
}

impl<'a> Held<'a> {
    /// The mode says what becomes of a copy, if the virtual machine has made one. None if it cannot.
    fn new(env: &'a Env<'_>, array: &'a JByteArray<'_>, mode: jint) -> Option<Held<'a>> {
        let (functions, env) = (functions(env), env.get_raw());
        // SAFETY: the thread's environment, and an array that is not null. No exception is pending.
        let start = unsafe { (functions.GetPrimitiveArrayCritical)(env, array.as_raw(), ptr::null_mut()) };
        (!start.is_null()).then(|| Held { env, functions, array, start: start.cast(), mode })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let start = self.start.cast::<c_void>();
        // SAFETY: what the virtual machine gave for this array.
        unsafe {
            (self.functions.ReleasePrimitiveArrayCritical)(self.env, self.array.as_raw(), start, self.mode)
        };
    }
}

/// JNI's own functions.
fn functions<'a>(env: &'a Env<'_>) -> &'a JNINativeInterface__1_2 {
    // SAFETY: the thread's environment points to the functions' table.
    let table = unsafe { *env.get_raw() };
    // SAFETY: which stays as long as the virtual machine.
    let table = unsafe { &*table };
    // SAFETY: later versions begin with the functions of earlier ones.
    unsafe { &table.v1_2 }
}
