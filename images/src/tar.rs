//! A tar, read entry by entry: POSIX's ustar and pax forms and GNU's long names (tar(5)).
//!
//! Small on purpose: what it does not know it refuses, no length is believed before it is compared with its bound, and nothing is
//! kept but one header.
#![forbid(unsafe_code)]

use crate::of_read;
use closedpaw_protocol::image::{Bounds, Fault};
use std::io::Read;

/// Bytes of a block.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, whose content follows.
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
    /// A device, a pipe or a socket.
    Special,
}

/// One entry, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, as it was written.
    pub path: Vec<u8>,
    /// What it leads to, if it is a link.
    pub target: Vec<u8>,
    /// Bytes of its content.
    pub size: u64,
    /// Whether anybody may execute it.
    pub executable: bool,
    /// When it was changed, in seconds.
    pub modified: u64,
}

/// What extended headers say of the entry after them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

/// A tar that is being read.
#[derive(Debug)]
pub struct Tar<'a, R> {
    source: R,
    bounds: &'a Bounds,
    /// Bytes of the current entry's content that were not read.
    content: u64,
    /// And what fills its last block.
    padding: u64,
}

impl<'a, R: Read> Tar<'a, R> {
    /// Begins at its first byte.
    pub fn new(source: R, bounds: &'a Bounds) -> Self {
        Self { source, bounds, content: 0, padding: 0 }
    }

    /// The next entry; nothing at the end, which is a block of zeros or the source's own.
    pub fn entry(&mut self) -> Result<Option<Entry>, Fault> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header(&block);
            header.check()?;
            let size = header.size()?;
            match header.kind() {
                b'x' => extended = self.pax(size, extended)?,
                // For the whole archive: comments, and what means nothing of an image.
                b'g' => {
                    let all = self.pax(size, Extended::default())?;
                    if all.path.is_some() || all.target.is_some() || all.size.is_some() {
                        return Err(Fault::BadEntry);
                    }
                }
                b'L' => {
                    let name = self.text(size)?;
                    extended.path.get_or_insert(name);
                }
                b'K' => {
                    let name = self.text(size)?;
                    extended.target.get_or_insert(name);
                }
                kind => return self.read_entry(&header, kind, size, extended).map(Some),
            }
        }
    }

    fn read_entry(
        &mut self,
        header: &Header<'_>,
        kind: u8,
        size: u64,
        extended: Extended,
    ) -> Result<Entry, Fault> {
        let path = extended.path.unwrap_or_else(|| header.path());
        let kind = match kind {
            // Before POSIX a folder was a file whose name ends so.
            b'\0' | b'0' if path.ends_with(b"/") => Kind::Folder,
            b'\0' | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Link,
            b'3' | b'4' | b'6' => Kind::Special,
            b'5' => Kind::Folder,
            _ => return Err(Fault::BadEntry),
        };
        let size = extended.size.unwrap_or(size);
        let size = match kind {
            Kind::File => size,
            // Some formats give a second name its content once more.
            Kind::HardLink if size > 0 => return Err(Fault::BadEntry),
            // Of these a size means nothing, and nothing follows.
            Kind::HardLink | Kind::Link | Kind::Folder | Kind::Special => 0,
        };
        self.follows(size);
        let target = extended.target.unwrap_or_else(|| header.target());
        let (executable, modified) = (header.mode()? & 0o111 != 0, header.modified());
        Ok(Entry { kind, path, target, size, executable, modified })
    }

    /// Reads of the current entry's content; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.source.read(buffer).map_err(|error| of_read(&error))?;
        self.content -= read as u64;
        if read == 0 { Err(Fault::BadTar) } else { Ok(read) }
    }

    /// What it is read from.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// How many bytes follow before the next entry, which whoever asks skips without reading them.
    pub fn pass_over(&mut self) -> u64 {
        std::mem::take(&mut self.content).saturating_add(std::mem::take(&mut self.padding))
    }

    /// What it was read from, after its end.
    pub fn into_source(self) -> R {
        self.source
    }

    fn follows(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let mut buffer = [0; 8192];
        while self.read(&mut buffer)? > 0 {}
        self.content = std::mem::take(&mut self.padding);
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// A block; nothing if there is none at all.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest).map_err(|error| of_read(&error))? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Fault::BadTar),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    /// The content of an extended header.
    fn header(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > self.bounds.header {
            return Err(Fault::HeaderBound);
        }
        self.follows(size);
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| Fault::HeaderBound)?];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += self.read(rest)?;
        }
        Ok(bytes)
    }

    /// GNU's long names end with a null byte, or with the content.
    fn text(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        Ok(until_null(&self.header(size)?).to_vec())
    }

    fn pax(&mut self, size: u64, mut extended: Extended) -> Result<Extended, Fault> {
        let bytes = self.header(size)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = pax_record(rest).ok_or(Fault::BadTar)?;
            rest = after;
            match key {
                b"path" => extended.path = Some(value.to_vec()),
                b"linkpath" => extended.target = Some(value.to_vec()),
                b"size" => extended.size = Some(decimal(value).ok_or(Fault::BadTar)?),
                key if key.starts_with(b"GNU.sparse.") => return Err(Fault::BadEntry),
                // Owners, times, extended attributes: nothing of it is kept.
                _ => {}
            }
        }
        Ok(extended)
    }
}

