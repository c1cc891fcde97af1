//! The methods and fields of Java classes that are used here, found once.
#![allow(unsafe_code, reason = "methods and fields that were found once are not looked up again")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use jni::objects::{
    JByteArray, JClass, JFieldID, JLongArray, JMethodID, JObject, JObjectArray, JStaticMethodID, JString,
    JValue,
};
use jni::refs::{Global, IntoAuto};
use jni::signature::{JavaType, Primitive, ReturnType};
use jni::strings::JNIStr;
use jni::sys::{jint, jlong};
use jni::{Env, jni_sig, jni_str};
use rustix::io::Errno;

use super::parcel::{Object, Outgoing, Place};
use super::{object, proxy};
use crate::memory::descriptor;
use crate::throw::{Failure, Result};

/// The kinds of objects in `android.os.OutgoingParcel`.
const NULL_BINDER: jlong = 0;
const LOCAL_BINDER: jlong = 1;
const PROXY: jlong = 2;
const FILE_DESCRIPTOR: jlong = 3;
/// Position, size, kind, number.
const WORDS: usize = 4;

type Class = Global<JClass<'static>>;

/// Classes, which live as long as the process, and what they have.
pub(super) struct Classes {
    binder: Class,
    execute: JStaticMethodID,
    get_interface_descriptor: JMethodID,
    proxy: Class,
    new_proxy: JMethodID,
    died: JMethodID,
    /// Held so that its method stays.
    _parcel: Class,
    receive: JMethodID,
    /// Held so that its fields stay.
    _outgoing: Class,
    bytes: JFieldID,
    size: JFieldID,
    places: JFieldID,
    objects: JFieldID,
    recycle: JMethodID,
    release: Class,
    make_descriptors: JStaticMethodID,
}

