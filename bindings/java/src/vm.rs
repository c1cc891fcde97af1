//! Threads of Binder that call Java: known to the JVM as daemons, which keep no program from ending.
#![allow(unsafe_code, reason = "jni attaches threads, but not as daemons")]

use std::cell::{Cell, OnceCell};
use std::mem::MaybeUninit;
use std::ptr;

use jni::errors::Error;
use jni::sys::{JNI_OK, JNI_VERSION_1_6, JavaVMAttachArgs};
use jni::{Env, JavaVM};

/// What the JVM calls such a thread.
const NAME: &std::ffi::CStr = c"Binder";

/// Detaches the thread when it ends: one that ends attached would crash the JVM later.
struct Attached(Cell<bool>);

thread_local! {
    static ATTACHED: Attached = const { Attached(Cell::new(false)) };
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let (true, Ok(vm)) = (self.0.get(), JavaVM::singleton()) {
            let raw = vm.get_raw();
            // SAFETY: The JVM gave this pointer, and exists as long as the process.
            let functions = unsafe { *raw };
            // SAFETY: As above, and as long as its functions.
            let functions = unsafe { &*functions };
            // SAFETY: The first version of JNI has it.
            let detach = unsafe { &functions.v1_1 }.DetachCurrentThread;
            // SAFETY: This thread was attached by `attach`, and has no frame of Java left: it is ending.
            unsafe { detach(raw) };
        }
    }
}

/// Does something with Java on this thread, whatever thread it is. Local references live until it returns, and an exception
/// that is thrown is an error, and cleared.
pub(crate) fn with_env<T, E: From<Error>>(work: impl FnOnce(&mut Env<'_>) -> Result<T, E>) -> Result<T, E> {
    let vm = JavaVM::singleton()?;
    attach(&vm)?;
    vm.attach_current_thread(work)
}

/// Makes this thread one that may drop references to Java objects.
pub(crate) fn prepare_to_drop() {
    if let Ok(vm) = JavaVM::singleton() {
        // If this fails the JVM is ending, and its references with it.
        let _ = attach(&vm);
    }
}

/// Whether this is a thread of Binder, not one that Java has made.
pub(crate) fn is_binder_thread() -> bool {
    ATTACHED.try_with(|attached| attached.0.get()).unwrap_or(false)
        || !JavaVM::singleton().and_then(|vm| vm.is_thread_attached()).unwrap_or(true)
}

/// Bytes of stack that Java is entered with at least. With little of it the JVM does not overflow, but crashes.
const ROOM: usize = 256 << 10;

/// Whether this thread has the stack for a call of Java. Callbacks of callbacks come in on one thread, as deep as a peer likes.
pub(crate) fn has_room() -> bool {
    thread_local! {
        static LOWEST: OnceCell<usize> = const { OnceCell::new() };
    }
    let place = 0_u8;
    let here = ptr::from_ref(&place).addr();
    let lowest = LOWEST.try_with(|lowest| *lowest.get_or_init(|| lowest_for_java().unwrap_or(0)));
    lowest.is_ok_and(|lowest| here > lowest)
}

/// The lowest address from which Java may be entered.
fn lowest_for_java() -> Option<usize> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: takes nothing.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: makes the attributes of this thread, which exists.
    let status = unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) };
    if status != 0 {
        return None;
    }
    // SAFETY: made just now.
    let mut attributes: libc::pthread_attr_t = unsafe { attributes.assume_init() };
    let (mut start, mut size) = (ptr::null_mut(), 0);
    // SAFETY: reads attributes that were made, into two places of the right types.
    let status = unsafe { libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut size) };
    // SAFETY: made above, and not used any more.
    unsafe { libc::pthread_attr_destroy(&raw mut attributes) };
    (status == 0).then(|| start.addr() + ROOM.min(size / 2))
}

fn attach(vm: &JavaVM) -> Result<(), Error> {
    // One whose locals are gone already is ending; jni attaches it for a moment.
    if ATTACHED.try_with(|attached| attached.0.get()).unwrap_or(true) || vm.is_thread_attached()? {
        return Ok(());
    }
    let raw = vm.get_raw();
    let mut arguments =
        JavaVMAttachArgs { version: JNI_VERSION_1_6, name: NAME.as_ptr().cast_mut(), group: ptr::null_mut() };
    let mut env = ptr::null_mut();
    // SAFETY: The JVM gave this pointer, and exists as long as the process.
    let functions = unsafe { *raw };
    // SAFETY: As above, and as long as its functions.
    let functions = unsafe { &*functions };
    // SAFETY: Java 1.4 has it; `jni` needs a later version.
    let attach = unsafe { &functions.v1_4 }.AttachCurrentThreadAsDaemon;
    // SAFETY: The arguments are of the version that they name, and are read before this returns; nobody writes the name.
    let status = unsafe { attach(raw, &raw mut env, (&raw mut arguments).cast()) };
    if status != JNI_OK {
        return Err(Error::UninitializedJavaVM);
    }
    ATTACHED.with(|attached| attached.0.set(true));
    Ok(())
}
