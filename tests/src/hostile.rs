//! A hostile init: the far end of a relay's channel, with every byte of yamux written by hand.
//!
//! The format is written down here anew from its specification
//! (<https://github.com/hashicorp/yamux/blob/master/spec.md>), so that a fault of the library is not shared by the test.
#![forbid(unsafe_code)]

use closedpaw_descriptors::frames::{receive_packet, send_packet};
use closedpaw_descriptors::{packet_pair, stream_pair};
use closedpaw_protocol::relay::{Grant, RECORD};
use closedpaw_protocol::{Action, Effect, Revision, SessionId, Stdin, Tier};
use nix::poll::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// yamux: stream data.
pub const DATA: u8 = 0;
/// yamux: window update.
pub const WINDOW: u8 = 1;
/// yamux: ping.
pub const PING: u8 = 2;
/// yamux: opens a stream.
pub const SYN: u16 = 1;
/// yamux: acknowledges one.
pub const ACK: u16 = 2;
/// yamux: half-closes one.
pub const FIN: u16 = 4;
/// yamux: resets one.
pub const RST: u16 = 8;

/// A relay whose sandbox is this process.
pub struct Hostile {
    /// The relay.
    pub relay: Child,
    control: OwnedFd,
    from_relay: File,
    /// The way to the relay; `None` once it was closed.
    pub to_relay: Option<File>,
    pending: Vec<u8>,
    work: u64,
}

/// A frame of yamux.
pub struct Heard {
    /// Which kind.
    pub kind: u8,
    /// Of which stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A piece of work that the relay carries.
pub struct Work {
    /// The client's end.
    pub client: UnixStream,
    /// Its number.
    pub number: u64,
    /// Its stream in the channel.
    pub stream: u32,
}

/// A frame of yamux as bytes.
pub fn yamux(kind: u8, flags: u16, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A frame of a work's stream as bytes: kind, length, payload.
pub fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Hostile {
    /// Starts the relay with its three descriptors, as a user of no rights.
    pub fn start(program: &Path) -> Self {
        let (control, theirs) = packet_pair().unwrap();
        let (stdin, to_sandbox) = io::pipe().unwrap();
        let (from_sandbox, stdout) = io::pipe().unwrap();
        // The shell places the descriptors, so that nothing unsafe has to.
        let relay = Command::new("/usr/bin/setpriv")
            .args(["--reuid=1900000777", "--regid=1900000777", "--clear-groups", "/bin/sh", "-c"])
            .arg("exec \"$0\" 3<&0 4>&1 5<&2 0</dev/null 1>/dev/null 2>/dev/null")
            .arg(program)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(OwnedFd::from(to_sandbox)))
            .stderr(Stdio::from(OwnedFd::from(from_sandbox)))
            .spawn()
            .unwrap();
        Self {
            relay,
            control,
            from_relay: File::from(OwnedFd::from(stdin)),
            to_relay: Some(File::from(OwnedFd::from(stdout))),
            pending: Vec::new(),
            work: 0,
        }
    }

    /// Starts it and answers the start gate as an honest init would.
    pub fn past_the_gate(program: &Path) -> Self {
        let mut hostile = Self::start(program);
        hostile.answer_gate(&framed(19, &0x1ff_u32.to_be_bytes()));
        let record = hostile.record().expect("the gate's record");
        assert_eq!((record[0], &record[1..9]), (0, &0x1ff_u64.to_be_bytes()[..]));
        hostile
    }

    /// Waits for the question about the gate and says this.
    pub fn answer_gate(&mut self, bytes: &[u8]) {
        let heard = self.heard_data().expect("the gate's question");
        assert_eq!(heard.payload, [0, 0, 0, 0, 0], "an order without content asks for the gate");
        self.data(heard.stream, ACK, bytes);
    }

    /// Sends bytes as they are; `false` if the relay has hung up or takes no more in time.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(to) = &mut self.to_relay else { return false };
        to.write_all(bytes).is_ok()
    }

    /// Sends stream data.
    pub fn data(&mut self, stream: u32, flags: u16, payload: &[u8]) -> bool {
        self.send(&yamux(DATA, flags, stream, u32::try_from(payload.len()).unwrap(), payload))
    }

