//! What the judge says of itself while it runs: one byte at a time on a pipe, which the launcher passes on to whoever
//! started the daemon.
#![forbid(unsafe_code)]

/// A byte on the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// It serves: after the start, and after a reload with everything taken up.
    Ready,
    /// Its loop still turns.
    Beat,
    /// It has reloaded, and kept the policy in force because the new one has errors.
    Kept,
}

impl Pulse {
    /// The byte.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Beat => 2,
            Self::Kept => 3,
        }
    }

    /// What a byte says; nothing if it is none of these.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ready, Self::Beat, Self::Kept].into_iter().find(|pulse| pulse.to_byte() == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bytes_say_something_and_the_others_nothing() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|byte| Pulse::from_byte(*byte).is_some()).collect();
        assert_eq!(known, [1, 2, 3]);
        assert!(known.iter().all(|byte| Pulse::from_byte(*byte).map(Pulse::to_byte) == Some(*byte)));
    }
}
