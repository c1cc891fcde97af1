//! What a failed call throws in Java, as AOSP's `signalExceptionForError`.

use ashmem_binder::Error;
use ashmem_binder::rsbinder::StatusCode;
use jni::jni_str;

use crate::throw::Failure;

/// From this size on a failed transaction is thought to have failed for it.
const LARGE: usize = 200 << 10;

/// What to throw for a status of a call with so many bytes.
pub(super) fn failure(status: StatusCode, what: &str, size: usize) -> Failure {
    let class = match status {
        StatusCode::DeadObject => {
            return dead(format!("{what}: the process of the object has ended"));
        }
        StatusCode::FailedTransaction if size >= LARGE => return too_large(size),
        StatusCode::FailedTransaction => {
            return dead(format!(
                "{what}: failed; the reply was too large, or the object itself met a dead one"
            ));
        }
        StatusCode::BadType => {
            let message =
                format!("{what}: the interface token is not the object's, or a value has the wrong type");
            return Failure::illegal_argument(message);
        }
        StatusCode::BadValue => jni_str!("java/lang/IllegalArgumentException"),
        StatusCode::BadIndex => jni_str!("java/lang/IndexOutOfBoundsException"),
        StatusCode::NameNotFound => jni_str!("java/util/NoSuchElementException"),
        StatusCode::UnexpectedNull => jni_str!("java/lang/NullPointerException"),
        StatusCode::PermissionDenied => jni_str!("java/lang/SecurityException"),
        StatusCode::NotEnoughData => jni_str!("android/os/ParcelFormatException"),
        StatusCode::InvalidOperation => {
            return unsupported(format!(
                "{what}: it is not supported, or an object of a third process was sent, which only its receiver can call"
            ));
        }
        StatusCode::FdsNotAllowed => jni_str!("java/lang/RuntimeException"),
        _ => jni_str!("android/os/RemoteException"),
    };
    Failure::new(class, format!("{what}: {status}"))
}

/// What to throw for an error of `ashmem_binder`, by methods that declare no exception.
pub(super) fn unchecked(error: &Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::InvalidServiceName { .. } | Error::InvalidAddress { .. } => Failure::illegal_argument(message),
        Error::NotPrivate { .. } => Failure::new(jni_str!("java/lang/SecurityException"), message),
        Error::Binder { status: StatusCode::InvalidOperation, .. } => unsupported(message),
        _ => Failure::illegal_state(message),
    }
}

pub(super) fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(jni_str!("java/lang/UnsupportedOperationException"), message.into())
}

pub(super) fn dead(message: impl Into<String>) -> Failure {
    Failure::new(jni_str!("android/os/DeadObjectException"), message.into())
}

pub(super) fn too_large(size: usize) -> Failure {
    let class = jni_str!("android/os/TransactionTooLargeException");
    Failure::new(class, format!("the parcel has {size} bytes, or the reply was too large"))
}