    /// The next frame from the relay, if one comes in time.
    pub fn heard(&mut self) -> Option<Heard> {
        let header: [u8; 12] = self.take(12)?.try_into().ok()?;
        let [_, kind, _, _, s0, s1, s2, s3, l0, l1, l2, l3] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let payload = if kind == DATA { self.take(length as usize)? } else { Vec::new() };
        Some(Heard { kind, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }

    /// The next frame with data.
    pub fn heard_data(&mut self) -> Option<Heard> {
        loop {
            let heard = self.heard()?;
            if heard.kind == DATA && !heard.payload.is_empty() {
                return Some(heard);
            }
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut buffer = [0; 65536];
        while self.pending.len() < length {
            if !readable(&self.from_relay, PATIENCE) {
                return None;
            }
            match self.from_relay.read(&mut buffer) {
                Ok(read @ 1..) => self.pending.extend_from_slice(&buffer[..read]),
                Ok(0) | Err(_) => return None,
            }
        }
        Some(self.pending.drain(..length).collect())
    }

    /// The next record to the judge; `None` when the relay has ended or nothing comes in time.
    pub fn record(&self) -> Option<[u8; RECORD]> {
        if !readable(&self.control, PATIENCE) {
            return None;
        }
        let (record, descriptors) = receive_packet::<RECORD>(&self.control).ok()??;
        assert!(descriptors.is_empty(), "a relay passes no descriptors to the judge");
        Some(record)
    }

    /// Grants a piece of work, as the judge does, and has the client order it. Gives it once init has been told.
    pub fn grant(&mut self, output: u64) -> Work {
        self.grant_with(output, &[])
    }

    /// The same, with the counts of the sandbox's limits.
    pub fn grant_with(&mut self, output: u64, counts: &[BorrowedFd<'_>]) -> Work {
        let action = Action {
            session: SessionId([1; 16]),
            revision: Revision([2; 32]),
            isolation: Tier::Gvisor,
            profile: "default".to_owned(),
            effect: Effect::Exec {
                argv: vec!["true".to_owned()],
                cwd: "/workspace".to_owned(),
                env: Vec::new(),
                stdin: Stdin::Empty,
            },
        };
        let (order, digest) = action.seal().unwrap();
        let (client, theirs) = stream_pair().unwrap();
        let grant = Grant { work: self.work, action: digest, seconds: 5, output, filtered: false };
        let descriptors: Vec<_> = [theirs.as_fd()].into_iter().chain(counts.iter().copied()).collect();
        send_packet(&self.control, &grant.to_bytes(), &descriptors).unwrap();
        drop(theirs);
        let mut client = UnixStream::from(client);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&framed(0, &order)).unwrap();
        let expected = framed(0, &order);
        let mut heard = Vec::new();
        let stream = loop {
            let part = self.heard_data().expect("the order");
            heard.extend(part.payload);
            if heard.len() >= expected.len() {
                break part.stream;
            }
        };
        // What comes after the order is the end of the input, which is not looked at here.
        assert_eq!(heard[..expected.len()], expected[..], "init is told what was granted");
        self.work += 1;
        Work { client, number: self.work - 1, stream }
    }

    /// How the relay ended, if it did in time.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.ended_within(PATIENCE)
    }

    /// Whether it ends in this time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        self.ended_within(time).is_some()
    }

    fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(status) = self.relay.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Asserts that it has ended by itself, with a failure and not by its own filter.
    pub fn must_end(&mut self, what: &str) {
        let status = self.ended().unwrap_or_else(|| panic!("{what}: the relay lives on"));
        assert_eq!((status.code(), status.signal()), (Some(1), None), "{what}");
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.relay.kill();
        let _ = self.relay.wait();
    }
}

impl Work {
    /// All that the client is sent until the stream ends: the bytes of output, and the last frame's payload.
    pub fn told(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut output, mut exit) = (Vec::new(), None);
        loop {
            let mut header = [0; 5];
            if self.client.read_exact(&mut header).is_err() {
                return (output, exit);
            }
            let [kind, length @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes(length) as usize];
            self.client.read_exact(&mut payload).expect("whole frames");
            assert!(exit.is_none(), "nothing is said after the exit");
            match kind {
                16 | 17 => output.extend(payload),
                18 => exit = Some(payload),
                other => panic!("a client is never sent a frame of kind {other}"),
            }
        }
    }
}

fn readable(descriptor: &impl AsFd, within: Duration) -> bool {
    let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, u16::try_from(within.as_millis()).unwrap()).is_ok_and(|ready| ready > 0)
}
