//! Sealed memory files: inputs that cannot change once they have been looked at (memfd_create(2), fcntl(2)).
#![forbid(unsafe_code)]

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// A sealed memory file with this content, read from its start.
pub fn seal(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file =
        File::from(memfd_create("closedpaw-input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(content)?;
    file.rewind()?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Whether this is a memory file that nobody can change any more, of exactly this length.
pub fn is_sealed(file: &impl AsFd, length: u64) -> bool {
    let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS));
    sealed && rustix::fs::fstat(file).is_ok_and(|stat| u64::try_from(stat.st_size) == Ok(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_sealed_input_cannot_change() {
        let file = File::from(seal(b"content").unwrap());
        assert!(is_sealed(&file, 7) && !is_sealed(&file, 8));
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(3).is_err());
    }

    #[test]
    fn an_ordinary_file_is_not_sealed() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(!is_sealed(&file, file.metadata().unwrap().len()));
    }
}
