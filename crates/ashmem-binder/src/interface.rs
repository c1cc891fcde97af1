//! Both sides of a call of an interface that is written by hand.

use rsbinder::{BinderResult, ExceptionCode, Parcel, Result, SIBinder, Status, StatusCode, TransactionCode};

/// Calls a binder of another process, whose interface is the binder's own: `write` writes the arguments behind the token. Gives the
/// reply, from behind the exception that AIDL's replies start with.
///
/// ```
/// use ashmem_binder::rsbinder::{
///     Binder, BinderResult, Interface, Parcel, Result, StatusCode, TransactionCode, declare_binder_interface,
/// };
/// use ashmem_binder::{answer, call};
///
/// const ADD: TransactionCode = 1;
///
/// pub trait IAdder: Interface {
///     fn add(&self, a: i32, b: i32) -> BinderResult<i32>;
/// }
///
/// declare_binder_interface! {
///     IAdder["example.IAdder"] {
///         native: {
///             BnAdder(on_transact),
///         },
///         proxy: BpAdder,
///     }
/// }
///
/// fn on_transact(adder: &dyn IAdder, code: TransactionCode, request: &mut Parcel, reply: &mut Parcel) -> Result<()> {
///     match code {
///         ADD => {
///             let sum = adder.add(request.read_i32()?, request.read_i32()?);
///             answer(reply, sum, |reply, sum| reply.write_i32(sum))
///         }
///         _ => Err(StatusCode::UnknownTransaction),
///     }
/// }
///
/// impl IAdder for BpAdder {
///     fn add(&self, a: i32, b: i32) -> BinderResult<i32> {
///         let mut reply = call(&self.binder, ADD, |request| {
///             request.write_i32(a)?;
///             request.write_i32(b)
///         })?;
///         Ok(reply.read_i32()?)
///     }
/// }
///
/// // In the server's own process.
/// impl IAdder for Binder<BnAdder> {
///     fn add(&self, a: i32, b: i32) -> BinderResult<i32> {
///         self.0.add(a, b)
///     }
/// }
/// ```
///
/// # Errors
/// The exception of the reply; what the transport says, as a status; BAD_TYPE for a binder of this process.
pub fn call(
    binder: &SIBinder,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> Result<()>,
) -> BinderResult<Parcel> {
    let remote = binder.as_remote().ok_or(StatusCode::BadType)?;
    let mut request = remote.prepare_transact(true)?;
    write(&mut request)?;
    let mut reply = remote.submit_transact(code, &request, 0)?.ok_or(StatusCode::UnexpectedNull)?;
    let status: Status = reply.read()?;
    if status.is_ok() { Ok(reply) } else { Err(status) }
}

/// The server's side: writes the exception that replies start with, and behind none what `write` writes.
///
/// # Errors
/// What writing says.
pub fn answer<T>(
    reply: &mut Parcel,
    answer: BinderResult<T>,
    write: impl FnOnce(&mut Parcel, T) -> Result<()>,
) -> Result<()> {
    match answer {
        Ok(value) => {
            reply.write(&Status::from(ExceptionCode::None))?;
            write(reply, value)
        }
        Err(exception) => reply.write(&exception),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_behind_no_exception() {
        let mut reply = Parcel::new();
        answer(&mut reply, Ok(7), |reply, value| reply.write_i32(value)).expect("room");
        reply.set_data_position(0);
        assert!(reply.read::<Status>().expect("a status").is_ok());
        assert_eq!(reply.read_i32(), Ok(7));
    }

    #[test]
    fn behind_an_exception_is_nothing() {
        let mut reply = Parcel::new();
        let refused: BinderResult<()> = Err(ExceptionCode::IllegalState.into());
        answer(&mut reply, refused, |_, ()| unreachable!("there is no value")).expect("room");
        reply.set_data_position(0);
        let status: Status = reply.read().expect("a status");
        assert_eq!(status.exception_code(), ExceptionCode::IllegalState);
        assert_eq!(reply.data_avail(), 0);
    }
}
