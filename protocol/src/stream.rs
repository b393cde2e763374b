//! The stream of one piece of work: from the client by way of the relay to the sandbox's init, and back.
//!
//! Both legs speak the same frames: one byte of kind, a big-endian `u32` length, that many bytes. The daemon is not
//! on this way.
#![forbid(unsafe_code)]

/// The most payload bytes in one frame.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Kind and length.
pub const HEADER: usize = 5;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// To the sandbox, first and once: the canonical bytes of the action that was granted.
    Order = 0,
    /// To the sandbox: standard input.
    Stdin = 1,
    /// To the sandbox: end of standard input. Empty.
    StdinEnd = 2,
    /// To the sandbox: a signal's number, one byte.
    Signal = 3,
    /// To the sandbox: a terminal's size, a [`WindowSize`], four bytes.
    Resize = 4,
    /// From relay to init only, before the order: the list of system calls that the command is to be left with, as the kernel
    /// takes it (seccomp(2)).
    Filter = 5,
    /// From the sandbox: standard output.
    Stdout = 16,
    /// From the sandbox: standard error.
    Stderr = 17,
    /// From the sandbox, last and once: an [`Exit`], five bytes.
    Exit = 18,
    /// From init on its first stream only: the start gate's findings.
    Gate = 19,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Order,
        Self::Stdin,
        Self::StdinEnd,
        Self::Signal,
        Self::Resize,
        Self::Filter,
        Self::Stdout,
        Self::Stderr,
        Self::Exit,
        Self::Gate,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A header no frame may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of this stream")]
pub struct BadFrame;

/// Reads a header; the length is checked before anything is allocated for it.
pub fn parse_header(header: [u8; HEADER]) -> Result<(Kind, usize), BadFrame> {
    let [kind, length @ ..] = header;
    let kind = Kind::from_byte(kind).ok_or(BadFrame)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| BadFrame)?;
    if length > MAX_PAYLOAD { Err(BadFrame) } else { Ok((kind, length)) }
}

/// A header for `payload`, which must not be longer than [`MAX_PAYLOAD`].
pub fn header(kind: Kind, payload: &[u8]) -> Result<[u8; HEADER], BadFrame> {
    let length =
        u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD).ok_or(BadFrame)?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([kind as u8, a, b, c, d])
}

/// How large a terminal is. Neither side is 0 or more than [`WindowSize::MOST`], wherever one came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowSize {
    columns: u16,
    rows: u16,
}

impl WindowSize {
    /// The most columns, and the most rows.
    pub const MOST: u16 = 1000;

    /// Of a terminal that does not say.
    pub const USUAL: Self = Self { columns: 80, rows: 24 };

    /// `None` past the bounds.
    pub fn new(columns: u16, rows: u16) -> Option<Self> {
        let fits = |side| (1..=Self::MOST).contains(&side);
        (fits(columns) && fits(rows)).then_some(Self { columns, rows })
    }

    /// From left to right.
    pub fn columns(self) -> u16 {
        self.columns
    }

    /// From top to bottom.
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// The four bytes of a [`Kind::Resize`] frame.
    pub fn to_bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.columns.to_be_bytes(), self.rows.to_be_bytes());
        [a, b, c, d]
    }

    /// Reads the payload of a [`Kind::Resize`] frame.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadFrame> {
        let [a, b, c, d] = <[u8; 4]>::try_from(bytes).map_err(|_| BadFrame)?;
        Self::new(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).ok_or(BadFrame)
    }
}

/// How a piece of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this status.
    Status(u8),
    /// By this signal.
    Signal(u8),
    /// It did not start: this errno.
    NotStarted(i32),
    /// It took longer than its time.
    Timeout,
    /// It wrote more than its limit.
    OutputLimit,
    /// What the client sent is not what was granted.
    Mismatch,
    /// The sandbox ended under it.
    SandboxGone,
    /// The sandbox reached its memory limit, and the kernel ended this or the whole sandbox for it.
    MemoryLimit,
    /// The sandbox ended under it when it could have no more processes.
    ProcessLimit,
}

