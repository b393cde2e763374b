//! What the judge remembers of a session in memory that outlives it: the launcher made it, and the service manager holds it.
//!
//! Whatever moment the judge is killed at, one of the two halves holds a whole state: they are written in turns, each with
//! its number and a digest.
#![forbid(unsafe_code)]

use crate::verbs::{HALF, MEMORY};
use closedpaw_protocol::Digest;
use closedpaw_protocol::relay::Gate;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Number, length, digest.
const HEADER: usize = 8 + 4 + 32;

/// Behind the halves: whether the start gate was passed, and whether it is over (1), the layer discarded, too (2). What is over
/// stays so, whatever is written next.
const READY: u64 = MEMORY - 2;
const OVER: u64 = MEMORY - 1;

/// What a digest begins with. Another form of what is kept has another one, so that no judge takes one for the other.
const FORM: &[u8] = b"closedpaw 2026-11 kept session v3";

/// A piece of memory with a state in it.
#[derive(Debug)]
pub(super) struct Memory {
    file: File,
    number: Cell<u64>,
}

impl Memory {
    /// Over what the launcher gave; a state that is in it is not written over by the next one.
    pub(super) fn new(memory: OwnedFd) -> Self {
        let file = File::from(memory);
        let number = newest(&file).map_or(0, |(number, _)| number);
        Self { file, number: Cell::new(number) }
    }

    /// The state that was written last.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        newest(&self.file).map(|(_, state)| state)
    }

    /// Writes a state in the place of the last but one.
    ///
    /// # Errors
    /// `InvalidInput` if it is longer than a half; then the last one is the one before.
    pub(super) fn write(&self, state: &[u8]) -> io::Result<()> {
        let length = u32::try_from(state.len()).map_err(io::Error::other)?;
        let number = self.number.get() + 1;
        let mut bytes = Vec::with_capacity(HEADER + state.len());
        bytes.extend(number.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(checked(number, state).0);
        bytes.extend(state);
        if bytes.len() as u64 > HALF {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_all_at(&bytes, number % 2 * HALF)?;
        self.number.set(number);
        Ok(())
    }

    /// Notes that the start gate was passed, and with it the one finding that not every tier has to have.
    pub(super) fn passed_gate(&self, gate: Gate) -> io::Result<()> {
        let landlock = gate.0 & Gate::LANDLOCK != 0;
        self.file.write_all_at(&[if landlock { 2 } else { 1 }], READY)
    }

    /// What it found, if it was passed: what was wanted, and that.
    pub(super) fn found(&self, wanted: u32) -> Option<u32> {
        match self.byte(READY)? {
            1 => Some(wanted),
            2 => Some(wanted | Gate::LANDLOCK),
            _ => None,
        }
    }

    /// Notes that nobody may take this up again.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.goes_on() { self.file.write_all_at(&[1], OVER) } else { Ok(()) }
    }

    /// Notes that nobody may have its layer any more, either.
    pub(super) fn discard(&self) -> io::Result<()> {
        self.file.write_all_at(&[2], OVER)
    }

    /// Whether that was noted.
    pub(super) fn is_discarded(&self) -> bool {
        !matches!(self.byte(OVER), Some(0 | 1))
    }

    /// Whether somebody still may.
    pub(super) fn goes_on(&self) -> bool {
        self.byte(OVER) == Some(0)
    }

    fn byte(&self, place: u64) -> Option<u8> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, place).ok()?;
        byte.first().copied()
    }
}

fn newest(file: &File) -> Option<(u64, Vec<u8>)> {
    (0..2).filter_map(|half| read_half(file, half * HALF)).max_by_key(|(number, _)| *number)
}

/// A half that was not written whole is none.
fn read_half(file: &File, from: u64) -> Option<(u64, Vec<u8>)> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, from).ok()?;
    let (number, rest) = header.split_first_chunk::<8>()?;
    let (length, digest) = rest.split_first_chunk::<4>()?;
    let (number, length) = (u64::from_be_bytes(*number), u32::from_be_bytes(*length));
    if number == 0 || u64::from(length) > HALF - HEADER as u64 {
        return None;
    }
    let mut state = vec![0; length as usize];
    file.read_exact_at(&mut state, from + HEADER as u64).ok()?;
    (checked(number, &state).0 == digest).then_some((number, state))
}

fn checked(number: u64, state: &[u8]) -> Digest {
    Digest::of(&[FORM, &number.to_be_bytes(), state].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory() -> Memory {
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        Memory::new(file.into())
    }

    fn again(memory: &Memory) -> Memory {
        Memory::new(memory.file.try_clone().unwrap().into())
    }

    #[test]
    fn the_last_state_is_found_again() {
        let memory = memory();
        assert_eq!(memory.read(), None);
        for state in [b"one".as_slice(), b"", b"three"] {
            again(&memory).write(state).unwrap();
            assert_eq!(again(&memory).read().as_deref(), Some(state));
        }
        assert_eq!(memory.found(5), None);
        memory.passed_gate(Gate(Gate::IDS)).unwrap();
        assert_eq!(again(&memory).found(5), Some(5));
        memory.passed_gate(Gate(Gate::all())).unwrap();
        assert_eq!(again(&memory).found(5), Some(5 | Gate::LANDLOCK));
        let longest = usize::try_from(HALF).unwrap() - HEADER;
        again(&memory).write(&vec![7; longest]).unwrap();
        assert!(again(&memory).write(&vec![7; longest + 1]).is_err());
        assert_eq!(again(&memory).read().map(|state| state.len()), Some(longest));
        assert!(again(&memory).found(0).is_some() && again(&memory).goes_on());
        memory.end().unwrap();
        again(&memory).write(b"more").unwrap();
        assert!(!again(&memory).goes_on(), "what is over stays over");
        assert!(!again(&memory).is_discarded());
        memory.discard().unwrap();
        memory.end().unwrap();
        assert!(again(&memory).is_discarded() && !again(&memory).goes_on());
    }

    proptest! {
        /// A judge killed while it writes has written the beginning of it, whatever was there before.
        #[test]
        fn half_a_state_is_none(states in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 2..5), cut in any::<prop::sample::Index>()) {
            let memory = memory();
            let (last, before) = states.split_last().unwrap();
            for state in before {
                memory.write(state).unwrap();
            }
            let mut old = vec![0; usize::try_from(MEMORY).unwrap()];
            memory.file.read_exact_at(&mut old, 0).unwrap();
            let from = (before.len() as u64 + 1) % 2 * HALF;
            memory.write(last).unwrap();
            // What comes after the cut is as it was.
            let length = HEADER + last.len();
            let cut = cut.index(length);
            let place = usize::try_from(from).unwrap();
            memory.file.write_all_at(&old[place + cut..place + length], from + cut as u64).unwrap();
            let found = again(&memory).read();
            prop_assert!(found.as_ref() == before.last() || found.as_ref() == Some(last));
        }
    }
}
