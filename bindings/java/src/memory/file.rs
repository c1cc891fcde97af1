//! `android.os.MemoryFile`.
#![allow(unsafe_code, reason = "native methods are exported by name, and copy to and from arrays")]

use std::sync::Arc;

use ashmem::{Error, MemoryFile};
use jni::objects::{JByteArray, JClass, JObject, JString};
use jni::sys::{jboolean, jint, jlong};
use jni::{Env, NativeMethod, jni_str, native_method};

use super::array::Part;
use super::descriptor;
use super::failure::{of_descriptor, of_memory_file};
use crate::handles::Handles;
use crate::throw::{Failure, Result, Throw};

const _: &[NativeMethod] = &[
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_create(name: JString, length: jint) -> jlong,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_open(descriptor: java.io.FileDescriptor, length: jint) -> jlong,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_close(handle: jlong),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_deactivate(handle: jlong),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_is_deactivated(handle: jlong) -> jboolean,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_allow_purging(handle: jlong, allow: jboolean) -> jboolean,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_is_purging_allowed(handle: jlong) -> jboolean,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_read(handle: jlong, buffer: jbyte[], src_offset: jint, dest_offset: jint, count: jint),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_write(handle: jlong, buffer: jbyte[], src_offset: jint, dest_offset: jint, count: jint),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_duplicate(handle: jlong) -> java.io.FileDescriptor,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.MemoryFile",
        static extern fn native_count() -> jint,
        error_policy = Throw,
    },
];

static FILES: Handles<MemoryFile> = Handles::new();

/// What was closed is deactivated, too, as its contents are concerned.
const CLOSED: Error = Error::Deactivated { operation: "use memory file" };

fn open(handle: jlong) -> Result<Arc<MemoryFile>> {
    FILES.get(handle).ok_or_else(|| of_memory_file(CLOSED))
}

fn native_create<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    name: JString<'local>,
    length: jint,
) -> Result<jlong> {
    let name = super::shared::name(env, &name)?;
    let file = MemoryFile::create(name.as_deref(), bytes(length)).map_err(of_descriptor("memfd_create"))?;
    Ok(FILES.insert(Arc::new(file)))
}

fn native_open<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    descriptor: JObject<'local>,
    length: jint,
) -> Result<jlong> {
    let descriptor = descriptor::duplicate(env, &descriptor)?;
    let file = MemoryFile::from_fd_read_only(descriptor, bytes(length)).map_err(of_descriptor("dup"))?;
    Ok(FILES.insert(Arc::new(file)))
}

fn native_close<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(file) = FILES.remove(handle) {
        file.close();
    }
    Ok(())
}

fn native_deactivate<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(file) = FILES.get(handle) {
        file.deactivate();
    }
    Ok(())
}

fn native_is_deactivated<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jboolean> {
    Ok(FILES.get(handle).is_none_or(|file| file.is_deactivated()))
}

fn native_allow_purging<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    allow: jboolean,
) -> Result<jboolean> {
    open(handle)?.allow_purging(allow).map_err(of_descriptor("allowPurging"))
}

fn native_is_purging_allowed<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(FILES.get(handle).is_some_and(|file| file.is_purging_allowed()))
}

fn native_read<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    buffer: JByteArray<'local>,
    src_offset: jint,
    dest_offset: jint,
    count: jint,
) -> Result<()> {
    let file = open(handle)?;
    let part = part(env, &buffer, dest_offset, count, &file)?;
    // SAFETY: nothing but the copy happens in the closure, while the file's bytes are readable there.
    let read = file.read_with(bytes(src_offset), part.len(), |from| unsafe { part.fill(env, from) });
    read.map_err(of_memory_file)
}

fn native_write<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    buffer: JByteArray<'local>,
    src_offset: jint,
    dest_offset: jint,
    count: jint,
) -> Result<()> {
    let file = open(handle)?;
    let part = part(env, &buffer, src_offset, count, &file)?;
    // SAFETY: nothing but the copy happens in the closure, while the file's bytes are writable there.
    let written = file.write_with(bytes(dest_offset), part.len(), |to| unsafe { part.copy(env, to) });
    written.map_err(of_memory_file)
}

fn native_duplicate<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JObject<'local>> {
    const CLOSED: Error = Error::Closed { operation: "duplicate descriptor of memory file" };
    let file = FILES.get(handle).ok_or_else(|| of_memory_file(CLOSED))?;
    let descriptor = file.try_clone_fd().map_err(of_descriptor("dup"))?;
    descriptor::to_java(env, descriptor)
}

fn native_count<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<jint> {
    Ok(FILES.count() as jint)
}

/// Negative ones are further away than any file reaches.
fn bytes(offset: jint) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

fn part<'a, 'local>(
    env: &Env<'_>,
    buffer: &'a JByteArray<'local>,
    start: jint,
    count: jint,
    file: &MemoryFile,
) -> Result<Part<'a, 'local>> {
    let size = buffer.len(env)?;
    Part::new(buffer, size, start, count).ok_or_else(|| {
        // Android looks at that first.
        if file.is_deactivated() { of_memory_file(CLOSED) } else { out_of_bounds(start, count, size) }
    })
}

fn out_of_bounds(start: jint, count: jint, size: usize) -> Failure {
    let message = format!("{count} bytes at {start} of a buffer of {size} bytes");
    Failure::new(jni_str!("java/lang/IndexOutOfBoundsException"), message)
}