impl Exit {
    /// The five bytes of an [`Kind::Exit`] frame.
    pub fn to_bytes(self) -> [u8; 5] {
        let (kind, code) = match self {
            Self::Status(code) => (0, i32::from(code)),
            Self::Signal(signal) => (1, i32::from(signal)),
            Self::NotStarted(errno) => (2, errno),
            Self::Timeout => (3, 0),
            Self::OutputLimit => (4, 0),
            Self::Mismatch => (5, 0),
            Self::SandboxGone => (6, 0),
            Self::MemoryLimit => (7, 0),
            Self::ProcessLimit => (8, 0),
        };
        let [a, b, c, d] = code.to_be_bytes();
        [kind, a, b, c, d]
    }

    /// Reads the payload of an [`Kind::Exit`] frame.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadFrame> {
        let [kind, code @ ..] = <[u8; 5]>::try_from(bytes).map_err(|_| BadFrame)?;
        let code = i32::from_be_bytes(code);
        let byte = u8::try_from(code).map_err(|_| BadFrame);
        match (kind, code) {
            (0, _) => byte.map(Self::Status),
            (1, _) => byte.and_then(|signal| {
                if (1..=64).contains(&signal) { Ok(Self::Signal(signal)) } else { Err(BadFrame) }
            }),
            (2, 1..=4095) => Ok(Self::NotStarted(code)),
            (3, 0) => Ok(Self::Timeout),
            (4, 0) => Ok(Self::OutputLimit),
            (5, 0) => Ok(Self::Mismatch),
            (6, 0) => Ok(Self::SandboxGone),
            (7, 0) => Ok(Self::MemoryLimit),
            (8, 0) => Ok(Self::ProcessLimit),
            _ => Err(BadFrame),
        }
    }

    /// The status a shell would report, with 124 for a time limit as in timeout(1), and 71 of sysexits(3) where no process can be
    /// made.
    pub fn shell_status(self) -> u8 {
        match self {
            Self::Status(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
            Self::NotStarted(2) => 127,
            Self::NotStarted(_) => 126,
            Self::Timeout => 124,
            Self::OutputLimit => 125,
            Self::MemoryLimit => 137,
            Self::ProcessLimit => 71,
            Self::Mismatch | Self::SandboxGone => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exit_codes_out_of_range_are_no_exits() {
        assert_eq!(Exit::from_bytes(&[0, 0, 0, 1, 0]), Err(BadFrame));
        assert_eq!(Exit::from_bytes(&[1, 0, 0, 0, 65]), Err(BadFrame));
        assert_eq!(Exit::from_bytes(&[9, 0, 0, 0, 0]), Err(BadFrame));
        assert_eq!(Exit::from_bytes(&[7, 0, 0, 0, 1]), Err(BadFrame));
        assert_eq!(Exit::from_bytes(&[0, 0, 0, 0]), Err(BadFrame));
    }

    #[test]
    fn a_length_over_the_maximum_is_refused() {
        assert_eq!(parse_header([1, 0, 1, 0, 1]), Err(BadFrame));
        assert_eq!(parse_header([1, 0, 1, 0, 0]), Ok((Kind::Stdin, MAX_PAYLOAD)));
        assert_eq!(parse_header([9, 0, 0, 0, 0]), Err(BadFrame));
    }

    #[test]
    fn a_size_out_of_bounds_is_none() {
        for bytes in [[0, 0, 0, 24], [0, 80, 0, 0], [0x03, 0xe9, 0, 24], [0, 80, 0x03, 0xe9], [0xff; 4]] {
            assert_eq!(WindowSize::from_bytes(&bytes), Err(BadFrame), "{bytes:?}");
        }
        assert_eq!(WindowSize::from_bytes(&[0, 80, 0, 24, 0]), Err(BadFrame));
        let largest = WindowSize::from_bytes(&[0x03, 0xe8, 0x03, 0xe8]).unwrap();
        assert_eq!((largest.columns(), largest.rows()), (1000, 1000));
        assert_eq!(WindowSize::new(80, 24).unwrap().to_bytes(), [0, 80, 0, 24]);
    }

    proptest! {
        #[test]
        fn any_four_bytes_are_a_size_exactly_or_not(bytes in any::<[u8; 4]>()) {
            if let Ok(size) = WindowSize::from_bytes(&bytes) {
                prop_assert_eq!(size.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_five_bytes_are_an_exit_exactly_or_not(bytes in any::<[u8; 5]>()) {
            if let Ok(exit) = Exit::from_bytes(&bytes) {
                prop_assert_eq!(exit.to_bytes(), bytes);
            }
        }
    }
}
