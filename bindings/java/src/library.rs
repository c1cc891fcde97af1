//! `android.os.NativeLibrary`: what the loader asks this library.
#![allow(unsafe_code, reason = "native methods are exported by name")]

use jni::objects::{JClass, JString};
use jni::{Env, NativeMethod, native_method};

use crate::throw::{Result, Throw};

const _: NativeMethod = native_method! {
    java_type = "android.os.NativeLibrary",
    static extern fn version() -> JString,
    error_policy = Throw,
};

/// The version, which has to be the jar's.
fn version<'local>(env: &mut Env<'local>, _: JClass<'local>) -> Result<JString<'local>> {
    Ok(env.new_string(env!("CARGO_PKG_VERSION"))?)
}
