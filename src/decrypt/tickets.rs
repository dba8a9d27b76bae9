//! Session tickets: what they are made with, so that a client may come back to this process, or to another that has the same keys.
#![forbid(unsafe_code)]

use super::keys::{Named, failure};
use crate::limits::{TICKET_KEYS_MAX, TICKET_LIFETIME_S};
use crate::status::Failure;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::Arc;

/// Octets of one key in a file of them.
const KEY_BYTES: usize = 64;
const NAME_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const TIME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// The field of a ticket counts its octets in sixteen bits (RFC 8446 section 4.6.1, RFC 5077 section 3.3).
const TICKET_BYTES_MAX: usize = u16::MAX as usize;

/// Keeps what is derived from a key here apart from whatever else somebody may derive from it.
const DOMAIN: &[u8] = b"libingest session tickets 1";

/// Seconds since 1970; cores own no clock.
pub type WallClock = fn() -> u64;

/// What tickets are made with. A change of certificates leaves it alone, so that clients may still resume.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With keys that nobody else knows, changed every six hours.
    pub fn of_our_own() -> Result<Tickets, Failure> {
        Ticketer::new().map(Tickets).map_err(|error| failure(format!("cannot make keys for tickets: {error} (try again)")))
    }

    /// With keys that other processes have, too: the first makes tickets, all open them.
    pub fn shared(file: &Named, clock: WallClock) -> Result<Tickets, Failure> {
        let (name, count) = (&file.name, file.octets.len());
        if count == 0 || count % KEY_BYTES != 0 {
            let advice = format!("keys have {KEY_BYTES} octets each, as head -c {KEY_BYTES} /dev/urandom makes one");
            return Err(failure(format!("{name} has {count} octets ({advice})")));
        }
        if count / KEY_BYTES > TICKET_KEYS_MAX {
            return Err(failure(format!("{name} has {} keys, the most is {TICKET_KEYS_MAX} (drop the oldest)", count / KEY_BYTES)));
        }
        let keys = file.octets.chunks_exact(KEY_BYTES).map(SharedKey::new).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or_else(|| failure(format!("{name}: no keys can be derived from it (try again)")))?;
        Ok(Tickets(Arc::new(Shared { keys, clock })))
    }

    /// The same, for tickets that are of use only where clients are verified in this way.
    pub(super) fn bound(&self, policy: Vec<u8>) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound { inner: Arc::clone(&self.0), policy })
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Tickets")
    }
}

/// Keys of a fleet. A ticket is
///
/// | octets | what |
/// |---|---|
/// | 16 | name of the key, derived from it |
/// | 32 | salt, at random for each ticket |
/// | n | sealed with AES-256-GCM: 8 octets with the time it was made at, in seconds since 1970, and the session |
/// | 16 | the tag, which covers name and salt too |
///
/// A key of GCM must not meet the same nonce twice, and 96 bits drawn at random by a fleet under one key meet again after some 2^32 tickets
/// (NIST SP 800-38D section 8.3). So no key of the file ever seals anything: each ticket has a key of its own, derived with HKDF (RFC 5869)
/// from the file's and 256 random bits, which seals once, with a nonce of zeros. Two salts meet after 2^128 tickets. HKDF-Expand is a
/// pseudorandom function of the salt, so the keys are as good as independent ones.
struct Shared {
    keys: Vec<SharedKey>,
    clock: WallClock,
}

struct SharedKey {
    name: [u8; NAME_BYTES],
    root: Prk,
}

/// As many octets as an array has.
struct Octets(usize);

impl KeyType for Octets {
    fn len(&self) -> usize {
        self.0
    }
}

impl SharedKey {
    fn new(octets: &[u8]) -> Option<SharedKey> {
        let root = Salt::new(HKDF_SHA256, DOMAIN).extract(octets);
        let mut name = [0; NAME_BYTES];
        root.expand(&[b"name"], Octets(NAME_BYTES)).ok()?.fill(&mut name).ok()?;
        Some(SharedKey { name, root })
    }

    /// The key of one ticket.
    fn of_ticket(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let derived = self.root.expand(&[b"ticket", salt], &AES_256_GCM).ok().map(UnboundKey::from);
        derived.map(LessSafeKey::new)
    }
}

/// The only one that a ticket's key ever meets.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME_S
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut head = Vec::with_capacity(NAME_BYTES + SALT_BYTES);
        head.extend_from_slice(&key.name);
        head.resize(NAME_BYTES + SALT_BYTES, 0);
        SystemRandom::new().fill(&mut head[NAME_BYTES..]).ok()?;
        let mut sealed = Vec::with_capacity(TIME_BYTES + session.len() + TAG_BYTES);
        sealed.extend_from_slice(&(self.clock)().to_be_bytes());
        sealed.extend_from_slice(session);
        key.of_ticket(&head[NAME_BYTES..])?.seal_in_place_append_tag(nonce(), Aad::from(&head), &mut sealed).ok()?;
        head.append(&mut sealed);
        (head.len() <= TICKET_BYTES_MAX).then_some(head)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(NAME_BYTES + SALT_BYTES)?;
        let (name, salt) = head.split_at_checked(NAME_BYTES)?;
        // A name is no secret, so it may be compared in any time.
        let key = self.keys.iter().find(|key| key.name == name)?;
        let mut opened = sealed.to_vec();
        let plain = key.of_ticket(salt)?.open_in_place(nonce(), Aad::from(head), &mut opened).ok()?;
        let (time, session) = plain.split_first_chunk::<TIME_BYTES>()?;
        // rustls leaves the age to whoever makes tickets: it expects their keys to be forgotten, which nobody may have done with a file.
        let age_s = (self.clock)().saturating_sub(u64::from_be_bytes(*time));
        (age_s <= u64::from(TICKET_LIFETIME_S)).then(|| session.to_vec())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Shared")
    }
}

