//! Errors as Java exceptions.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use jni::errors::ErrorPolicy;
use jni::objects::{JThrowable, JValue};
use jni::strings::{JNIStr, JNIString};
use jni::{Env, jni_sig, jni_str};

/// Why a native method failed: the exception that Java sees.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An `android.system.ErrnoException`, which the Java side may turn into an `IOException`.
    Errno {
        /// What was tried, as `android.system.Os` would name it.
        function: &'static str,
        /// The kernel's error number.
        errno: i32,
    },
    /// Any other exception, with a constructor that takes a message.
    Exception {
        /// With slashes.
        class: &'static JNIStr,
        message: Cow<'static, str>,
    },
    /// JNI itself, or an exception that is thrown already.
    Jni(jni::errors::Error),
}

/// What a native method returns.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(class: &'static JNIStr, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::Exception { class, message: message.into() }
    }

    pub(crate) fn illegal_state(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(jni_str!("java/lang/IllegalStateException"), message)
    }

    pub(crate) fn illegal_argument(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(jni_str!("java/lang/IllegalArgumentException"), message)
    }

    fn throw(&self, env: &mut Env<'_>) -> jni::errors::Result<()> {
        if env.exception_check() {
            return Ok(());
        }
        let thrown = match self {
            Failure::Errno { function, errno } => {
                let function = env.new_string(function)?;
                let arguments = [JValue::Object(&function), JValue::Int(*errno)];
                let signature = jni_sig!("(Ljava/lang/String;I)V");
                let exception =
                    env.new_object(jni_str!("android/system/ErrnoException"), signature, &arguments)?;
                let exception = env.cast_local::<JThrowable<'_>>(exception)?;
                env.throw(exception)
            }
            Failure::Exception { class, message } => env.throw_new(*class, JNIString::from(message.as_ref())),
            Failure::Jni(error) => env
                .throw_new(jni_str!("java/lang/InternalError"), JNIString::from(format!("ashmem: {error}"))),
        };
        match thrown {
            // That is what throwing reports.
            Err(jni::errors::Error::JavaException) => Ok(()),
            other => other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Errno { function, errno } => {
                write!(formatter, "{function}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Failure::Exception { class, message } => {
                write!(formatter, "{}: {message}", class.to_str())
            }
            Failure::Jni(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Failure {}

impl From<jni::errors::Error> for Failure {
    fn from(error: jni::errors::Error) -> Failure {
        Failure::Jni(error)
    }
}

/// Throws what a native method failed with. A panic is an `InternalError`.
pub(crate) struct Throw;

impl<T: Default> ErrorPolicy<T, Failure> for Throw {
    type Captures<'unowned_env_local: 'native_method, 'native_method> = ();

    fn on_error<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _: &mut (),
        failure: Failure,
    ) -> jni::errors::Result<T> {
        failure.throw(env)?;
        Ok(T::default())
    }

    fn on_panic<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _: &mut (),
        payload: Box<dyn Any + Send + 'static>,
    ) -> jni::errors::Result<T> {
        let what = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let message = format!("ashmem's native library failed: {what}");
        Failure::new(jni_str!("java/lang/InternalError"), message).throw(env)?;
        Ok(T::default())
    }
}
