//! What goes wrong at the provider, as its clients get it.

use ashmem_binder::rsbinder::Status;
use rusqlite::ErrorCode;

use crate::Refusal;

/// A refusal, and what there is to say of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {message}")]
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    pub(crate) message: String,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(refusal: Refusal, message: impl Into<String>) -> Failure {
        Failure { refusal, message: message.into() }
    }

    /// The cursor's thread has ended.
    pub(crate) fn expired() -> Failure {
        Failure::new(Refusal::Expired, "its snapshot is gone: nobody asked for long, or reading failed")
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        Status::new_service_specific_error(failure.refusal as i32, Some(failure.message))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        let refusal = match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => Refusal::Constraint,
            Some(ErrorCode::DiskFull) => Refusal::Full,
            // With the limit for files the kernel says so, and SQLite does not tell errors of writing apart.
            Some(ErrorCode::SystemIoFailure) if is_write(&error) => Refusal::Full,
            Some(ErrorCode::OperationInterrupted) => Refusal::TooLong,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Refusal::Busy,
            Some(ErrorCode::ReadOnly) => Refusal::ReadOnly,
            Some(ErrorCode::TooBig) => Refusal::RowTooLarge,
            Some(ErrorCode::OutOfMemory) => Refusal::Resources,
            Some(ErrorCode::ParameterOutOfRange) => Refusal::Arguments,
            Some(ErrorCode::AuthorizationForStatementDenied) => Refusal::Selection,
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => Refusal::Damaged,
            _ => match &error {
                rusqlite::Error::InvalidParameterCount(..) => Refusal::Arguments,
                _ => Refusal::Sql,
            },
        };
        // The statement is no secret, and not of interest.
        let message = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        Failure::new(refusal, message)
    }
}

fn is_write(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    [SQLITE_IOERR_WRITE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_SHMSIZE].contains(&code)
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Failure {
        Failure::new(Refusal::Resources, error.to_string())
    }
}

impl From<ashmem::Error> for Failure {
    fn from(error: ashmem::Error) -> Failure {
        Failure::new(Refusal::Resources, format!("cursor window: {error}"))
    }
}
