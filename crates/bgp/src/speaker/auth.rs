//! How a neighbour's segments are known to be its own.
//!
//! The key is a secret that passes through plans, configurations and logs of them on its way to a socket. It is a type
//! of its own, so that none of them can print it: `Debug` and `Display` say that there is one, and no more.

use std::fmt;

/// How long a key may be, in octets: what the kernel takes (TCP_MD5SIG_MAXKEYLEN).
pub const MAX_KEY_LEN: usize = 80;

/// How a neighbour's segments are known to be its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By its address only.
    #[default]
    None,
    /// By a digest with this key in each segment (RFC 2385).
    Md5(Md5Key),
}

/// A key of RFC 2385: from one to [`MAX_KEY_LEN`] octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Box<[u8]>);

/// Why octets are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An empty key would protect nothing.
    #[error("the key is empty")]
    Empty,
    /// The kernel takes no such key.
    #[error("the key is {0} octets long, and TCP MD5 takes at most {MAX_KEY_LEN}")]
    TooLong(usize),
}

impl Md5Key {
    /// A key of these octets, as they are.
    ///
    /// # Errors
    /// When there are none or too many.
    pub fn new(octets: &[u8]) -> Result<Self, KeyError> {
        match octets.len() {
            0 => Err(KeyError::Empty),
            1..=MAX_KEY_LEN => Ok(Self(octets.into())),
            len => Err(KeyError::TooLong(len)),
        }
    }

    /// The octets, for the socket and nobody else.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(redacted)")
    }
}

impl fmt::Display for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_from_1_to_80_octets() {
        assert_eq!(Md5Key::new(b""), Err(KeyError::Empty));
        assert!(Md5Key::new(b"k").is_ok());
        assert!(Md5Key::new(&[b'k'; MAX_KEY_LEN]).is_ok());
        assert_eq!(Md5Key::new(&[b'k'; MAX_KEY_LEN + 1]), Err(KeyError::TooLong(81)));
    }

    #[test]
    fn a_key_is_never_shown() {
        let auth = Auth::Md5(Md5Key::new(b"hunter2").unwrap());
        let Auth::Md5(key) = &auth else { panic!("a key") };
        for shown in [format!("{auth:?}"), format!("{auth:#?}"), key.to_string()] {
            assert!(shown.contains("redacted"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        }
    }
}
