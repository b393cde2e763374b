//! Listing, reading and writing files inside the sandbox, as the caller and with the caller's rights.
#![forbid(unsafe_code)]

use std::fs::{self, File, FileType};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The most entries that are shown; all are counted.
const SHOWN: u64 = 200;

/// The most entries that are looked at, and the deepest folder.
const MOST: u64 = 100_000;
const DEEPEST: usize = 16;

/// Prints a folder's files with their lines and bytes, and totals: an answer, not material for one.
pub(super) fn list(path: &str) -> ExitCode {
    let mut listing =
        Listing { out: io::BufWriter::new(io::stdout().lock()), files: 0, lines: 0, bytes: 0, looked: 0 };
    let root = Path::new(path);
    let done = match fs::symlink_metadata(root) {
        Ok(metadata) if metadata.is_dir() => listing.folder(root, Path::new(""), 0),
        Ok(metadata) => listing.entry(root, Path::new(path), metadata.file_type(), 0),
        Err(error) => Err(error),
    };
    finish(done.and_then(|()| listing.total()), path)
}

/// Copies a file to standard output.
pub(super) fn read(path: &str) -> ExitCode {
    let copy = || io::copy(&mut File::open(path)?, &mut io::stdout().lock());
    finish(copy().map(drop), path)
}

/// Replaces a file's content with standard input, at once or not at all.
pub(super) fn write(path: &str) -> ExitCode {
    finish(replace(Path::new(path)), path)
}

fn replace(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = File::create_new(&draft)?;
    let written = io::copy(&mut io::stdin().lock(), &mut file).and_then(|_| {
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        fs::rename(&draft, path)
    });
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written
}

#[allow(clippy::print_stderr, reason = "standard error is the answer's other half")]
fn finish(result: io::Result<()>, path: &str) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::from(1)
        }
    }
}

struct Listing<W> {
    out: W,
    files: u64,
    lines: u64,
    bytes: u64,
    looked: u64,
}

impl<W: Write> Listing<W> {
    fn folder(&mut self, path: &Path, shown: &Path, depth: usize) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(path)?.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let place = shown.join(entry.file_name());
            self.entry(&entry.path(), &place, entry.file_type()?, depth)?;
            if self.looked > MOST {
                return Ok(());
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, shown: &Path, kind: FileType, depth: usize) -> io::Result<()> {
        self.looked += 1;
        let name = one_line(shown);
        if kind.is_dir() {
            if shown.file_name().is_some_and(|name| name == ".git") {
                return self.show(&format!("{name}/  (not listed)"));
            }
            self.show(&format!("{name}/"))?;
            // A folder that may not be read is still a line of the listing.
            return if depth < DEEPEST { self.folder(path, shown, depth + 1).or(Ok(())) } else { Ok(()) };
        }
        if !kind.is_file() {
            let what = if kind.is_symlink() { target(path) } else { "(special)".to_owned() };
            return self.show(&format!("{name}  {what}"));
        }
        self.files += 1;
        match count(path) {
            Ok((bytes, lines)) => {
                self.bytes += bytes;
                self.lines += lines;
                self.show(&format!("{name}  {lines} lines, {bytes} bytes"))
            }
            Err(error) => self.show(&format!("{name}  ({error})")),
        }
    }

    fn show(&mut self, line: &str) -> io::Result<()> {
        match self.looked {
            ..=SHOWN => writeln!(self.out, "{line}"),
            n if n == SHOWN + 1 => writeln!(self.out, "… more entries, counted but not shown"),
            _ => Ok(()),
        }
    }

    fn total(mut self) -> io::Result<()> {
        if self.looked > MOST {
            writeln!(self.out, "More than {MOST} entries; the rest was not looked at.")?;
        }
        writeln!(self.out, "Total: {} files, {} lines, {} bytes.", self.files, self.lines, self.bytes)?;
        self.out.flush()
    }
}

/// Bytes, and newlines as wc(1) counts lines.
fn count(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut bytes, mut lines) = (0, 0);
    loop {
        let length = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else {
            return Ok((bytes, lines));
        };
        bytes += part.len() as u64;
        lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

fn target(path: &Path) -> String {
    fs::read_link(path).map_or_else(|_| "(link)".to_owned(), |to: PathBuf| format!("-> {}", one_line(&to)))
}

/// A name that cannot break the listing into more lines than it has.
fn one_line(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
