//! Binder: what `android.os` needs of `ashmem_binder`.
//!
//! ```text
//! services     android.os.ServiceManager
//! proxy        android.os.BinderProxy: objects of other processes, and their death
//! received     android.os.ReceivedParcel: objects of parcels that came from others
//! identity     android.os.Binder: who calls
//! object       android.os.Binder as others call it
//!     |
//! java         the methods and fields of these classes that are used here
//! parcel       the bytes and objects of a parcel of rsbinder's; descriptor: those that are descriptors
//! status       what a failed call throws
//! ```
//!
//! # Who holds whom
//!
//! An [object](object::JavaBinder) holds the Java object as long as a peer, or the directory of services, holds it; the Java
//! object holds a number, by which the one of them that lives is found. A proxy of Java holds a [`Remote`](proxy::Remote) until
//! it is collected; that finds the proxy by a weak reference. So nothing holds itself, across both heaps.

mod descriptor;
mod identity;
mod java;
mod object;
mod parcel;
mod proxy;
mod received;
mod services;
mod status;