/// A session that is resumed is not verified again: a ticket says by itself what its client has shown. So one from a listener that asks for no
/// certificates must not open the door of another that has the same keys, nor one that was made while somebody else was trusted. What
/// clients are verified against stands in front of the session, and has to be the same.
struct Bound {
    inner: Arc<dyn ProducesTickets>,
    policy: Vec<u8>,
}

/// What tickets are bound to, made of all that says how clients are verified; of nothing if they are not.
pub(super) fn policy(parts: &[&[u8]]) -> Vec<u8> {
    if parts.is_empty() {
        return vec![0];
    }
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finish();
    // Its length first, so that none is the beginning of another.
    [&[digest.as_ref().len() as u8], digest.as_ref()].concat()
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(&[&self.policy, session].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut session = self.inner.decrypt(ticket)?;
        if !session.starts_with(&self.policy) {
            return None;
        }
        session.drain(..self.policy.len());
        Some(session)
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const NOON: u64 = 1_800_000_000;

    fn noon() -> u64 {
        NOON
    }

    fn file(octets: Vec<u8>) -> Named {
        Named { name: "tls.ticket_keys keys".to_owned(), octets }
    }

    fn keys(first_octets: &[u8]) -> Arc<dyn ProducesTickets> {
        let octets = first_octets.iter().flat_map(|first| [[*first].as_slice(), &[7; KEY_BYTES - 1]].concat()).collect();
        Tickets::shared(&file(octets), noon).unwrap().0
    }

    #[test]
    fn whoever_has_the_key_opens_and_nobody_else() {
        let (old, rotated, other) = (keys(&[1]), keys(&[2, 1]), keys(&[3]));
        let ticket = old.encrypt(b"a session").unwrap();
        assert_eq!(ticket.len(), NAME_BYTES + SALT_BYTES + TIME_BYTES + 9 + TAG_BYTES);
        assert_eq!(rotated.decrypt(&ticket).unwrap(), b"a session");
        assert_eq!(other.decrypt(&ticket), None);
        // The first key of the file makes tickets, which who has not got it yet cannot open.
        let ticket = rotated.encrypt(b"a session").unwrap();
        assert_eq!(old.decrypt(&ticket), None);
        assert_eq!(keys(&[3, 2]).decrypt(&ticket).unwrap(), b"a session");
    }

    #[test]
    fn no_two_tickets_have_the_same_salt_and_every_octet_counts() {
        let shared = keys(&[1]);
        let (one, two) = (shared.encrypt(b"a session").unwrap(), shared.encrypt(b"a session").unwrap());
        assert_eq!(one[..NAME_BYTES], two[..NAME_BYTES]);
        let salt = NAME_BYTES..NAME_BYTES + SALT_BYTES;
        assert!(one[salt.clone()] != two[salt.clone()] && one[salt.end..] != two[salt.end..]);
        for place in 0..one.len() {
            let mut changed = one.clone();
            changed[place] ^= 1;
            assert_eq!(shared.decrypt(&changed), None, "octet {place}");
            assert_eq!(shared.decrypt(&one[..place]), None, "cut to {place}");
        }
        assert_eq!(shared.decrypt(&[one.as_slice(), b"x"].concat()), None);
        assert_eq!(shared.decrypt(&one).unwrap(), b"a session");
    }

    #[test]
    fn a_ticket_that_is_too_old_opens_nothing() {
        static NOW: AtomicU64 = AtomicU64::new(NOON);
        let shared = Tickets::shared(&file(vec![5; KEY_BYTES]), || NOW.load(Ordering::Relaxed)).unwrap().0;
        let ticket = shared.encrypt(b"a session").unwrap();
        let lifetime = u64::from(shared.lifetime());
        assert_eq!(lifetime, 12 * 60 * 60);
        // Clocks of a fleet differ, so one that comes from the future is as new as can be.
        for (now, opens) in [(NOON, true), (NOON - 100, true), (NOON + lifetime, true), (NOON + lifetime + 1, false), (u64::MAX, false)] {
            NOW.store(now, Ordering::Relaxed);
            assert_eq!(shared.decrypt(&ticket).is_some(), opens, "{now}");
        }
    }

    #[test]
    fn a_ticket_is_good_only_where_clients_are_verified_alike() {
        let shared = Tickets::shared(&file(vec![5; KEY_BYTES]), noon).unwrap();
        let policies = [policy(&[]), policy(&[b"one", b"optional"]), policy(&[b"one", b"required"]), policy(&[b"two", b"required"])];
        for given in [shared, Tickets::of_our_own().unwrap()] {
            let all: Vec<_> = policies.iter().map(|policy| given.bound(policy.clone())).collect();
            for (at, maker) in all.iter().enumerate() {
                let ticket = maker.encrypt(b"a session").unwrap();
                for (other, opener) in all.iter().enumerate() {
                    assert_eq!(opener.decrypt(&ticket), (at == other).then(|| b"a session".to_vec()), "{at} {other}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused() {
        for (octets, part) in [(0, "has 0 octets"), (1, "has 1 octets"), (63, "has 63"), (65, "has 65"), (64 * 65, "has 65 keys")] {
            let failure = Tickets::shared(&file(vec![0; octets]), noon).unwrap_err();
            assert!(failure.text.starts_with("tls.ticket_keys keys ") && failure.text.contains(part), "{}", failure.text);
        }
        assert!(Tickets::shared(&file(vec![0; 64 * 64]), noon).is_ok());
        let long = keys(&[1]);
        assert_eq!(long.encrypt(&vec![0; TICKET_BYTES_MAX]), None, "no ticket is that long");
    }
}
