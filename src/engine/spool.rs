//! Where bodies go that are too large for memory: files without a name, in a folder or in memory, bounded together by `spool_max`.
#![forbid(unsafe_code)]

use super::sys;
use crate::memory::spooled::{Account, Spooled};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The word that the option `spool_dir` has for files in memory.
pub const IN_MEMORY: &str = "memory";

/// See the file's first line. One for a server; its threads share it.
#[derive(Debug, Default)]
pub struct Spool {
    place: OnceLock<Place>,
    account: Arc<Account>,
    /// Bodies that were begun here, those that found no room or descriptor, and those that could not be stored.
    bodies: AtomicU64,
    met: AtomicU64,
    failures: AtomicU64,
    /// What the system said when it failed last; zero once that was told.
    errno: AtomicI32,
}

#[derive(Debug)]
struct Place {
    /// None for files in memory.
    folder: Option<OwnedFd>,
    floor: RawFd,
}

/// Why octets cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// `spool_max` is reached.
    Full,
    /// There is no descriptor left.
    Scarce,
    /// The file system refused: no space, a quota, a limit on files, a broken disk, a folder that is gone.
    Storage,
}

impl Place {
    fn file(&self) -> io::Result<OwnedFd> {
        match &self.folder {
            Some(folder) => sys::spool::nameless(folder, self.floor),
            None => sys::spool::in_memory(self.floor),
        }
    }
}

impl Spool {
    /// Finds the place, and tries whether a file can be made and written to there. A second call changes nothing.
    pub fn open(&self, place: &str, floor: RawFd) -> io::Result<()> {
        if self.place.get().is_some() {
            return Ok(());
        }
        let folder = if place == IN_MEMORY { None } else { Some(sys::raise(sys::spool::folder(place)?, floor)?) };
        let place = Place { folder, floor };
        sys::spool::write_at(&place.file()?, b"?", 0)?;
        // Whoever was first has opened the same.
        let _ = self.place.set(place);
        Ok(())
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A new file, for a body of which so many octets are announced. They are not set aside, so that a length that is a lie costs nothing.
    pub fn begin(&self, announced: u64) -> Result<Spooled, Trouble> {
        if self.account.bytes().saturating_add(announced) > self.account.most() {
            return Err(self.full());
        }
        let file = self.place.get().map_or_else(|| Err(io::ErrorKind::NotFound.into()), Place::file);
        let file = file.map_err(|error| self.failed(&error))?;
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Ok(Spooled::new(file, &self.account))
    }

    /// Writes octets behind those that are there. After an error the file is of no use.
    pub fn append(&self, spooled: &mut Spooled, mut octets: &[u8]) -> Result<(), Trouble> {
        if !spooled.draw(octets.len() as u64) {
            return Err(self.full());
        }
        while !octets.is_empty() {
            match sys::spool::write_at(spooled.file(), octets, spooled.length()) {
                Ok(0) => return Err(self.failed(&io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    spooled.grew(count as u64);
                    octets = &octets[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    fn full(&self) -> Trouble {
        self.met.fetch_add(1, Ordering::Relaxed);
        Trouble::Full
    }

    fn failed(&self, error: &io::Error) -> Trouble {
        self.errno.store(error.raw_os_error().unwrap_or(-1), Ordering::Relaxed);
        if sys::spool::is_scarcity(error) {
            self.met.fetch_add(1, Ordering::Relaxed);
            return Trouble::Scarce;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        Trouble::Storage
    }

    /// What the system said last, for the log; once.
    pub fn take_error(&self) -> Option<io::Error> {
        if self.errno.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.errno.swap(0, Ordering::Relaxed) {
            0 => None,
            errno => Some(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Bodies that were begun in files, those that found no room within `spool_max` or no descriptor, and those that failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.bodies), count(&self.met), count(&self.failures))
    }
}
