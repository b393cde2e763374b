//! The one place that knows the encoding: bincode 2, bounded, canonical.
//!
//! bincode accepts trailing bytes and integers that are longer than they need to be, and a recursive type overflows
//! its stack. So: no type in this crate is recursive or zero-sized, a limit stands before any allocation, every byte
//! must be consumed, and what was decoded must encode to the same bytes. Two different byte strings therefore never
//! mean the same thing, which is what makes a digest of the encoding a digest of the meaning.
#![forbid(unsafe_code)]

use bincode::config::{BigEndian, Configuration, Limit, Varint};
use bincode::{Decode, Encode};

/// The most bytes one encoded value may have; equal to the largest frame.
pub const MAX_ENCODED: usize = 64 * 1024;

const CONFIG: Configuration<BigEndian, Varint, Limit<MAX_ENCODED>> =
    bincode::config::standard().with_big_endian().with_limit::<MAX_ENCODED>();

/// Bytes that are not the canonical encoding of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_ENCODED`].
    #[error("longer than {MAX_ENCODED} bytes")]
    TooLong,
    /// Not an encoding of the type at all.
    #[error("not a message of the expected kind")]
    Malformed,
    /// A value, followed by bytes that belong to nothing.
    #[error("bytes after the end of the message")]
    Trailing,
    /// A value written in another way than the canonical one.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// The canonical bytes of `value`; `None` if they would exceed [`MAX_ENCODED`].
pub fn encode<T: Encode>(value: &T) -> Option<Vec<u8>> {
    bincode::encode_to_vec(value, CONFIG).ok().filter(|bytes| bytes.len() <= MAX_ENCODED)
}

/// Reads one value that takes up all of `bytes` and is written canonically.
pub fn decode<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_ENCODED {
        return Err(DecodeError::TooLong);
    }
    let (value, used) =
        bincode::decode_from_slice::<T, _>(bytes, CONFIG).map_err(|_| DecodeError::Malformed)?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing);
    }
    match encode(&value) {
        Some(again) if again == bytes => Ok(value),
        Some(_) | None => Err(DecodeError::NotCanonical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<String>(&[1, b'a', 0]), Err(DecodeError::Trailing));
    }

    /// The varint of bincode's specification allows 7 to be written as 0xfb 0x00 0x07.
    #[test]
    fn a_longer_way_to_write_a_number_is_refused() {
        assert_eq!(decode::<u32>(&[7]), Ok(7));
        assert_eq!(decode::<u32>(&[0xfb, 0, 7]), Err(DecodeError::NotCanonical));
    }

    #[test]
    fn a_length_that_claims_more_than_the_limit_is_refused_before_allocation() {
        let mut bytes = vec![0xfd];
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(decode::<Vec<u8>>(&bytes), Err(DecodeError::Malformed));
    }

    #[test]
    fn what_is_too_long_is_not_encoded() {
        assert_eq!(encode(&vec![0u8; MAX_ENCODED]), None);
        assert_eq!(decode::<u8>(&vec![0; MAX_ENCODED + 1]), Err(DecodeError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_decode_canonically_or_not_at_all(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            if let Ok(request) = decode::<crate::message::Request>(&bytes) {
                proptest::prop_assert_eq!(encode(&request).unwrap(), bytes);
            }
        }
    }
}
