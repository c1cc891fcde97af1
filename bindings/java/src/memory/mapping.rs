//! `android.os.Mappings`: mappings as direct buffers.
//!
//! A buffer can be used by any thread at any moment, through views that nobody knows of, also after it was unmapped. So unmapping
//! puts zeros over the pages, in one step: who is in the middle of an access reads the one or the other. The addresses are given
//! back when no view is left, which the JVM's collector tells.
//!
//! (Pages that raise SIGBUS would become exceptions in most places, but the JVM dies of one in its checksums, its comparison of
//! buffers, and in every native method.)
#![allow(unsafe_code, reason = "native methods are exported by name, and replace pages of mappings")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ashmem::{Mapping, Protection};
use jni::objects::{JByteBuffer, JClass, JLongArray};
use jni::sys::{jboolean, jint, jlong};
use jni::{Env, NativeMethod, native_method};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::shared::{failed, open, protection};
use crate::throw::{Result, Throw};

const _: &[NativeMethod] = &[
    native_method! {
        java_type = "android.os.Mappings",
        static extern fn native_map(memory: jlong, prot: jint, offset: jint, length: jint, mapping: jlong[])
            -> java.nio.ByteBuffer,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Mappings",
        static extern fn native_unmap(buffer: java.nio.ByteBuffer) -> jboolean,
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Mappings",
        static extern fn native_release(mapping: jlong),
        error_policy = Throw,
    },
    native_method! {
        java_type = "android.os.Mappings",
        static extern fn native_count() -> jint,
        error_policy = Throw,
    },
];

/// What buffers show, by address, and where by number.
#[derive(Default)]
struct Table {
    last: jlong,
    addresses: HashMap<jlong, usize>,
    pages: BTreeMap<usize, Pages>,
}

/// A mapping, and whether the region is still in it.
struct Pages {
    mapping: Mapping,
    is_mapped: bool,
}

fn table() -> MutexGuard<'static, Table> {
    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn insert(&mut self, pages: Pages) -> jlong {
        self.last += 1;
        let address = pages.mapping.as_ptr().addr();
        self.addresses.insert(self.last, address);
        self.pages.insert(address, pages);
        self.last
    }

    fn remove(&mut self, number: jlong) -> Option<Pages> {
        let address = self.addresses.remove(&number)?;
        self.pages.remove(&address)
    }

    /// The mapping that has all of these bytes, one at least.
    fn find(&mut self, address: usize, len: usize) -> Option<&mut Pages> {
        let (start, pages) = self.pages.range_mut(..=address).next_back()?;
        let offset = address - start;
        let size = pages.mapping.len() as usize;
        (len > 0 && len <= size && offset <= size - len).then_some(pages)
    }
}

impl Pages {
    /// Zeros instead of the region, which is released.
    fn unmap(&mut self) {
        if !self.is_mapped {
            return;
        }
        // The same of all, so that the kernel counts neighbours as one. Buffers know themselves what is read-only.
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let start = self.mapping.as_mut_ptr().cast::<c_void>();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: replaces what the mapping has, to which nothing points but buffers that may find anything in it.
        let replaced = unsafe { mmap_anonymous(start, self.mapping.len() as usize, access, flags) };
        // If that fails the region stays until no view is left.
        self.is_mapped = replaced.is_err();
    }
}

fn native_map<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    memory: jlong,
    prot: jint,
    offset: jint,
    length: jint,
    number: JLongArray<'local>,
) -> Result<JByteBuffer<'local>> {
    let protection = protection(prot);
    let bytes = |value: jint| u64::try_from(value).unwrap_or(u64::MAX);
    let mapping = open(memory)?.map(protection, bytes(offset), bytes(length)).map_err(failed("mmap"))?;
    let (start, len) = (mapping.as_mut_ptr(), mapping.len() as usize);
    let mut pages = Pages { mapping, is_mapped: true };
    if !protection.intersects(Protection::READ | Protection::WRITE) {
        // A buffer can be read, whatever is asked for.
        pages.unmap();
    }
    // SAFETY: mapped, and unmapped when no buffer is left.
    let buffer = unsafe { env.new_direct_byte_buffer(start, len) }?;
    let pages = table().insert(pages);
    number.set_region(env, 0, &[pages])?;
    Ok(buffer)
}

fn native_unmap<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    buffer: JByteBuffer<'local>,
) -> Result<jboolean> {
    let address = env.get_direct_buffer_address(&buffer)?;
    let len = env.get_direct_buffer_capacity(&buffer)?;
    let mut table = table();
    let Some(pages) = table.find(address.addr(), len) else { return Ok(false) };
    pages.unmap();
    Ok(true)
}

fn native_release<'local>(_: &mut Env<'local>, _: JClass<'local>, mapping: jlong) -> Result<()> {
    // Unmapped outside of the lock.
    let pages = table().remove(mapping);
    drop(pages);
    Ok(())
}

fn native_count<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<jint> {
    Ok(table().pages.len() as jint)
}
