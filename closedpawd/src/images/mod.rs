//! Images: root filesystems that are not the host's. `closedpawd image` keeps them; the launcher puts sandboxes on them.
//!
//! Root parses nothing of an image. A worker without rights does ([`worker`]), and what it has unpacked is looked at, entry by
//! entry, before it counts ([`settle`]).
#![forbid(unsafe_code)]

mod settle;
pub(crate) mod store;
mod worker;

use crate::judge::policy::InForce;
use crate::paths::Paths;
use clap::Subcommand;
use closedpaw_protocol::image::{Fault, ImageName, Sha256};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use store::{Locked, Record, Store, StoreError};
use worker::{AddError, Added};

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Word {
    /// Unpack an image into the store: a folder with an OCI image layout, or a tar of one.
    #[command(
        after_help = "Example:\n  skopeo copy docker://docker.io/library/debian:13 oci-archive:debian.tar\n  closedpawd image add debian.tar --name debian:13"
    )]
    Add {
        /// The layout or archive; docker save writes one, too, from Docker 25 on.
        path: PathBuf,
        /// What to call it. A name that another image has becomes this one's.
        #[arg(long)]
        name: Option<ImageName>,
    },
    /// List the images: digest, size, names, who uses them.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Take an image away, and the layers that no other one has. Refused while a profile names it or a sandbox runs on it.
    Rm {
        /// A name, or the digest as `list` shows it.
        image: String,
    },
    /// Take away layers that no image has. The timer of `closedpawd upkeep` does it, too.
    Gc,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("images are root's: run it as root")]
    NotRoot,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Add(#[from] AddError),
    #[error("own path: {0}")]
    Program(io::Error),
    #[error("there is no image {0}; closedpawd image list shows those that are there")]
    Unknown(String),
    #[error("{what} is used by {by}; {}", next(*sandbox))]
    Used { what: String, by: String, sandbox: bool },
    #[error("the profiles cannot be read, so nobody can say whether they name it: {0}")]
    Profiles(String),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

fn next(sandbox: bool) -> &'static str {
    if sandbox { "end that session, then try again" } else { "take it out of that profile, then try again" }
}

impl Failure {
    /// After sysexits(3).
    fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot => 77,
            Self::Store(error) | Self::Add(AddError::Store(error)) => match error {
                StoreError::Locked => 75,
                StoreError::Path(_) => 78,
                StoreError::Missing | StoreError::Strange(_) | StoreError::File(..) => 74,
            },
            Self::Add(AddError::Image { .. }) | Self::Unknown(_) => 66,
            Self::Add(AddError::Program { .. }) | Self::Program(_) => 69,
            Self::Add(AddError::Fault { fault, .. }) => match fault {
                Fault::Read | Fault::Write | Fault::NoSpace => 74,
                Fault::Confinement => 71,
                Fault::Strange | Fault::Nonsense | Fault::Ended => 70,
                _ => 65,
            },
            Self::Used { .. } => 75,
            Self::Profiles(_) => 78,
            Self::Output(_) => 74,
        }
    }
}

