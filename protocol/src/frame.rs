//! Frames on the daemon's socket: a length, then that many bytes.
#![forbid(unsafe_code)]

/// The largest frame body, in bytes. Larger inputs travel as sealed memory files.
pub const MAX_FRAME: usize = 64 * 1024;

/// The bytes before each frame: its length as a big-endian `u32`.
pub const HEADER: usize = 4;

/// The most descriptors that may come with one frame: a stream and three sealed inputs.
pub const MAX_DESCRIPTORS: usize = 4;

/// A length that no frame may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes; frames have 1 to {MAX_FRAME}")]
pub struct FrameLength(pub u32);

/// The body's length that a header announces, checked before anything is allocated for it.
pub fn length(header: [u8; HEADER]) -> Result<usize, FrameLength> {
    let claimed = u32::from_be_bytes(header);
    match usize::try_from(claimed) {
        Ok(length) if (1..=MAX_FRAME).contains(&length) => Ok(length),
        Ok(_) | Err(_) => Err(FrameLength(claimed)),
    }
}

/// `body` with its header; `None` if no frame can hold it.
pub fn wrap(body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok().filter(|_| (1..=MAX_FRAME).contains(&body.len()))?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_from_one_to_the_maximum_are_frames() {
        assert_eq!(length([0, 0, 0, 1]), Ok(1));
        assert_eq!(length([0, 1, 0, 0]), Ok(MAX_FRAME));
        assert_eq!(length([0, 0, 0, 0]), Err(FrameLength(0)));
        assert_eq!(length([0, 1, 0, 1]), Err(FrameLength(65537)));
        assert_eq!(length([0xff; 4]), Err(FrameLength(u32::MAX)));
    }

    #[test]
    fn a_wrapped_body_starts_with_its_length() {
        assert_eq!(wrap(b"abc").unwrap(), b"\0\0\0\x03abc");
        assert!(wrap(b"").is_none());
        assert!(wrap(&vec![0; MAX_FRAME + 1]).is_none());
    }
}
