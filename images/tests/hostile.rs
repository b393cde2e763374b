//! Row S6: tars that were made to do harm, unpacked beside something that must stay as it is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_images::layer::{Count, Unpacker};
use closedpaw_images::tree::{Tree, open_folder};
use closedpaw_protocol::image::{BOUNDS, Bounds, Fault};
use proptest::prelude::*;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An entry as it stands in a tar, by the field widths of POSIX (pax(1), "ustar Interchange Format").
#[derive(Debug, Clone)]
struct Raw {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
    /// What it says of its size, if that is not the truth.
    size: Option<u64>,
}

fn raw(kind: u8, name: &str) -> Raw {
    Raw { kind, name: name.into(), link: vec![], mode: 0o644, content: vec![], size: None }
}

fn file(name: &str, content: &str) -> Raw {
    Raw { content: content.into(), ..raw(b'0', name) }
}

fn link(kind: u8, name: &str, to: &str) -> Raw {
    Raw { link: to.into(), ..raw(kind, name) }
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(124, format!("{:011o}", self.size.unwrap_or(self.content.len() as u64)).as_bytes());
        put(136, b"00000000001");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        let mut bytes = block.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn tar(entries: &[Raw]) -> Vec<u8> {
    entries.iter().flat_map(Raw::bytes).chain([0; 1024]).collect()
}

/// A folder to unpack into, and beside it somebody else's.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/kept"), "as it was").unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Self { folder }
    }

    fn unpack_within(&self, bytes: &[u8], bounds: &Bounds) -> Result<Count, Fault> {
        let store = open_folder(&self.folder.path().join("store")).unwrap();
        let mut tree = Tree::make(store.as_fd(), "1")?;
        let mut quiet = |_| ();
        let mut unpacker = Unpacker::new(bounds, &mut quiet);
        unpacker.unpack(bytes, &mut tree)?;
        Ok(unpacker.count)
    }

    fn unpack(&self, entries: &[Raw]) -> Result<Count, Fault> {
        self.unpack_within(&tar(entries), &BOUNDS)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("store/1").join(name)
    }

    /// What is outside is what it was, and nothing came to it.
    #[track_caller]
    fn outside_is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.folder.path().join("outside")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].metadata().unwrap().nlink(), 1);
        assert_eq!(fs::read_to_string(names[0].path()).unwrap(), "as it was");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(self.folder.path().join("store")).unwrap().count(), 1);
    }
}

#[track_caller]
fn refused(entries: &[Raw], fault: Fault) {
    let place = Place::new();
    assert_eq!(place.unpack(entries), Err(fault), "{entries:?}");
    place.outside_is_untouched();
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in
        ["../outside/x", "a/../../outside/x", "..", "a/..", "./../outside/kept", "a/b/c/../../../../x"]
    {
        for kind in [b'0', b'1', b'2', b'5', b'3'] {
            refused(&[raw(b'5', "a"), link(kind, name, "a")], Fault::Traversal);
        }
    }
    for name in ["/etc/passwd", "//x", "/"] {
        refused(&[file(name, "x")], Fault::Absolute);
    }
    // As it stands in an extended header, and in GNU's.
    let pax = |text: &str| Raw { content: text.into(), ..raw(b'x', "header") };
    refused(&[pax("27 path=../../outside/kept\n"), file("harmless", "x")], Fault::Traversal);
    refused(&[pax("24 path=/outside/kept12\n"), file("harmless", "x")], Fault::Absolute);
    refused(
        &[Raw { content: b"../outside/x\0".into(), ..raw(b'L', "@LongLink") }, file("x", "x")],
        Fault::Traversal,
    );
    refused(&[pax("14 path=a\0b/c\n"), file("x", "x")], Fault::BadName);
    refused(&[file("", "x")], Fault::BadName);
}

