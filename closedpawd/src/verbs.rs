//! What the judge may tell the launcher: six verbs of one fixed size, and an answer of another.
//!
//! This is the whole of what root reads from anybody. A verb carries numbers and a random name; descriptors come
//! along and are only ever looked at with `fstat` and handed on.
#![forbid(unsafe_code)]

use closedpaw_confine::list::CallSet;
use closedpaw_protocol::image::Sha256;
use closedpaw_protocol::{Devices, ErrorCode, SandboxId, Tier};

/// The limits of a sandbox, in numbers. The launcher checks them against its own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of memory; 0 for none.
    pub memory: u64,
    /// Processes; 0 for none.
    pub pids: u32,
    /// Thousandths of a processor; 0 for none.
    pub cpu: u32,
    /// Bytes of the sandbox's `/tmp`.
    pub tmp: u64,
    /// Open files of one process.
    pub files: u32,
    /// Bytes a second from each disk, and as many to it; 0 for none.
    pub io: u64,
}

/// One of the two places for the saved state of a session's sandbox: one holds what was saved last while the other is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Saved {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The number of the signal that has it written; no signal of the system's has it.
    pub fn signal(self) -> u8 {
        match self {
            Self::First => 128,
            Self::Second => 129,
        }
    }

    /// The place that such a signal is for.
    pub fn of_signal(signal: u8) -> Option<Self> {
        [Self::First, Self::Second].into_iter().find(|place| place.signal() == signal)
    }
}

/// One order to the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start the runtime on what was mounted, for this user.
    Start {
        /// Whose the workload is.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Within what.
        limits: Limits,
        /// Whether there is a workspace; it must have been mounted before.
        workspace: bool,
        /// In what.
        tier: Tier,
        /// The sandbox on whose layer it works, where it has none of its own. None is called zero.
        of: Option<SandboxId>,
        /// Which of the states that were saved of that sandbox's session it goes on with, if with any.
        from: Option<Saved>,
        /// On what: an image, or nothing for the host's `/usr`. No image has a digest of zeros.
        image: Option<Sha256>,
        /// With which devices of the host's.
        devices: Devices,
        /// Whether it may not start where a disk that it reads from cannot be limited.
        strict_io: bool,
        /// The system calls that its profile leaves to commands, where it has a list; none of its calls makes none.
        calls: Option<CallSet>,
    },
    /// Signal the sandbox as a whole: SIGKILL, SIGSTOP or SIGCONT, or one of [`Saved`]: to save its state.
    Signal {
        /// Which.
        signal: u8,
    },
    /// Take the sandbox down: its processes, its folder, its place. What it wrote stays with whoever has the merged folder.
    Remove,
    /// Put a private layer over the folder whose descriptor comes along, which must be this user's.
    Mount {
        /// Whose.
        uid: u32,
        /// How many bytes the layer may hold.
        bytes: u64,
    },
    /// Let the layer go, and what the judge remembers of the session, whether there still is the sandbox or not.
    Unmount,
    /// Start the relay; the answer brings the judge's end of its control socket, and [`MEMORY`] bytes of memory.
    Relay,
}

/// Bytes of an order: verb, name, and room for the widest verb's numbers.
pub const ORDER: usize = 192;

/// Bytes of an answer: name, verb, error code or 0.
pub const ANSWER: usize = 32;

/// Bytes of the memory that comes with a relay, in which the judge keeps what it has to know of a session after a restart.
pub const MEMORY: u64 = 2 * HALF + 2;

/// Bytes of each half of it: one holds what was written last while the other is being written.
pub const HALF: u64 = 64 * 1024;

/// An order that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the six verbs")]
pub struct BadVerb;

impl Verb {
    fn number(self) -> u8 {
        match self {
            Self::Start { .. } => 1,
            Self::Signal { .. } => 2,
            Self::Remove => 3,
            Self::Mount { .. } => 4,
            Self::Unmount => 5,
            Self::Relay => 6,
        }
    }

