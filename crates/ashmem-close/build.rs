//! The name under which programs load the library, and that it stays loaded: other functions call it for good.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libashmem_close.so.1");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