#[test]
fn nothing_is_written_through_a_link() {
    let outside = "../../outside";
    for (first, second) in [
        (link(b'2', "a", outside), file("a/kept", "changed")),
        (link(b'2', "a", outside), file("a/new", "new")),
        (link(b'2', "a", "/etc"), file("a/closedpaw-test", "x")),
        (link(b'2', "a", "/proc/self/root/etc"), file("a/closedpaw-test", "x")),
        (link(b'2', "a", outside), raw(b'5', "a/new")),
        (link(b'2', "a", outside), link(b'2', "a/new", "x")),
        (link(b'2', "a", outside), link(b'1', "b", "a/kept")),
        (link(b'2', "a", outside), raw(b'0', "a/.wh.kept")),
        (link(b'2', "a", outside), raw(b'0', "a/.wh..wh..opq")),
        (link(b'2', "a", "."), file("a/b", "x")),
    ] {
        refused(&[first, second], Fault::ThroughLink);
    }
    // A folder that was used last, and then is something else.
    let swapped = [
        raw(b'5', "a"),
        raw(b'5', "a/b"),
        link(b'2', "a/b", "../../../outside"),
        file("a/b/kept", "changed"),
    ];
    refused(&swapped, Fault::ThroughLink);
    let place = Place::new();
    place.unpack(&[link(b'2', "a", "../../outside/kept"), file("a", "its own")]).unwrap();
    assert!(fs::symlink_metadata(place.at("a")).unwrap().is_file(), "a link is replaced, not followed");
    place.outside_is_untouched();
}

#[test]
fn hard_links_lead_to_files_of_their_own_layer() {
    for target in ["../../outside/kept", "/etc/hostname", "missing", "a", "folder", "", ".", "folder/../a"] {
        let entries = [link(b'2', "a", "../../outside/kept"), raw(b'5', "folder"), link(b'1', "b", target)];
        let fault = if target.is_empty() { Fault::BadLink } else { Fault::BadHardLink };
        refused(&entries, fault);
    }
    let place = Place::new();
    place.unpack(&[file("d/a", "one"), link(b'1', "e/b", "d/a"), link(b'1', "d/a", "d/a")]).unwrap();
    assert_eq!(fs::metadata(place.at("d/a")).unwrap().nlink(), 2);
    assert_eq!(fs::read_to_string(place.at("e/b")).unwrap(), "one");
    // Writing one of them anew does not write the other.
    let place = Place::new();
    place.unpack(&[file("a", "one"), link(b'1', "b", "a"), file("a", "two")]).unwrap();
    assert_eq!(fs::read_to_string(place.at("b")).unwrap(), "one");
    refused(&[file("a", "x"), Raw { content: b"more".into(), ..link(b'1', "b", "a") }], Fault::BadEntry);
}

#[test]
fn the_last_entry_of_a_name_counts() {
    let place = Place::new();
    place
        .unpack(&[
            file("a", "one"),
            file("./a", "two"),
            raw(b'5', "b"),
            file("b", "file"),
            file("c", ""),
            raw(b'5', "c"),
        ])
        .unwrap();
    assert_eq!(fs::read_to_string(place.at("a")).unwrap(), "two");
    assert_eq!(fs::read_to_string(place.at("b")).unwrap(), "file");
    assert!(place.at("c").is_dir());
    refused(&[file("a/b", "x"), file("a", "x")], Fault::NotAFolder);
    refused(&[file("a", "x"), file("a/b", "x")], Fault::NotAFolder);
    refused(&[file(".", "x")], Fault::NotAFolder);
}

