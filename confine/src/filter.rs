//! A compiled list of system calls on its way to whoever installs it: bytes of one form (seccomp(2), struct sock_filter).
#![forbid(unsafe_code)]

use libc::sock_filter;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MOST: usize = 4096;

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// A program of the kernel's classic BPF, of which no more is known than that its length is one it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// The most bytes there are of one.
    pub const MOST: usize = MOST * INSTRUCTION;

    /// One of these instructions; `None` if they are none or too many.
    #[cfg(feature = "lists")]
    pub(crate) fn new(program: &[seccompiler::sock_filter]) -> Option<Self> {
        let bytes = program.iter().flat_map(|one| {
            let ([a, b], [c, d, e, f]) = (one.code.to_ne_bytes(), one.k.to_ne_bytes());
            [a, b, one.jt, one.jf, c, d, e, f]
        });
        Self::from_bytes(bytes.collect())
    }

    /// Reads the form; every length that a program may have is one.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let whole = !bytes.is_empty() && bytes.len().is_multiple_of(INSTRUCTION);
        (whole && bytes.len() <= Self::MOST).then_some(Self(bytes))
    }

    /// The form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the kernel takes it.
    #[must_use]
    pub fn instructions(&self) -> Vec<sock_filter> {
        let (instructions, _) = self.0.as_chunks::<INSTRUCTION>();
        let one = |&[a, b, jt, jf, c, d, e, f]: &[u8; INSTRUCTION]| sock_filter {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([c, d, e, f]),
        };
        instructions.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_program_has_one_of_its_lengths() {
        for length in [0, 1, 7, 9, Filter::MOST + 1, Filter::MOST + 8] {
            assert_eq!(Filter::from_bytes(vec![0; length]), None, "{length}");
        }
        for length in [8, Filter::MOST] {
            assert_eq!(Filter::from_bytes(vec![0; length]).unwrap().instructions().len(), length / 8);
        }
    }

    proptest! {
        /// The layout that linux/filter.h gives it: 16, 8, 8 and 32 bits.
        #[test]
        fn an_instruction_is_read_as_the_kernel_reads_it(code in any::<u16>(), jt in any::<u8>(), jf in any::<u8>(), k in any::<u32>()) {
            let bytes = [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat();
            let one = Filter::from_bytes(bytes).unwrap().instructions().remove(0);
            prop_assert_eq!((one.code, one.jt, one.jf, one.k), (code, jt, jf, k));
        }
    }
}
