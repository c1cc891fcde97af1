//! The two interfaces of the mixer: `IAudioFlinger` hands out tracks, `IAudioTrack` is one of them. Who holds its binder may use it, and
//! when nobody does any more, because it was dropped or its process died, the track is released.

use ashmem_binder::rsbinder::{
    Binder, BinderResult, FIRST_CALL_TRANSACTION, Interface, Parcel, Result, SIBinder, StatusCode, Strong,
    TransactionCode, declare_binder_interface,
};
use ashmem_binder::{ParcelFileDescriptor, answer, call};

use crate::mixer::Command;
use crate::{Mode, TrackOptions};

/// What the mixer is found as; Android's name of it.
pub(crate) const NAME: &str = "media.audio_flinger";

const CREATE_TRACK: TransactionCode = FIRST_CALL_TRANSACTION;
const SUSPEND_OUTPUT: TransactionCode = FIRST_CALL_TRANSACTION + 1;
const RESTORE_OUTPUT: TransactionCode = FIRST_CALL_TRANSACTION + 2;
const GET_OUTPUT: TransactionCode = FIRST_CALL_TRANSACTION + 3;

/// What the mixer mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) rate: u32,
    /// Frames.
    pub(crate) period: u32,
    /// How many tracks there are.
    pub(crate) tracks: u32,
}

/// What a client gets.
pub(crate) struct CreatedTrack {
    pub(crate) track: SIBinder,
    pub(crate) memory: ParcelFileDescriptor,
    pub(crate) frames: u64,
}

pub(crate) trait IAudioFlinger: Interface {
    fn create_track(&self, options: TrackOptions) -> BinderResult<CreatedTrack>;
    fn set_suspended(&self, suspended: bool) -> BinderResult<()>;
    fn output(&self) -> BinderResult<Output>;
}

pub(crate) trait IAudioTrack: Interface {
    fn command(&self, command: Command) -> BinderResult<()>;
}

declare_binder_interface! {
    IAudioFlinger["ashmem.example.IAudioFlinger"] {
        native: {
            BnAudioFlinger(on_flinger),
        },
        proxy: BpAudioFlinger,
    }
}

declare_binder_interface! {
    IAudioTrack["ashmem.example.IAudioTrack"] {
        native: {
            BnAudioTrack(on_track),
        },
        proxy: BpAudioTrack,
    }
}

fn on_flinger(
    service: &dyn IAudioFlinger,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        CREATE_TRACK => {
            let options = read_options(request)?;
            answer(reply, service.create_track(options), |reply, created| {
                reply.write(&created.track)?;
                reply.write(&created.memory)?;
                reply.write_u64(created.frames)
            })
        }
        SUSPEND_OUTPUT | RESTORE_OUTPUT => {
            answer(reply, service.set_suspended(code == SUSPEND_OUTPUT), |_, ()| Ok(()))
        }
        GET_OUTPUT => answer(reply, service.output(), |reply, output| {
            reply.write_u32(output.rate)?;
            reply.write_u32(output.period)?;
            reply.write_u32(output.tracks)
        }),
        _ => Err(StatusCode::UnknownTransaction),
    }
}

fn on_track(
    service: &dyn IAudioTrack,
    code: TransactionCode,
    _: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    let command = COMMANDS.iter().find(|(known, _)| *known == code).ok_or(StatusCode::UnknownTransaction)?;
    answer(reply, service.command(command.1), |_, ()| Ok(()))
}

const COMMANDS: [(TransactionCode, Command); 4] = [
    (FIRST_CALL_TRANSACTION, Command::Start),
    (FIRST_CALL_TRANSACTION + 1, Command::Pause),
    (FIRST_CALL_TRANSACTION + 2, Command::Flush),
    (FIRST_CALL_TRANSACTION + 3, Command::Stop),
];

fn write_options(request: &mut Parcel, options: &TrackOptions) -> Result<()> {
    request.write_u32(options.rate)?;
    request.write_u32(options.channels)?;
    request.write_u32(u32::from(options.mode == Mode::Static))?;
    request.write_u64(options.frames)
}

fn read_options(request: &mut Parcel) -> Result<TrackOptions> {
    let (rate, channels) = (request.read_u32()?, request.read_u32()?);
    let mode = match request.read_u32()? {
        0 => Mode::Streaming,
        1 => Mode::Static,
        _ => return Err(StatusCode::BadValue),
    };
    Ok(TrackOptions { rate, channels, mode, frames: request.read_u64()? })
}

impl IAudioFlinger for BpAudioFlinger {
    fn create_track(&self, options: TrackOptions) -> BinderResult<CreatedTrack> {
        let mut reply = call(&self.binder, CREATE_TRACK, |request| write_options(request, &options))?;
        Ok(CreatedTrack { track: reply.read()?, memory: reply.read()?, frames: reply.read_u64()? })
    }

    fn set_suspended(&self, suspended: bool) -> BinderResult<()> {
        let code = if suspended { SUSPEND_OUTPUT } else { RESTORE_OUTPUT };
        call(&self.binder, code, |_| Ok(())).map(drop)
    }

    fn output(&self) -> BinderResult<Output> {
        let mut reply = call(&self.binder, GET_OUTPUT, |_| Ok(()))?;
        Ok(Output { rate: reply.read_u32()?, period: reply.read_u32()?, tracks: reply.read_u32()? })
    }
}

impl IAudioTrack for BpAudioTrack {
    fn command(&self, command: Command) -> BinderResult<()> {
        let code = COMMANDS.iter().find(|(_, known)| *known == command).ok_or(StatusCode::BadValue)?.0;
        call(&self.binder, code, |_| Ok(())).map(drop)
    }
}

/// In the mixer's own process.
impl IAudioFlinger for Binder<BnAudioFlinger> {
    fn create_track(&self, options: TrackOptions) -> BinderResult<CreatedTrack> {
        self.0.create_track(options)
    }

    fn set_suspended(&self, suspended: bool) -> BinderResult<()> {
        self.0.set_suspended(suspended)
    }

    fn output(&self) -> BinderResult<Output> {
        self.0.output()
    }
}

/// In the mixer's own process.
impl IAudioTrack for Binder<BnAudioTrack> {
    fn command(&self, command: Command) -> BinderResult<()> {
        self.0.command(command)
    }
}

/// Takes a binder of either process for the interface.
pub(crate) fn as_track(binder: SIBinder) -> Result<Strong<dyn IAudioTrack>> {
    Strong::try_from(binder)
}