    /// The fixed-size form of this verb for a sandbox.
    pub fn to_bytes(self, sandbox: SandboxId) -> [u8; ORDER] {
        let mut bytes = [0; ORDER];
        let mut rest = bytes.as_mut_slice();
        let mut put = |field: &[u8]| {
            if let Some((here, after)) = std::mem::take(&mut rest).split_at_mut_checked(field.len()) {
                here.copy_from_slice(field);
                rest = after;
            }
        };
        put(&[self.number()]);
        put(&sandbox.0);
        match self {
            Self::Start { uid, gid, limits, workspace, tier, of, from, image, devices, strict_io, calls } => {
                put(&uid.to_be_bytes());
                put(&gid.to_be_bytes());
                put(&limits.memory.to_be_bytes());
                put(&limits.pids.to_be_bytes());
                put(&limits.cpu.to_be_bytes());
                put(&limits.tmp.to_be_bytes());
                put(&limits.files.to_be_bytes());
                put(&[u8::from(workspace), tier_number(tier)]);
                put(&of.map_or(NOBODY, |of| of.0));
                put(&[from.map_or(0, Saved::signal)]);
                put(&image.map_or([0; 32], |image| image.0));
                put(&limits.io.to_be_bytes());
                put(&[devices.bits() | if strict_io { STRICT_IO } else { 0 }]);
                put(&calls.unwrap_or(CallSet::NONE).0);
            }
            Self::Signal { signal } => put(&[signal]),
            Self::Mount { uid, bytes } => {
                put(&uid.to_be_bytes());
                put(&bytes.to_be_bytes());
            }
            Self::Remove | Self::Unmount | Self::Relay => {}
        }
        bytes
    }

    /// Reads the fixed-size form. Bytes that the verb does not use must be zero.
    pub fn from_bytes(bytes: &[u8; ORDER]) -> Result<(SandboxId, Self), BadVerb> {
        let mut fields = Fields(bytes);
        let [number] = fields.take()?;
        let sandbox = SandboxId(fields.take()?);
        let verb = match number {
            1 => start(&mut fields)?,
            2 => Self::Signal { signal: u8::from_be_bytes(fields.take()?) },
            3 => Self::Remove,
            4 => Self::Mount {
                uid: u32::from_be_bytes(fields.take()?),
                bytes: u64::from_be_bytes(fields.take()?),
            },
            5 => Self::Unmount,
            6 => Self::Relay,
            _ => return Err(BadVerb),
        };
        if fields.0.iter().all(|byte| *byte == 0) { Ok((sandbox, verb)) } else { Err(BadVerb) }
    }
}

/// The name that stands for no sandbox.
const NOBODY: [u8; 16] = [0; 16];

/// The bit beside those of the devices.
const STRICT_IO: u8 = 1 << 7;

/// The fields of a start, in their order.
fn start(fields: &mut Fields<'_>) -> Result<Verb, BadVerb> {
    let (uid, gid) = (u32::from_be_bytes(fields.take()?), u32::from_be_bytes(fields.take()?));
    let limits = Limits {
        memory: u64::from_be_bytes(fields.take()?),
        pids: u32::from_be_bytes(fields.take()?),
        cpu: u32::from_be_bytes(fields.take()?),
        tmp: u64::from_be_bytes(fields.take()?),
        files: u32::from_be_bytes(fields.take()?),
        io: 0,
    };
    let workspace = match fields.take()? {
        [0] => false,
        [1] => true,
        [_] => return Err(BadVerb),
    };
    let tier = match fields.take()? {
        [1] => Tier::Process,
        [2] => Tier::Gvisor,
        [3] => Tier::Kata,
        [_] => return Err(BadVerb),
    };
    let of = Some(fields.take()?).filter(|of| *of != NOBODY).map(SandboxId);
    let from = match fields.take()? {
        [0] => None,
        [signal] => Some(Saved::of_signal(signal).ok_or(BadVerb)?),
    };
    let image = Some(Sha256(fields.take()?)).filter(|image| image.0 != [0; 32]);
    let limits = Limits { io: u64::from_be_bytes(fields.take()?), ..limits };
    let [flags] = fields.take()?;
    let devices = Devices::from_bits(flags & !STRICT_IO).ok_or(BadVerb)?;
    let calls = Some(CallSet(fields.take()?)).filter(|calls| *calls != CallSet::NONE);
    Ok(Verb::Start {
        uid,
        gid,
        limits,
        workspace,
        tier,
        of,
        from,
        image,
        devices,
        strict_io: flags & STRICT_IO != 0,
        calls,
    })
}

/// No tier is 0: an order that leaves it out is none.
fn tier_number(tier: Tier) -> u8 {
    match tier {
        Tier::Process => 1,
        Tier::Gvisor => 2,
        Tier::Kata => 3,
    }
}

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// The number of the verb that is answered.
    pub verb: u8,
    /// Whether it was done.
    pub result: Result<(), ErrorCode>,
}

impl Answer {
    /// The answer to `verb`.
    pub fn to(verb: Verb, sandbox: SandboxId, result: Result<(), ErrorCode>) -> Self {
        Self { sandbox, verb: verb.number(), result }
    }

    /// Whether this answers such a verb.
    pub fn is_for(&self, verb: Verb, sandbox: SandboxId) -> bool {
        self.verb == verb.number() && self.sandbox == sandbox
    }

