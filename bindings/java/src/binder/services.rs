//! `android.os.ServiceManager`.
#![allow(unsafe_code, reason = "native methods are exported by name")]

use ashmem_binder::rsbinder::SIBinder;
use ashmem_binder::{Error, ServiceManager};
use jni::objects::{JClass, JObject, JObjectArray, JString};
use jni::refs::IntoAuto;
use jni::sys::jlong;
use jni::{Env, NativeMethod, native_method};

use super::java::classes;
use super::{object, proxy, status};
use crate::throw::{Result, Throw};

const _: NativeMethod = native_method! {
    java_type = "android.os.ServiceManager",
    static extern fn add(name: JString, service: android.os.Binder, id: jlong),
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ServiceManager",
    static extern fn get(name: JString) -> android.os.IBinder,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ServiceManager",
    static extern fn check(name: JString) -> android.os.IBinder,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ServiceManager",
    static extern fn await_(name: JString) -> android.os.IBinder,
    name = "await",
    fn = wait,
    error_policy = Throw,
};
const _: NativeMethod = native_method! {
    java_type = "android.os.ServiceManager",
    static extern fn list() -> JString[],
    error_policy = Throw,
};

/// The user's services, over sockets.
fn services() -> Result<ServiceManager> {
    let services = ServiceManager::new().map_err(|error| status::unchecked(&error))?;
    if services.is_kernel() {
        let address = services.address();
        return Err(status::unsupported(format!("{address}: Java programs cannot use the kernel's binder")));
    }
    Ok(services)
}

fn add<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    name: JString<'local>,
    service: JObject<'local>,
    id: jlong,
) -> Result<()> {
    let classes = classes(env)?;
    let services = services()?;
    let name = name.try_to_string(env)?;
    let binder = object::of(env, classes, id, &service)?;
    services.add_service(&name, &binder).map_err(|error| status::unchecked(&error))
}

/// What a look for a service gives to Java.
fn found<'local>(
    env: &mut Env<'local>,
    name: &JString<'local>,
    look: impl FnOnce(&ServiceManager, &str) -> ashmem_binder::Result<Option<SIBinder>>,
) -> Result<JObject<'local>> {
    classes(env)?;
    let name = name.try_to_string(env)?;
    match look(&services()?, &name) {
        Ok(Some(binder)) => proxy::to_java(env, binder),
        Ok(None) | Err(Error::NoSuchService { .. }) => Ok(JObject::null()),
        Err(error) => Err(status::unchecked(&error)),
    }
}

fn get<'local>(env: &mut Env<'local>, _: JClass<'local>, name: JString<'local>) -> Result<JObject<'local>> {
    found(env, &name, |services, name| services.get_service(name).map(Some))
}

fn check<'local>(env: &mut Env<'local>, _: JClass<'local>, name: JString<'local>) -> Result<JObject<'local>> {
    found(env, &name, ServiceManager::check_service)
}

fn wait<'local>(env: &mut Env<'local>, _: JClass<'local>, name: JString<'local>) -> Result<JObject<'local>> {
    found(env, &name, |services, name| services.wait_for_service(name, None).map(Some))
}

fn list<'local>(env: &mut Env<'local>, _: JClass<'local>) -> Result<JObjectArray<'local, JString<'local>>> {
    let names = services()?.list_services().map_err(|error| status::unchecked(&error))?;
    let array = JObjectArray::<JString<'_>>::new(env, names.len(), JString::null())?;
    for (index, name) in names.iter().enumerate() {
        let name = env.new_string(name)?;
        let name = name.auto();
        array.set_element(env, index, &*name)?;
    }
    Ok(array)
}
