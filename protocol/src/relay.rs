//! What the judge and a relay say to each other: two fixed-size records and nothing else.
//!
//! A relay has talked to a sandbox, so whatever it says is read without any parsing: fixed fields at fixed places,
//! every value checked.
#![forbid(unsafe_code)]

use crate::Digest;
use crate::stream::{BadFrame, Exit};

/// The judge to the relay: this work may run, on the descriptors that come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The number of this work in its sandbox.
    pub work: u64,
    /// The digest of the action; the relay refuses any other on the stream.
    pub action: Digest,
    /// Its time, in seconds.
    pub seconds: u32,
    /// The bytes it may write to standard output and standard error together.
    pub output: u64,
    /// Whether a list of system calls comes along for it, as the second descriptor.
    pub filtered: bool,
}

/// Bytes of a [`Grant`].
pub const GRANT: usize = 8 + 32 + 4 + 8 + 1;

impl Grant {
    /// The fixed-size form.
    pub fn to_bytes(self) -> [u8; GRANT] {
        let mut bytes = [0; GRANT];
        let mut fields = Writer(&mut bytes);
        fields.put(&self.work.to_be_bytes());
        fields.put(&self.action.0);
        fields.put(&self.seconds.to_be_bytes());
        fields.put(&self.output.to_be_bytes());
        fields.put(&[u8::from(self.filtered)]);
        bytes
    }

    /// Reads the fixed-size form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadFrame> {
        let bytes: &[u8; GRANT] = bytes.try_into().map_err(|_| BadFrame)?;
        let mut fields = Reader(bytes);
        Ok(Self {
            work: u64::from_be_bytes(fields.take()?),
            action: Digest(fields.take()?),
            seconds: u32::from_be_bytes(fields.take()?),
            output: u64::from_be_bytes(fields.take()?),
            filtered: match fields.take()? {
                [0] => false,
                [1] => true,
                [_] => return Err(BadFrame),
            },
        })
    }
}

/// What the start gate found from inside the sandbox, one bit a finding; set is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate(pub u32);

impl Gate {
    /// The kernel inside is gVisor's.
    pub const GVISOR: u32 = 1 << 0;
    /// No uid or gid of the sandbox is the host's root.
    pub const IDS: u32 = 1 << 1;
    /// No network device but loopback.
    pub const NO_NETWORK: u32 = 1 << 2;
    /// The root filesystem is the one that was asked for, and cannot be written.
    pub const ROOT_READ_ONLY: u32 = 1 << 3;
    /// Nothing of the host but `/usr` and the workspace is mounted.
    pub const MOUNTS: u32 = 1 << 4;
    /// Init is alone: process 1, nobody else's processes in sight.
    pub const ALONE: u32 = 1 << 5;
    /// Capabilities are at most what init needs.
    pub const CAPABILITIES: u32 = 1 << 6;
    /// System calls that have no use here fail.
    pub const SECCOMP: u32 = 1 << 7;
    /// No block device, no raw memory, no KVM.
    pub const DEVICES: u32 = 1 << 8;
    /// Each workload is put into a Landlock domain, and a domain holds.
    pub const LANDLOCK: u32 = 1 << 9;

    /// Every finding with its name, for people.
    pub const NAMES: [(u32, &'static str); 10] = [
        (Self::GVISOR, "gvisor-kernel"),
        (Self::IDS, "id-map"),
        (Self::NO_NETWORK, "no-network"),
        (Self::ROOT_READ_ONLY, "read-only-root"),
        (Self::MOUNTS, "mounts"),
        (Self::ALONE, "own-processes"),
        (Self::CAPABILITIES, "capabilities"),
        (Self::SECCOMP, "seccomp"),
        (Self::DEVICES, "devices"),
        (Self::LANDLOCK, "landlock"),
    ];

    /// The names of what is wanted and was not found.
    pub fn lacking(self, wanted: u32) -> Vec<&'static str> {
        let lacks = |bit: &u32| wanted & bit != 0 && self.0 & bit == 0;
        Self::NAMES.iter().filter(|(bit, _)| lacks(bit)).map(|(_, name)| *name).collect()
    }

    /// All findings that have a name.
    pub fn all() -> u32 {
        Self::NAMES.iter().fold(0, |all, (bit, _)| all | bit)
    }
}

/// The relay to the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The sandbox answered, and this is what the start gate found.
    Gate(Gate),
    /// A piece of work ended.
    Ended {
        /// Its number.
        work: u64,
        /// How.
        exit: Exit,
        /// Bytes of standard input it was given.
        input: u64,
        /// Bytes of output it gave.
        output: u64,
        /// BLAKE3 over standard output and standard error in the order they came.
        digest: Digest,
    },
}

/// Bytes of a [`Record`].
pub const RECORD: usize = 1 + 8 + 5 + 8 + 8 + 32;

impl Record {
    /// The fixed-size form.
    pub fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let mut fields = Writer(&mut bytes);
        match self {
            Self::Gate(gate) => {
                fields.put(&[0]);
                fields.put(&u64::from(gate.0).to_be_bytes());
            }
            Self::Ended { work, exit, input, output, digest } => {
                fields.put(&[1]);
                fields.put(&work.to_be_bytes());
                fields.put(&exit.to_bytes());
                fields.put(&input.to_be_bytes());
                fields.put(&output.to_be_bytes());
                fields.put(&digest.0);
            }
        }
        bytes
    }

    /// Reads the fixed-size form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadFrame> {
        let bytes: &[u8; RECORD] = bytes.try_into().map_err(|_| BadFrame)?;
        let mut fields = Reader(bytes);
        let [kind] = fields.take()?;
        let number = u64::from_be_bytes(fields.take()?);
        match kind {
            0 if fields.0.iter().all(|byte| *byte == 0) => {
                u32::try_from(number).map(|bits| Self::Gate(Gate(bits))).map_err(|_| BadFrame)
            }
            1 => Ok(Self::Ended {
                work: number,
                exit: Exit::from_bytes(&fields.take::<5>()?)?,
                input: u64::from_be_bytes(fields.take()?),
                output: u64::from_be_bytes(fields.take()?),
                digest: Digest(fields.take()?),
            }),
            _ => Err(BadFrame),
        }
    }
}

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, field: &[u8]) {
        let rest = std::mem::take(&mut self.0);
        if let Some((here, rest)) = rest.split_at_mut_checked(field.len()) {
            here.copy_from_slice(field);
            self.0 = rest;
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(BadFrame)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in [
            Record::Gate(Gate(5)),
            Record::Ended {
                work: 9,
                exit: Exit::Signal(9),
                input: 1,
                output: u64::MAX,
                digest: Digest([3; 32]),
            },
        ] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }
        for filtered in [false, true] {
            let grant = Grant { work: 1, action: Digest([4; 32]), seconds: 20, output: 1 << 20, filtered };
            assert_eq!(Grant::from_bytes(&grant.to_bytes()), Ok(grant));
        }
        assert_eq!(Grant::from_bytes(&[2; GRANT]), Err(BadFrame));
    }

    #[test]
    fn a_missing_finding_is_named() {
        assert_eq!(Gate(Gate::all() & !Gate::IDS).lacking(Gate::all()), ["id-map"]);
        assert!(Gate(Gate::all()).lacking(Gate::all()).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_exactly_or_not(bytes in prop::collection::vec(any::<u8>(), RECORD)) {
            if let Ok(record) = Record::from_bytes(&bytes) {
                prop_assert_eq!(record.to_bytes().to_vec(), bytes);
            }
        }
    }
}
