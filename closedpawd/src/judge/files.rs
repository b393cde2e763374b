//! Reading the folders that only root can write: opened by descriptor, checked after opening.
#![forbid(unsafe_code)]

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read.
const MOST: u64 = 256 * 1024;

/// The most files in one folder.
const FILES: usize = 1024;

/// One file of a folder.
pub(crate) struct Text {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Every `*.toml` of a folder, by name, and what could not be read.
pub(crate) fn read(folder: &Path) -> (Vec<Text>, Vec<String>) {
    match list(folder) {
        Ok((directory, names)) => {
            let mut problems = Vec::new();
            let mut texts = Vec::new();
            for name in names {
                match one(&directory, &name) {
                    Ok(text) => texts.push(Text { name, text }),
                    Err(error) => problems.push(format!("{}: {error}", folder.join(&name).display())),
                }
            }
            (texts, problems)
        }
        Err(error) => (Vec::new(), vec![format!("{}: {error}", folder.display())]),
    }
}

/// These files of a folder, each once, and what could not be read.
pub(crate) fn named<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> (Vec<Text>, Vec<String>) {
    let names: BTreeSet<&str> = names.collect();
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    for name in names {
        let text = File::open(folder).and_then(|directory| {
            roots_alone(&directory)?;
            one(&directory, name)
        });
        match text {
            Ok(text) => texts.push(Text { name: name.to_owned(), text }),
            Err(error) => problems.push(format!("{}: {error}", folder.join(name).display())),
        }
    }
    (texts, problems)
}

fn list(folder: &Path) -> io::Result<(File, Vec<String>)> {
    let directory = File::open(folder)?;
    roots_alone(&directory)?;
    let mut names: Vec<String> = rustix::fs::Dir::read_from(&directory)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name.ends_with(".toml") && !name.starts_with('.'))
        .collect();
    if names.len() > FILES {
        return Err(io::Error::other("too many files"));
    }
    names.sort();
    Ok((directory, names))
}

fn one(directory: &File, name: &str) -> io::Result<String> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(openat2(directory, name, flags, Mode::empty(), within)?);
    roots_alone(&file)?;
    let mut text = String::new();
    if file.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
        return Err(io::Error::other("larger than 256 KiB"));
    }
    Ok(text)
}

fn roots_alone(file: &File) -> io::Result<()> {
    let stat = fstat(file)?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::other("must be root's and writable by nobody else"));
    }
    Ok(())
}