#[test]
fn rights_and_devices_are_not_kept() {
    let place = Place::new();
    let entries = [
        Raw { mode: 0o4755, ..file("su", "x") },
        Raw { mode: 0o2711, ..file("sg", "x") },
        Raw { mode: 0o600, ..file("private", "x") },
        Raw { mode: 0o1777, ..raw(b'5', "sticky") },
        Raw { mode: 0o700, ..raw(b'5', "closed") },
        raw(b'3', "char"),
        raw(b'4', "block"),
        raw(b'6', "pipe"),
        Raw {
            content: b"42 SCHILY.xattr.security.capability=\x01\0\0\x02\x80\n".into(),
            ..raw(b'x', "header")
        },
        file("capable", "x"),
    ];
    let count = place.unpack(&entries).unwrap();
    assert_eq!(count.left_out, 3);
    for (name, mode) in [
        ("su", 0o755),
        ("sg", 0o755),
        ("private", 0o644),
        ("sticky", 0o755),
        ("closed", 0o755),
        ("capable", 0o644),
    ] {
        assert_eq!(fs::metadata(place.at(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    for name in ["char", "block", "pipe"] {
        assert!(fs::symlink_metadata(place.at(name)).is_err(), "{name}");
    }
    let mut attributes = Command::new("python3");
    attributes.args(["-c", "import os, sys; print(os.listxattr(sys.argv[1]))"]).arg(place.at("capable"));
    let attributes = attributes.output().unwrap().stdout;
    assert_eq!(String::from_utf8(attributes).unwrap(), "[]\n");
    for kind in [b'S', b'M', b'V', b'D', b'9'] {
        refused(&[raw(kind, "x")], Fault::BadEntry);
    }
    refused(
        &[Raw { content: b"22 GNU.sparse.major=1\n".into(), ..raw(b'x', "h") }, file("a", "x")],
        Fault::BadEntry,
    );
}

#[test]
fn a_bound_that_is_reached_is_named() {
    let within =
        |entries: &[Raw], bounds: Bounds| Place::new().unpack_within(&tar(entries), &bounds).map(|_| ());
    let two = [file("a", "12345678"), file("b", "12345678")];
    assert_eq!(within(&two, Bounds { entries: 2, total: 16, file: 8, ..BOUNDS }), Ok(()));
    assert_eq!(within(&two, Bounds { entries: 1, ..BOUNDS }), Err(Fault::EntriesBound));
    assert_eq!(within(&two, Bounds { total: 15, ..BOUNDS }), Err(Fault::TotalBound));
    assert_eq!(within(&two, Bounds { file: 7, ..BOUNDS }), Err(Fault::FileBound));
    // What it says is enough: nothing of it is written.
    assert_eq!(
        within(&[Raw { size: Some(8 << 30), ..file("a", "x") }], Bounds { file: 1 << 30, ..BOUNDS }),
        Err(Fault::FileBound)
    );
    assert_eq!(within(&[Raw { size: Some(4096), ..file("a", "x") }], BOUNDS), Err(Fault::BadTar));
    let deep = |folders: usize| format!("{}x", "a/".repeat(folders));
    assert_eq!(within(&[file(&deep(4), "")], Bounds { depth: 5, ..BOUNDS }), Ok(()));
    assert_eq!(within(&[file(&deep(5), "")], Bounds { depth: 5, ..BOUNDS }), Err(Fault::DepthBound));
    let long = |length: usize| {
        let name = vec![b'n'; length];
        [Raw { content: name, ..raw(b'L', "@LongLink") }, file("x", "")]
    };
    assert_eq!(within(&long(255), BOUNDS), Ok(()));
    assert_eq!(within(&long(256), BOUNDS), Err(Fault::PathBound));
    assert_eq!(within(&long(5000), BOUNDS), Err(Fault::PathBound));
    assert_eq!(within(&long(70_000), BOUNDS), Err(Fault::HeaderBound));
    let target = [Raw { content: vec![b't'; 5000], ..raw(b'K', "@LongLink") }, link(b'2', "x", "t")];
    assert_eq!(within(&target, BOUNDS), Err(Fault::BadLink));
}

#[test]
fn whiteouts_hide_what_is_below() {
    let place = Place::new();
    let entries = [
        raw(b'0', "a/.wh.gone"),
        raw(b'0', "b/.wh..wh..opq"),
        file("b/new", "x"),
        // Both in one layer: what it has stays, and hides by being there.
        file("c", "x"),
        raw(b'0', ".wh.c"),
        raw(b'0', ".wh.d"),
        raw(b'5', "d"),
        raw(b'0', ".wh..wh.plnk"),
    ];
    place.unpack(&entries).unwrap();
    let gone = fs::symlink_metadata(place.at("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |name: &str| {
        let script = "import os, sys; print(os.getxattr(sys.argv[1], 'user.overlay.opaque').decode())";
        let output = Command::new("python3").arg("-c").arg(script).arg(place.at(name)).output().unwrap();
        String::from_utf8(output.stdout).unwrap() == "y\n"
    };
    assert!(opaque("b") && opaque("d") && !opaque("a"));
    assert_eq!(fs::read_to_string(place.at("c")).unwrap(), "x");
    assert!(!place.at(".wh..wh.plnk").exists());
    for name in [".wh.", "a/.wh.", ".wh...", ".wh.x/y"] {
        refused(&[file(name, "x")], Fault::BadName);
    }
}

/// GNU tar, asked to keep no owners and no set bits, makes the same of it.
#[test]
fn what_tar_unpacks_is_what_is_unpacked() {
    let place = Place::new();
    let from = place.folder.path().join("outside");
    fs::create_dir_all(from.join("d/e")).unwrap();
    fs::write(from.join("d/e/file"), "x".repeat(100_000)).unwrap();
    fs::write(from.join("d/ü \n?"), "").unwrap();
    fs::hard_link(from.join("d/e/file"), from.join("second")).unwrap();
    symlink("d/e", from.join("link")).unwrap();
    for format in ["gnu", "pax", "ustar", "oldgnu", "v7"] {
        let here = Place::new();
        let made =
            Command::new("tar").arg("-C").arg(&from).args(["--format", format, "-cf", "-", "."]).output();
        here.unpack_within(&made.unwrap().stdout, &BOUNDS).unwrap();
        let same = Command::new("diff")
            .args(["-r", "--no-dereference"])
            .arg(&from)
            .arg(here.at(""))
            .output()
            .unwrap();
        assert!(same.status.success(), "{format}: {}", String::from_utf8_lossy(&same.stdout));
        assert_eq!(fs::metadata(here.at("second")).unwrap().nlink(), 2, "{format}");
    }
}

fn entries() -> impl Strategy<Value = Vec<Raw>> {
    let part =
        prop::sample::select(vec!["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "outside", "kept"]);
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let target = prop_oneof![
        path.clone(),
        Just("../../outside".to_owned()),
        Just("../../../outside/kept".to_owned()),
        Just("/".to_owned()),
    ];
    let kind = prop::sample::select(vec![b'0', b'1', b'2', b'3', b'5', b'6', b'7', b'\0']);
    let one = (kind, path, target).prop_map(|(kind, path, target)| Raw {
        content: if kind == b'0' { b"x".into() } else { vec![] },
        ..link(kind, &path, &target)
    });
    prop::collection::vec(one, 1..12)
}

/// That nothing below a folder is anybody else's, or more than a layer may have.
fn all_is_harmless(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let found = entry.metadata().unwrap();
        let kind = found.file_type();
        assert!(
            kind.is_dir()
                || kind.is_file()
                || kind.is_symlink()
                || (kind.is_char_device() && found.rdev() == 0)
        );
        assert_eq!(if kind.is_symlink() { 0 } else { found.mode() & 0o7022 }, 0);
        if kind.is_dir() {
            all_is_harmless(&entry.path());
        }
    }
}

proptest! {
    /// Whatever the order and kinds of entries are.
    #[test]
    fn any_entries_stay_inside(entries in entries()) {
        let place = Place::new();
        let mut taken = vec![];
        for entry in entries {
            // Each that is refused is left out, so that those after it are tried as well.
            let _ = fs::remove_dir_all(place.at(""));
            taken.push(entry);
            if place.unpack(&taken).is_err() {
                taken.pop();
            }
            all_is_harmless(&place.at(""));
        }
        place.outside_is_untouched();
    }

    /// Whatever bytes a name has.
    #[test]
    fn any_name_is_inside_or_refused(name in prop::collection::vec(any::<u8>(), 1..100)) {
        let place = Place::new();
        let entry = Raw { name: name.clone(), ..raw(b'5', "") };
        if place.unpack(&[entry]).is_ok() {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            prop_assert!(fs::symlink_metadata(place.at("").join(OsStr::from_bytes(&name[..end]))).is_ok());
        }
        place.outside_is_untouched();
    }
}
