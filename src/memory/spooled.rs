//! A body that lies in a file, and the account of all such files of a server: what `spool_max` bounds.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all files of a server hold together.
#[derive(Debug, Default)]
pub struct Account {
    most: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Account {
    pub fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Octets in files now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that there are now.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Takes so many octets, if they are left.
    fn draw(&self, octets: u64) -> bool {
        let most = self.most();
        let next = |bytes: u64| bytes.checked_add(octets).filter(|sum| *sum <= most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// See the file's first line. The file has no name: it is gone with its last descriptor, ours or one that the host has made of it.
#[derive(Debug)]
pub struct Spooled {
    file: OwnedFd,
    /// Octets that were drawn from the account, of which so many are written.
    drawn: u64,
    length: u64,
    account: Arc<Account>,
}

impl Spooled {
    pub fn new(file: OwnedFd, account: &Arc<Account>) -> Self {
        account.files.fetch_add(1, Ordering::Relaxed);
        Spooled { file, drawn: 0, length: 0, account: Arc::clone(account) }
    }

    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// How many octets are in it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Sets room aside for so many more octets. False when the account has none.
    pub fn draw(&mut self, octets: u64) -> bool {
        let is_there = self.account.draw(octets);
        self.drawn += if is_there { octets } else { 0 };
        is_there
    }

    /// So many octets more are in it.
    pub fn grew(&mut self, octets: u64) {
        self.length += octets;
        debug_assert!(self.length <= self.drawn);
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.drawn, Ordering::Relaxed);
        self.account.files.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(account: &Arc<Account>) -> Spooled {
        let null = std::fs::File::open("/dev/null").expect("it is there");
        Spooled::new(null.into(), account)
    }

    #[test]
    fn files_share_one_bound_and_give_back_what_they_had() {
        let account = Arc::new(Account::default());
        account.set_most(100);
        let (mut first, mut second) = (file(&account), file(&account));
        assert!(first.draw(60) && !second.draw(41) && second.draw(40));
        first.grew(60);
        assert_eq!((account.bytes(), account.files(), first.length(), second.length()), (100, 2, 60, 0));
        assert!(!first.draw(1) && first.draw(0));
        drop(second);
        assert!(first.draw(40) && !first.draw(u64::MAX));
        drop(first);
        assert_eq!((account.bytes(), account.files()), (0, 0));
    }
}