    /// The fixed-size form.
    pub fn to_bytes(self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        let code = self.result.err().map_or(0, ErrorCode::number);
        let fields = self.sandbox.0.into_iter().chain([self.verb]).chain(code.to_be_bytes());
        bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// Reads the fixed-size form.
    pub fn from_bytes(bytes: &[u8; ANSWER]) -> Result<Self, BadVerb> {
        let mut fields = Fields(bytes);
        let sandbox = SandboxId(fields.take()?);
        let [verb] = fields.take()?;
        let result = match u16::from_be_bytes(fields.take()?) {
            0 => Ok(()),
            code => Err(ErrorCode::from_number(code).ok_or(BadVerb)?),
        };
        if fields.0.iter().all(|byte| *byte == 0) { Ok(Self { sandbox, verb, result }) } else { Err(BadVerb) }
    }
}

/// What the launcher says before anything else: what an earlier daemon has left, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// There is no more.
    End,
    /// A sandbox, with the control socket of its relay, the judge's memory of its session and, where there is one, its
    /// workspace.
    Sandbox(SandboxId),
    /// The layer of a sandbox that is gone, with the judge's memory of its session and its workspace.
    Layer(SandboxId),
}

impl Left {
    /// The fixed-size form, as long as an answer's.
    pub fn to_bytes(self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        let (kind, id) = match self {
            Self::End => (0, [0; 16]),
            Self::Sandbox(id) => (1, id.0),
            Self::Layer(id) => (2, id.0),
        };
        bytes.iter_mut().zip([kind].into_iter().chain(id)).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// Reads the fixed-size form.
    pub fn from_bytes(bytes: &[u8; ANSWER]) -> Result<Self, BadVerb> {
        let mut fields = Fields(bytes);
        let left = match fields.take()? {
            [0] => Self::End,
            [1] => Self::Sandbox(SandboxId(fields.take()?)),
            [2] => Self::Layer(SandboxId(fields.take()?)),
            [_] => return Err(BadVerb),
        };
        if fields.0.iter().all(|byte| *byte == 0) { Ok(left) } else { Err(BadVerb) }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadVerb> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(BadVerb)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::Device;
    use proptest::prelude::*;

    #[test]
    fn every_verb_is_read_as_it_was_written() {
        let id = SandboxId([9; 16]);
        let limits = Limits { memory: 1 << 30, pids: 100, cpu: 1500, tmp: 1 << 20, files: 1024, io: 5 << 20 };
        let start = |workspace, tier, devices: &[Device], strict_io| {
            let (devices, of) = (devices.iter().copied().collect(), Some(id).filter(|_| strict_io));
            let (from, image) = (of.map(|_| Saved::Second), of.map(|_| Sha256([7; 32])));
            let calls = of.map(|_| CallSet([9; CallSet::BYTES]));
            let (uid, gid) = (1000, 1001);
            Verb::Start { uid, gid, limits, workspace, tier, of, from, image, devices, strict_io, calls }
        };
        for verb in [
            start(true, Tier::Gvisor, &[Device::Nvidia], false),
            start(false, Tier::Process, &[Device::Kvm], true),
            start(false, Tier::Kata, &Device::ALL, true),
            start(false, Tier::Kata, &[], false),
            Verb::Signal { signal: 9 },
            Verb::Remove,
            Verb::Mount { uid: 1000, bytes: u64::MAX },
            Verb::Unmount,
            Verb::Relay,
        ] {
            assert_eq!(Verb::from_bytes(&verb.to_bytes(id)), Ok((id, verb)));
            let answer = Answer::to(verb, id, Err(ErrorCode::RuntimeMissing));
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Ok(answer));
            assert!(answer.is_for(verb, id));
        }
    }

    #[test]
    fn what_was_left_is_read_as_it_was_written() {
        let ids = [SandboxId([7; 16]), SandboxId([0; 16])];
        for left in ids.into_iter().flat_map(|id| [Left::End, Left::Sandbox(id), Left::Layer(id)]) {
            assert_eq!(Left::from_bytes(&left.to_bytes()), Ok(left));
        }
        for kind in [1, 2, 3] {
            assert_eq!(Left::from_bytes(&[kind; ANSWER]), Err(BadVerb));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_verb_exactly_or_not(mut bytes in prop::collection::vec(any::<u8>(), ORDER), verb in 0u8..8, zeros in any::<bool>()) {
            bytes[0] = verb;
            if zeros {
                bytes[17..].fill(0);
            }
            let bytes: [u8; ORDER] = bytes.try_into().unwrap();
            if let Ok((id, verb)) = Verb::from_bytes(&bytes) {
                prop_assert_eq!(verb.to_bytes(id), bytes);
            }
        }
    }
}