/// `LENGTH KEY=VALUE\n`, where the length is the whole record's.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, bytes.get(length..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn until_null(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The fields of a header block.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..at + length).unwrap_or_default()
    }

    /// The sum of all bytes, those of the sum itself taken for spaces.
    fn check(&self) -> Result<(), Fault> {
        let before = self.field(0, 148).iter().chain(self.field(156, BLOCK - 156));
        let sum = 8 * u64::from(b' ') + before.map(|byte| u64::from(*byte)).sum::<u64>();
        if number(self.field(148, 8))? == sum { Ok(()) } else { Err(Fault::BadTar) }
    }

    fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    fn size(&self) -> Result<u64, Fault> {
        number(self.field(124, 12))
    }

    fn mode(&self) -> Result<u64, Fault> {
        number(self.field(100, 8))
    }

    /// A time before 1970, or one that nobody can read, is no reason to refuse anything.
    fn modified(&self) -> u64 {
        number(self.field(136, 12)).unwrap_or(0)
    }

    /// POSIX splits long names in two; what GNU has in that place is something else.
    fn path(&self) -> Vec<u8> {
        let name = until_null(self.field(0, 100));
        let prefix = if self.field(257, 6) == b"ustar\0" { until_null(self.field(345, 155)) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn target(&self) -> Vec<u8> {
        until_null(self.field(157, 100)).to_vec()
    }
}

/// Octal digits, with spaces before and spaces or null bytes after them; or, with the first bit set, a binary number.
fn number(field: &[u8]) -> Result<u64, Fault> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let too_large = *first != 0x80 || rest.iter().rev().skip(8).any(|byte| *byte != 0);
        let value = rest.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
        return if too_large || value >> 62 != 0 { Err(Fault::BadTar) } else { Ok(value) };
    }
    let text = field.trim_ascii_start();
    let digits = text.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    if digits.len() > 20 || rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return Err(Fault::BadTar);
    }
    Ok(digits.iter().fold(0, |value, digit| (value << 3) | u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::image::BOUNDS;
    use proptest::prelude::*;
    use std::process::Command;

    fn names(bytes: &[u8]) -> Result<Vec<(Kind, String, u64)>, Fault> {
        let mut tar = Tar::new(bytes, &BOUNDS);
        let mut found = vec![];
        while let Some(entry) = tar.entry()? {
            found.push((entry.kind, String::from_utf8_lossy(&entry.path).into_owned(), entry.size));
        }
        Ok(found)
    }

    /// In every form that GNU tar writes.
    #[test]
    fn what_gnu_tar_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("{}/{}/{}", "d".repeat(90), "e".repeat(90), "f".repeat(120));
        let deep = folder.path().join(&long);
        std::fs::create_dir_all(deep.parent().unwrap()).unwrap();
        std::fs::write(&deep, b"seven b").unwrap();
        std::os::unix::fs::symlink("x".repeat(200), folder.path().join("link")).unwrap();
        for format in ["gnu", "pax", "posix"] {
            let made = Command::new("tar")
                .arg("-C")
                .arg(folder.path())
                .args(["--format", format, "-cf", "-", "."])
                .output();
            let bytes = made.unwrap().stdout;
            let found = names(&bytes).unwrap();
            assert!(found.contains(&(Kind::File, format!("./{long}"), 7)), "{format}: {found:?}");
            let mut tar = Tar::new(bytes.as_slice(), &BOUNDS);
            let link =
                std::iter::from_fn(|| tar.entry().unwrap()).find(|entry| entry.kind == Kind::Link).unwrap();
            assert_eq!(link.target, "x".repeat(200).as_bytes(), "{format}");
        }
        let ustar = Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(["--format=ustar", "-cf", "-", &long])
            .output();
        assert_eq!(names(&ustar.unwrap().stdout).map(|found| found.len()), Ok(0), "too long for it");
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0"), Ok(0));
        assert_eq!(number(b"777"), Ok(0o777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Ok(1 << 33));
        for bad in [
            &b"8"[..],
            b"-1",
            b"12a",
            b"1 2",
            b"\xff\xff\xff\xff",
            b"\x80\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x81\0\0",
        ] {
            assert_eq!(number(bad), Err(Fault::BadTar), "{bad:?}");
        }
    }

    #[test]
    fn a_pax_record_is_as_long_as_it_says() {
        assert_eq!(pax_record(b"11 a=bcdef\nx"), Some((&b"a"[..], &b"bcdef"[..], &b"x"[..])));
        for bad in [
            &b"12 a=bcdef\nx"[..],
            b"99 a=b\n",
            b"3 \n",
            b"a=b\n",
            b"0 a=b\n",
            b"18446744073709551615 a=b\n",
            b"2 ",
            b"",
        ] {
            assert_eq!(pax_record(bad), None, "{bad:?}");
        }
    }

    proptest! {
        /// Row S6: whatever it reads, it ends, and never asks for more memory than an extended header may have.
        #[test]
        fn any_bytes_are_entries_or_a_fault(bytes: Vec<u8>) {
            let _ = names(&bytes);
        }

        #[test]
        fn a_changed_tar_is_entries_or_a_fault(changes in proptest::collection::vec((0usize..4096, any::<u8>()), 0..6)) {
            let made = Command::new("tar").args(["-C", "/", "--format=pax", "-cf", "-", "etc/hostname", "etc/passwd"]).output();
            let mut bytes = made.unwrap().stdout;
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = names(&bytes);
        }
    }
}
