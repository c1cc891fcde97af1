//! `java.io.FileDescriptor`: its number, through its private field, and `android.os.Descriptors`.
#![allow(unsafe_code, reason = "native methods are exported by name, and borrow descriptors by number")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use ashmem::{Error, Region};
use jni::objects::{JClass, JFieldID, JObject, JObjectArray, JStaticMethodID, JString, JValue};
use jni::refs::Global;
use jni::signature::{JavaType, Primitive, ReturnType};
use jni::sys::{jint, jlong};
use jni::{Env, NativeMethod, jni_sig, jni_str, native_method};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::failure;
use crate::throw::{Failure, Result, Throw};

const _: &[NativeMethod] = &[
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_duplicate(descriptor: java.io.FileDescriptor) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_duplicate_number(number: jint) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_adopt(number: jint) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_detach(descriptor: java.io.FileDescriptor) -> jint,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_number(descriptor: java.io.FileDescriptor) -> jint,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_open(path: JString, flags: jint, mode: jint) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_pipe(ends: java.io.FileDescriptor[]),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_size(descriptor: java.io.FileDescriptor) -> jlong,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Descriptors",
        static extern fn native_region_size(descriptor: java.io.FileDescriptor) -> jlong,
        error_policy = Throw,
    },
];

/// What a closed one has as its number.
const CLOSED: RawFd = -1;

/// What the JDK has of descriptors. It closes the number of those that are registered with it when their objects are gone, unless
/// they were closed before.
struct Known {
    class: Global<JClass<'static>>,
    number: JFieldID,
    cleanable: Global<JClass<'static>>,
    register: JStaticMethodID,
    unregister: JStaticMethodID,
}

fn known(env: &mut Env<'_>) -> Result<&'static Known> {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let class = env.find_class(jni_str!("java/io/FileDescriptor"))?;
    let cleanable = env.find_class(jni_str!("java/io/FileCleanable"))?;
    let signature = jni_sig!("(Ljava/io/FileDescriptor;)V");
    let known = Known {
        number: env.get_field_id(&class, jni_str!("fd"), jni_sig!("I"))?,
        register: env.get_static_method_id(&cleanable, jni_str!("register"), &signature)?,
        unregister: env.get_static_method_id(&cleanable, jni_str!("unregister"), &signature)?,
        class: env.new_global_ref(class)?,
        cleanable: env.new_global_ref(cleanable)?,
    };
    Ok(KNOWN.get_or_init(|| known))
}

/// A Java object that owns a descriptor.
pub(crate) fn to_java<'local>(env: &mut Env<'local>, descriptor: OwnedFd) -> Result<JObject<'local>> {
    let known = known(env)?;
    let object = env.new_object(&*known.class, jni_sig!("()V"), &[])?;
    set_number(env, known, &object, descriptor.as_raw_fd())?;
    call(env, known, known.register, &object)?;
    // It is the object's from here on.
    let _ = descriptor.into_raw_fd();
    Ok(object)
}

/// A duplicate of the descriptor that a Java object has. The caller has the object's lock, or knows that nobody closes it.
///
/// # Errors
/// EBADF if it is closed.
pub(crate) fn duplicate(env: &mut Env<'_>, object: &JObject<'_>) -> Result<OwnedFd> {
    let number = number(env, object)?;
    duplicate_number(number)
}

fn duplicate_number(number: RawFd) -> Result<OwnedFd> {
    borrow(number)
        .and_then(|descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 0))
        .map_err(failed("dup"))
}

fn number(env: &mut Env<'_>, object: &JObject<'_>) -> Result<RawFd> {
    let known = known(env)?;
    // SAFETY: the callers' parameters are declared as FileDescriptor, and null is refused; the field is an int.
    let number =
        unsafe { env.get_field_unchecked(object, known.number, JavaType::Primitive(Primitive::Int)) };
    Ok(number?.i()?)
}

fn set_number(env: &mut Env<'_>, known: &Known, object: &JObject<'_>, number: RawFd) -> Result<()> {
    // SAFETY: a FileDescriptor, not null, whose field is an int.
    Ok(unsafe { env.set_field_unchecked(object, known.number, JValue::Int(number)) }?)
}

/// Calls a method of the JDK's `FileCleanable`.
fn call(env: &mut Env<'_>, known: &Known, method: JStaticMethodID, object: &JObject<'_>) -> Result<()> {
    let arguments = [JValue::Object(object).as_jni()];
    let void = ReturnType::Primitive(Primitive::Void);
    // SAFETY: a method of this class, which takes a FileDescriptor and returns nothing.
    unsafe { env.call_static_method_unchecked(&*known.cleanable, method, void, &arguments) }?;
    Ok(())
}

/// For one system call. Numbers may name nothing: then it says EBADF.
fn borrow<'a>(number: RawFd) -> Result<BorrowedFd<'a>, Errno> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not -1. Nothing but system calls looks at it, and these refuse what is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

fn failed(function: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Errno { function, errno: errno.raw_os_error() }
}

fn native_duplicate<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
) -> Result<JObject<'local>> {
    let duplicate = duplicate(env, &descriptor)?;
    to_java(env, duplicate)
}

fn native_duplicate_number<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    number: jint,
) -> Result<JObject<'local>> {
    to_java(env, duplicate_number(number)?)
}

fn native_adopt<'local>(env: &mut Env<'local>, _: JClass<'local>, number: jint) -> Result<JObject<'local>> {
    borrow(number).and_then(rustix::io::fcntl_getfd).map_err(failed("fcntl"))?;
    // SAFETY: it is open, and the caller hands it over.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    to_java(env, descriptor)
}

fn native_detach<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
) -> Result<jint> {
    let number = number(env, &descriptor)?;
    let known = known(env)?;
    call(env, known, known.unregister, &descriptor)?;
    set_number(env, known, &descriptor, CLOSED)?;
    Ok(number)
}

fn native_number<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
) -> Result<jint> {
    number(env, &descriptor)
}

fn native_open<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    path: JString<'local>,
    flags: jint,
    mode: jint,
) -> Result<JObject<'local>> {
    let path = path.try_to_string(env)?;
    let flags = OFlags::from_bits_retain(flags as u32) | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode as u32);
    let descriptor = rustix::fs::open(path.as_str(), flags, mode).map_err(failed("open"))?;
    to_java(env, descriptor)
}

fn native_pipe<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    ends: JObjectArray<'local, JObject<'local>>,
) -> Result<()> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2"))?;
    for (index, end) in [reader, writer].into_iter().enumerate() {
        let end = to_java(env, end)?;
        ends.set_element(env, index, end)?;
    }
    Ok(())
}

fn native_size<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
) -> Result<jlong> {
    let size = region_size(env, &descriptor)?;
    if size >= 0 {
        return Ok(size);
    }
    let number = number(env, &descriptor)?;
    let status = borrow(number).and_then(rustix::fs::fstat).map_err(failed("fstat"))?;
    let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    Ok(if is_file { status.st_size } else { -1 })
}

fn native_region_size<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
) -> Result<jlong> {
    region_size(env, &descriptor)
}

fn region_size(env: &mut Env<'_>, descriptor: &JObject<'_>) -> Result<jlong> {
    let number = number(env, descriptor)?;
    let descriptor = borrow(number).map_err(failed("fstat"))?;
    match Region::probe(descriptor) {
        Ok(size) => Ok(jlong::try_from(size).unwrap_or(jlong::MAX)),
        Err(Error::NotARegion { .. } | Error::InvalidSize { .. }) => Ok(-1),
        Err(error) => Err(failure::errno("fstat")(error)),
    }
}
