//! Step three, decrypt: `open` makes plain octets of what was read. A plain session is the identity; TLS is behind `Secure`.
#![forbid(unsafe_code)]

pub mod certificate;
mod dates;
pub mod keys;
pub mod session;
mod staple;
pub mod tickets;

pub use keys::Keys;
pub use session::{Opened, Secure};

use crate::memory::secured::TlsView;

/// How the octets of a connection are protected.
#[derive(Debug)]
pub enum Session {
    /// Not at all.
    Plain,
    /// By TLS. Boxed, since most of what it needs is not looked at while a request is parsed.
    Tls(Box<Secure>),
}

impl Session {
    /// Whether requests of this session came over TLS.
    #[inline]
    pub fn is_secure(&self) -> bool {
        matches!(self, Session::Tls(_))
    }

    /// The scheme of the requests.
    pub fn scheme(&self) -> &'static [u8] {
        match self {
            Session::Plain => b"http",
            Session::Tls(_) => b"https",
        }
    }

    /// The session of TLS, if there is one.
    #[inline]
    pub fn secure(&mut self) -> Option<&mut Secure> {
        match self {
            Session::Plain => None,
            Session::Tls(secure) => Some(secure),
        }
    }

    /// Octets of the session's own wait to be sent: of a handshake, or an alert.
    #[inline]
    pub fn has_pending(&self) -> bool {
        matches!(self, Session::Tls(secure) if secure.has_pending())
    }

    /// Octets that were received and are not a whole record yet.
    #[inline]
    pub fn carried(&self) -> usize {
        match self {
            Session::Plain => 0,
            Session::Tls(secure) => secure.carried(),
        }
    }

    /// When the handshake that is under way has to be complete; `None` when none is.
    #[inline]
    pub fn handshake_until_ms(&self) -> Option<u64> {
        match self {
            Session::Plain => None,
            Session::Tls(secure) => secure.handshake_until_ms(),
        }
    }

    /// What the handshake took, waits included; zero when there was none.
    pub fn handshake_ns(&self) -> u64 {
        match self {
            Session::Plain => 0,
            Session::Tls(secure) => secure.handshake_ns(),
        }
    }

    /// What was negotiated; `None` for a plain session.
    #[inline]
    pub fn view(&self) -> Option<TlsView<'_>> {
        match self {
            Session::Plain => None,
            Session::Tls(secure) => Some(secure.view()),
        }
    }
}
