//! The client's side of the mixer: finds it, makes tracks, and hears when it dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::{DeathRecipient, Strong, WIBinder};

use crate::audio_track::AudioTrack;
use crate::interface::{IAudioFlinger, NAME, as_track};
use crate::shared::ControlBlock;
use crate::shared::positions::Side;
use crate::{Error, Result, TrackOptions};

/// A connection to the mixer, `AudioSystem` and `IAudioFlinger` of Android.
pub struct AudioFlinger {
    service: Strong<dyn IAudioFlinger>,
    death: Arc<Death>,
}

/// Hears that the mixer's process ended, and wakes who waits for it.
#[derive(Default)]
pub(crate) struct Death {
    is_dead: AtomicBool,
    sleepers: Mutex<Vec<Weak<ControlBlock>>>,
}

impl Death {
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn wakes(&self, block: &Arc<ControlBlock>) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|block| block.strong_count() > 0);
        sleepers.push(Arc::downgrade(block));
    }
}

impl DeathRecipient for Death {
    fn binder_died(&self, _: &WIBinder) {
        self.is_dead.store(true, Ordering::SeqCst);
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        for block in sleepers.iter().filter_map(Weak::upgrade) {
            // Who is not woken wakes by himself, and looks.
            let _ = block.ring_own(Side::Client);
        }
    }
}

impl AudioFlinger {
    /// Looks for the mixer, and waits up to five seconds for one.
    ///
    /// # Errors
    /// [`Error::Services`] when there is none.
    pub fn connect(services: &ServiceManager) -> Result<AudioFlinger> {
        const OPERATION: &str = "find mixer";
        let binder = services.get_service(NAME).map_err(Error::services(OPERATION))?;
        let death = Arc::new(Death::default());
        // One in this process lives as long as it does.
        if binder.is_remote() {
            binder.link_to_death_arc(&death).map_err(|status| Error::call(OPERATION)(status.into()))?;
        }
        let service = Strong::try_from(binder).map_err(|status| Error::call(OPERATION)(status.into()))?;
        Ok(AudioFlinger { service, death })
    }

    /// A new track, which makes no sound yet.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] for what no mixer plays, [`Error::Refused`] for what this one does not, [`Error::MixerDied`],
    /// [`Error::Garbage`], [`Error::Memory`].
    pub fn create_track(&self, options: &TrackOptions) -> Result<AudioTrack> {
        const OPERATION: &str = "create track";
        options.check()?;
        let created = self.service.create_track(*options).map_err(Error::call(OPERATION))?;
        if created.frames < options.frames {
            return Err(Error::Garbage {
                operation: OPERATION,
                reason: "the track is smaller than asked for",
            });
        }
        let channels = u64::from(options.channels);
        let block = ControlBlock::open(created.memory.into(), channels, created.frames)
            .map_err(Error::memory(OPERATION))?
            .ok_or(Error::Garbage { operation: OPERATION, reason: "the memory is too small" })?;
        let track = as_track(created.track).map_err(|status| Error::call(OPERATION)(status.into()))?;
        let block = Arc::new(block);
        self.death.wakes(&block);
        Ok(AudioTrack::new(track, block, options, Arc::clone(&self.death)))
    }

    /// Has the mixer pause all of its output: `suspendOutput`.
    ///
    /// # Errors
    /// [`Error::MixerDied`], [`Error::Refused`].
    pub fn suspend_output(&self) -> Result<()> {
        self.service.set_suspended(true).map_err(Error::call("suspend output"))
    }

    /// Has the mixer go on: `restoreOutput`.
    ///
    /// # Errors
    /// As [`AudioFlinger::suspend_output`].
    pub fn restore_output(&self) -> Result<()> {
        self.service.set_suspended(false).map_err(Error::call("restore output"))
    }

    /// Frames per second of the mix.
    ///
    /// # Errors
    /// [`Error::MixerDied`], [`Error::Refused`].
    pub fn sample_rate(&self) -> Result<u32> {
        Ok(self.service.output().map_err(Error::call("ask for sample rate"))?.rate)
    }

    /// Frames that are mixed at a time: `frameCount`.
    ///
    /// # Errors
    /// As [`AudioFlinger::sample_rate`].
    pub fn frame_count(&self) -> Result<u32> {
        Ok(self.service.output().map_err(Error::call("ask for frame count"))?.period)
    }

    /// Tracks that the mixer has, of all clients.
    ///
    /// # Errors
    /// As [`AudioFlinger::sample_rate`].
    pub fn tracks(&self) -> Result<u32> {
        Ok(self.service.output().map_err(Error::call("ask for tracks"))?.tracks)
    }
}
