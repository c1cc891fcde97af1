//! Names the library, so that C libraries can be linked against the one that the jar has loaded.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libashmem_jni.so");
    println!("cargo:rerun-if-changed=build.rs");
}