/// What there is one of. A native method has to call this before anything else does: on a thread of Binder the classes of the
/// program are not found.
pub(super) fn classes(env: &mut Env<'_>) -> Result<&'static Classes> {
    static CLASSES: OnceLock<Classes> = OnceLock::new();
    if let Some(classes) = CLASSES.get() {
        return Ok(classes);
    }
    let found = Classes::find(env)?;
    object::observe();
    crate::log::begin(env)?;
    Ok(CLASSES.get_or_init(|| found))
}

impl Classes {
    fn find(env: &mut Env<'_>) -> Result<Classes> {
        let mut class = |name: &JNIStr| -> Result<Class> {
            let class = env.find_class(name)?;
            Ok(env.new_global_ref(&class)?)
        };
        let binder = class(jni_str!("android/os/Binder"))?;
        let proxy = class(jni_str!("android/os/BinderProxy"))?;
        let parcel = class(jni_str!("android/os/Parcel"))?;
        let outgoing = class(jni_str!("android/os/OutgoingParcel"))?;
        let release = class(jni_str!("android/os/Release"))?;
        Ok(Classes {
            execute: env.get_static_method_id(
                &binder,
                jni_str!("execute"),
                jni_sig!("(Landroid/os/Binder;I[BJZZ)Landroid/os/OutgoingParcel;"),
            )?,
            get_interface_descriptor: env.get_method_id(
                &binder,
                jni_str!("getInterfaceDescriptor"),
                jni_sig!("()Ljava/lang/String;"),
            )?,
            new_proxy: env.get_method_id(&proxy, jni_str!("<init>"), jni_sig!("(J)V"))?,
            died: env.get_method_id(&proxy, jni_str!("died"), jni_sig!("()V"))?,
            receive: env.get_method_id(&parcel, jni_str!("receive"), jni_sig!("([BIJ)V"))?,
            bytes: env.get_field_id(&outgoing, jni_str!("bytes"), jni_sig!("[B"))?,
            size: env.get_field_id(&outgoing, jni_str!("size"), jni_sig!("I"))?,
            places: env.get_field_id(&outgoing, jni_str!("places"), jni_sig!("[J"))?,
            objects: env.get_field_id(&outgoing, jni_str!("objects"), jni_sig!("[Ljava/lang/Object;"))?,
            recycle: env.get_method_id(&outgoing, jni_str!("recycle"), jni_sig!("()V"))?,
            make_descriptors: env.get_static_method_id(
                &release,
                jni_str!("makeDescriptors"),
                jni_sig!("()V"),
            )?,
            release,
            binder,
            proxy,
            _parcel: parcel,
            _outgoing: outgoing,
        })
    }

    /// `Binder.execute`: `None` if it knows no such code.
    #[allow(clippy::too_many_arguments, reason = "those of the method in Java")]
    pub(super) fn execute(
        &self,
        env: &mut Env<'_>,
        target: &JObject<'_>,
        code: u32,
        bytes: &[u8],
        received: jlong,
        is_oneway: bool,
        has_token: bool,
    ) -> Result<Option<Outgoing>> {
        let bytes = env.byte_array_from_slice(bytes)?;
        let arguments = [
            JValue::Object(target).as_jni(),
            JValue::Int(code as jint).as_jni(),
            JValue::Object(&bytes).as_jni(),
            JValue::Long(received).as_jni(),
            JValue::Bool(is_oneway).as_jni(),
            JValue::Bool(has_token).as_jni(),
        ];
        // SAFETY: The method is this class's, and these are its arguments.
        let reply = unsafe {
            env.call_static_method_unchecked(&self.binder, self.execute, ReturnType::Object, &arguments)
        };
        let reply = reply?.into_object()?;
        if reply.is_null() {
            return Ok(None);
        }
        self.outgoing(env, &reply).map(Some)
    }

    /// All of an `OutgoingParcel`.
    fn outgoing(&self, env: &mut Env<'_>, parcel: &JObject<'_>) -> Result<Outgoing> {
        // SAFETY: The parcel is of the class that the field is of, and this is the field's type.
        let bytes = unsafe { env.get_field_unchecked(parcel, self.bytes, JavaType::Array) }?.into_object()?;
        // SAFETY: As above.
        let size =
            unsafe { env.get_field_unchecked(parcel, self.size, JavaType::Primitive(Primitive::Int)) }?;
        let size = size.into_int()?;
        // SAFETY: As above.
        let places =
            unsafe { env.get_field_unchecked(parcel, self.places, JavaType::Array) }?.into_object()?;
        let bytes = env.cast_local::<JByteArray<'_>>(bytes)?;
        if places.is_null() {
            return Ok(Outgoing { bytes: copy(env, &bytes, size)?, places: Vec::new() });
        }
        // SAFETY: As above.
        let objects =
            unsafe { env.get_field_unchecked(parcel, self.objects, JavaType::Array) }?.into_object()?;
        let places = env.cast_local::<JLongArray<'_>>(places)?;
        let objects = env.cast_local::<JObjectArray<'_>>(objects)?;
        let outgoing = self.outgoing_parts(env, &bytes, size, &places, &objects)?;
        // SAFETY: The method is the class's, and takes nothing.
        unsafe {
            env.call_method_unchecked(parcel, self.recycle, ReturnType::Primitive(Primitive::Void), &[])
        }?;
        Ok(outgoing)
    }

    /// As the fields of an `OutgoingParcel`; `places` may be null.
    pub(super) fn outgoing_parts(
        &self,
        env: &mut Env<'_>,
        bytes: &JByteArray<'_>,
        size: jint,
        places: &JLongArray<'_>,
        objects: &JObjectArray<'_>,
    ) -> Result<Outgoing> {
        let bytes = copy(env, bytes, size)?;
        if places.is_null() {
            return Ok(Outgoing { bytes, places: Vec::new() });
        }
        let mut words = vec![0; places.len(env)?];
        places.get_region(env, 0, &mut words)?;
        let mut placed = Vec::with_capacity(words.len() / WORDS);
        for (index, place) in words.chunks_exact(WORDS).enumerate() {
            let object = objects.get_element(env, index)?;
            let object = object.auto();
            placed.push(Place {
                position: place[0] as usize,
                size: place[1] as usize,
                object: match place[2] {
                    NULL_BINDER => Object::Binder(None),
                    LOCAL_BINDER => Object::Binder(Some(object::of(env, self, place[3], &object)?)),
                    PROXY => Object::Binder(Some(proxy::remote(place[3])?.binder().clone())),
                    FILE_DESCRIPTOR => Object::Descriptor(self.duplicate(env, &object)?),
                    kind => return Err(Failure::illegal_argument(format!("an object of kind {kind}"))),
                },
            });
        }
        Ok(Outgoing { bytes, places: placed })
    }

    /// `Binder.getInterfaceDescriptor`; empty if there is none.
    pub(super) fn interface_of(&self, env: &mut Env<'_>, binder: &JObject<'_>) -> Result<String> {
        // SAFETY: The method is a binder's, and takes nothing.
        let name = unsafe {
            env.call_method_unchecked(binder, self.get_interface_descriptor, ReturnType::Object, &[])
        };
        let name = name?.into_object()?;
        if name.is_null() {
            return Ok(String::new());
        }
        Ok(env.cast_local::<JString<'_>>(name)?.try_to_string(env)?)
    }

    /// `Parcel.receive`.
    pub(super) fn receive(
        &self,
        env: &mut Env<'_>,
        parcel: &JObject<'_>,
        bytes: &[u8],
        received: jlong,
    ) -> Result<()> {
        let array = env.byte_array_from_slice(bytes)?;
        let arguments = [
            JValue::Object(&array).as_jni(),
            JValue::Int(bytes.len() as jint).as_jni(),
            JValue::Long(received).as_jni(),
        ];
        let void = ReturnType::Primitive(Primitive::Void);
        // SAFETY: The method is a parcel's, and these are its arguments.
        unsafe { env.call_method_unchecked(parcel, self.receive, void, &arguments) }?;
        Ok(())
    }

    /// A new `BinderProxy`.
    pub(super) fn new_proxy<'local>(&self, env: &mut Env<'local>, handle: jlong) -> Result<JObject<'local>> {
        // SAFETY: The constructor is this class's, and this is its argument.
        Ok(unsafe {
            env.new_object_unchecked(&self.proxy, self.new_proxy, &[JValue::Long(handle).as_jni()])
        }?)
    }

    /// `BinderProxy.died`.
    pub(super) fn died(&self, env: &mut Env<'_>, proxy: &JObject<'_>) -> Result<()> {
        // SAFETY: The method is a proxy's, and takes nothing.
        unsafe { env.call_method_unchecked(proxy, self.died, ReturnType::Primitive(Primitive::Void), &[]) }?;
        Ok(())
    }

    /// A duplicate of what a `FileDescriptor` has.
    fn duplicate(&self, env: &mut Env<'_>, object: &JObject<'_>) -> Result<OwnedFd> {
        let mut duplicate = descriptor::duplicate(env, object);
        if is_last(&duplicate) {
            drop(duplicate);
            let void = ReturnType::Primitive(Primitive::Void);
            // SAFETY: The method is this class's, and takes nothing.
            unsafe { env.call_static_method_unchecked(&self.release, self.make_descriptors, void, &[]) }?;
            duplicate = descriptor::duplicate(env, object);
        }
        duplicate.map_err(|failure| match failure {
            Failure::Errno { .. } => {
                Failure::illegal_argument(format!("a descriptor in the parcel: {failure}"))
            }
            other => other,
        })
    }
}

/// Whether there was no descriptor, or there are hardly any left for what comes after it. Java may have dropped some.
fn is_last(made: &Result<OwnedFd>) -> bool {
    /// rsbinder makes one of its own; receiving and accepting want one, too.
    const ROOM: u64 = 4;
    match made {
        Ok(made) => {
            let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            most.is_some_and(|most| made.as_raw_fd() as u64 + ROOM >= most)
        }
        Err(Failure::Errno { errno, .. }) => {
            [Errno::MFILE, Errno::NFILE].iter().any(|none| none.raw_os_error() == *errno)
        }
        Err(_) => false,
    }
}

/// The first bytes of an array.
fn copy(env: &Env<'_>, array: &JByteArray<'_>, size: jint) -> Result<Vec<u8>> {
    let mut bytes = vec![0_u8; usize::try_from(size).unwrap_or(0)];
    // SAFETY: A byte with a sign takes the place of one without, and nothing else uses them meanwhile.
    let signed = unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<i8>(), bytes.len()) };
    array.get_region(env, 0, signed)?;
    Ok(bytes)
}