/// Does what the word says.
pub(crate) fn run(paths: &Paths, word: &Word) -> ExitCode {
    let done = match nix::unistd::geteuid().is_root() {
        true => obey(paths, word),
        false => Err(Failure::NotRoot),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("image: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn obey(paths: &Paths, word: &Word) -> Result<(), Failure> {
    let store = Store::new(paths);
    match word {
        Word::Add { path, name } => {
            let locked = store.lock()?;
            let programs = crate::launcher::libexec().map_err(Failure::Program)?;
            crate::paths::check(&programs).map_err(StoreError::from)?;
            let program = programs.join("closedpaw-unpack");
            let added = worker::add(&locked, path, &program, &mut show_progress())?;
            if let Some(name) = name {
                locked.put_name(name, added.digest)?;
            }
            said(&told(&added, name.as_ref()))
        }
        Word::List { json } => {
            let images = listed(paths, &store);
            said(&if *json { as_json(&images) } else { as_text(&images) })
        }
        Word::Rm { image } => {
            let locked = store.lock()?;
            remove(paths, &locked, image)?;
            collect(&locked)
        }
        Word::Gc => collect(&store.lock()?),
    }
}

/// Takes away what nothing needs, for the timer. Nothing where there never was an image.
pub(crate) fn upkeep(paths: &Paths) {
    let store = Store::new(paths);
    if !store.part("lock").exists() {
        return;
    }
    match store.lock().and_then(|locked| locked.collect()) {
        Ok((0, _)) | Err(StoreError::Locked) => {}
        Ok((layers, bytes)) => {
            tracing::info!("upkeep: {layers} layers of no image, {bytes} bytes, taken away")
        }
        Err(error) => tracing::warn!("upkeep: images: {error}"),
    }
}

/// Profiles whose image is not there, with how they name it.
pub(crate) fn missing(paths: &Paths, policy: &InForce) -> Vec<String> {
    let store = Store::new(paths);
    let lacks = |profile: &&closedpaw_rules::Profile| {
        profile.image.as_ref().is_some_and(|image| store.layers(image.digest).is_err())
    };
    let profiles = policy.profiles.values().filter(lacks);
    let sentence = |profile: &closedpaw_rules::Profile| {
        let image = profile.image.as_ref().map(ToString::to_string).unwrap_or_default();
        format!(
            "profile {}: {image} is not here: closedpawd image add, with the image of that digest",
            profile.name
        )
    };
    profiles.map(sentence).collect()
}

fn collect(locked: &Locked) -> Result<(), Failure> {
    let (count, bytes) = locked.collect()?;
    said(&format!("{} taken away, {}\n", layers(count), size(bytes)))
}

fn told(added: &Added, name: Option<&ImageName>) -> String {
    let Added { digest, record, shared, left_out } = added;
    let mut text = format!("{digest}\n{}, {}", layers(record.layers.len()), size(record.bytes()));
    if *shared > 0 {
        text += &format!("; {shared} of them were here");
    }
    if *left_out > 0 {
        text += &format!("; {left_out} devices, pipes or sockets left out");
    }
    let name = name.map_or("NAME", ImageName::as_str);
    text + &format!("\nin a profile: image = \"{name}@{digest}\"\n")
}

/// An image with all that is known of it.
struct Listed {
    digest: Sha256,
    record: Result<Record, StoreError>,
    names: Vec<String>,
    users: Vec<String>,
}

fn listed(paths: &Paths, store: &Store) -> Vec<Listed> {
    let (names, policy) = (store.names(), InForce::load(&paths.etc()).ok());
    let each = |(digest, record)| {
        let named = names.iter().filter(|(_, of)| *of == digest).map(|(name, _)| name.to_string());
        let profiles = policy.iter().flat_map(|policy| profiles_with(policy, digest));
        let users = profiles.chain(sandboxes_on(paths, digest)).collect();
        Listed { digest, record, names: named.collect(), users }
    };
    store.images().into_iter().map(each).collect()
}

fn as_text(images: &[Listed]) -> String {
    let mut text = String::new();
    for Listed { digest, record, names, users } in images {
        let what = match record {
            Ok(record) => format!("{}, {}", layers(record.layers.len()), size(record.bytes())),
            Err(error) => error.to_string(),
        };
        text += &format!("{digest}  {what}");
        if !names.is_empty() {
            text += &format!("  {}", names.join(", "));
        }
        if !users.is_empty() {
            text += &format!("  used by {}", users.join(", "));
        }
        text += "\n";
    }
    if images.is_empty() {
        "no images; closedpawd image add --help shows how to get one\n".to_owned()
    } else {
        text
    }
}

/// Names, digests and users are of letters, digits and a few signs: none of them has to be escaped.
fn as_json(images: &[Listed]) -> String {
    let texts =
        |texts: &[String]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(",");
    let each = |Listed { digest, record, names, users }: &Listed| {
        let (names, users) = (texts(names), texts(users));
        let rest = match record {
            Ok(record) => {
                let layer = |layer: &store::Layer| {
                    let store::Layer { digest, bytes, entries } = layer;
                    format!("{{\"digest\":\"{digest}\",\"bytes\":{bytes},\"entries\":{entries}}}")
                };
                let layers = record.layers.iter().map(layer).collect::<Vec<_>>().join(",");
                format!("\"added\":{},\"bytes\":{},\"layers\":[{layers}]", record.added, record.bytes())
            }
            Err(_) => "\"broken\":true".to_owned(),
        };
        format!("{{\"digest\":\"{digest}\",\"names\":[{names}],\"users\":[{users}],{rest}}}")
    };
    format!("[{}]\n", images.iter().map(each).collect::<Vec<_>>().join(",\n "))
}

/// Takes an image away, unless somebody needs it.
fn remove(paths: &Paths, locked: &Locked, image: &str) -> Result<(), Failure> {
    let unknown = || Failure::Unknown(image.chars().filter(char::is_ascii_graphic).take(80).collect());
    let names = locked.store.names();
    let by_name = image.parse::<ImageName>().ok();
    let digest = match image.parse::<Sha256>() {
        Ok(digest) => digest,
        Err(_) => {
            let found = names.iter().find(|(name, _)| Some(name) == by_name.as_ref());
            found.map(|(_, digest)| *digest).ok_or_else(unknown)?
        }
    };
    // A name of several goes alone.
    if by_name.is_some() && names.iter().filter(|(_, of)| *of == digest).count() > 1 {
        return Ok(locked.take_names(|name, _| Some(name) == by_name.as_ref())?);
    }
    let policy = InForce::load(&paths.etc()).map_err(|problems| Failure::Profiles(problems.join("; ")))?;
    let used = |by: Vec<String>, sandbox| match by.is_empty() {
        true => Ok(()),
        false => Err(Failure::Used { what: digest.to_string(), by: by.join(", "), sandbox }),
    };
    used(profiles_with(&policy, digest), false)?;
    used(sandboxes_on(paths, digest), true)?;
    let record = match locked.store.record(digest) {
        Err(StoreError::Missing) => return Err(unknown()),
        record => record.ok(),
    };
    locked.take_record(digest)?;
    // A sandbox that is being started takes note of its image before it looks for the record: either it finds none, or it is
    // found here.
    if let (Err(failure), Some(record)) = (used(sandboxes_on(paths, digest), true), record) {
        locked.put_record(digest, &record)?;
        return Err(failure);
    }
    locked.take_names(|_, of| of == digest)?;
    said(&format!("{digest} taken away\n"))
}

fn profiles_with(policy: &InForce, digest: Sha256) -> Vec<String> {
    let names = |profile: &&closedpaw_rules::Profile| {
        profile.image.as_ref().is_some_and(|image| image.digest == digest)
    };
    policy.profiles.values().filter(names).map(|profile| format!("profile {}", profile.name)).collect()
}

/// Sandboxes that run on an image or are about to, as their folders say.
fn sandboxes_on(paths: &Paths, digest: Sha256) -> Vec<String> {
    let entries = fs::read_dir(paths.run().join("sandboxes")).into_iter().flatten().flatten();
    let on = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join(crate::launcher::IMAGE_NOTE))
            .is_ok_and(|target| target.as_os_str() == digest.digits().as_str())
    };
    let name = |entry: fs::DirEntry| {
        let name: String = entry.file_name().to_string_lossy().chars().take(8).collect();
        format!("sandbox {name}")
    };
    entries.filter(on).map(name).collect()
}

fn layers(count: usize) -> String {
    if count == 1 { "1 layer".to_owned() } else { format!("{count} layers") }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn said(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// On a terminal, one line that grows.
fn show_progress() -> impl FnMut(u64) {
    let mut terminal = Some(io::stderr()).filter(IsTerminal::is_terminal);
    move |bytes| {
        if let Some(terminal) = &mut terminal {
            // What nobody sees is no reason to stop.
            let _ = write!(terminal, "\r\x1b[Kunpacking: {}\r", size(bytes));
            let _ = terminal.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_image_is_told_from_one_of_the_machine() {
        let code = |fault| Failure::Add(AddError::from(fault)).exit_code();
        assert_eq!([Fault::Traversal, Fault::RatioBound, Fault::BlobDigest].map(code), [65; 3]);
        assert_eq!([Fault::NoSpace, Fault::Write].map(code), [74; 2]);
        assert_eq!([Fault::Strange, Fault::Ended].map(code), [70; 2]);
    }
}
