//! Descriptors that a process hands to the program it starts, by number: 3, 4, 5…
#![forbid(unsafe_code)]

use crate::sys;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::Command;

/// Gives the child `descriptors` as numbers 3, 4, 5…, and of whatever else this process has open the standard three.
pub fn hand_over(command: &mut Command, descriptors: Vec<OwnedFd>) {
    // Room for all of them: the child must not allocate.
    let mut away = Vec::with_capacity(descriptors.len());
    sys::before_exec(command, move || {
        // First all of them out of the way of the numbers to come, then into place.
        for descriptor in &descriptors {
            away.push(rustix::io::fcntl_dupfd_cloexec(descriptor, 64)?);
        }
        for (number, descriptor) in (3..).zip(&away) {
            sys::place(descriptor, number)?;
        }
        sys::close_on_exec_from(3 + u32::try_from(descriptors.len()).unwrap_or(0))
    });
}

/// Makes the child die with this process.
pub fn die_with_parent(command: &mut Command) {
    sys::before_exec(command, || Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
}

/// Takes over the descriptor with this number, which nothing else in this process may own: one that was handed over,
/// once and first thing, or one whose owner gave it up.
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    sys::own(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};
    use std::process::Stdio;

    #[test]
    fn a_child_has_what_it_is_handed_in_order_and_nothing_else() {
        let holding = |bytes: &[u8]| {
            let (reader, mut writer) = pipe().unwrap();
            writer.write_all(bytes).unwrap();
            OwnedFd::from(reader)
        };
        let stray = holding(b"");
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "cat <&3; cat <&4; exec ls /proc/self/fd"]).stdin(Stdio::null());
        hand_over(&mut command, vec![holding(b"three\n"), holding(b"four\n")]);
        let said = command.output().unwrap().stdout;
        // The last is the folder that is being listed.
        assert_eq!(String::from_utf8(said).unwrap(), "three\nfour\n0\n1\n2\n3\n4\n5\n");
    }
}
