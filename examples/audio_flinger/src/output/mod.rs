//! Where the mix goes: a WAV file, and a sound card where the feature `sound-card` is on and there is one.

#[cfg(feature = "sound-card")]
mod sound_card;
mod wav;

#[cfg(feature = "sound-card")]
pub use self::sound_card::SoundCard;
pub use self::wav::WavOutput;
