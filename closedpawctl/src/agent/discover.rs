//! Finds the first usable model in the console's list of endpoints.
//!
//! Whoever listens on a well-known port may be anybody: an endpoint has to name itself as what it is said to
//! be, and then answer as such. A model that runs elsewhere is never chosen.
#![forbid(unsafe_code)]

mod ollama;
mod openai;
mod probe;
#[cfg(test)]
mod tests;
mod unusable;

pub use self::unusable::{NoModel, Tried, Unusable};

use self::probe::Probe;
use super::limits::Limits;
use super::ports::{Dial, Endpoint, Kind, Voice};

/// A model that answers and can be driven: what [`find`] proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub(super) endpoint: usize,
    pub(super) label: String,
    pub(super) host: String,
    pub(super) base: String,
    pub(super) name: String,
    pub(super) wire: Wire,
    pub(super) mode: Mode,
    pub(super) context: u32,
    pub(super) embedded: bool,
}

/// The format that is spoken with the model's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `/api/chat`
    Ollama,
    /// `/v1/chat/completions`
    OpenAi,
}

/// How tools are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The server's own tool calls.
    Native,
    /// One JSON object a step, under a schema: for small models.
    Steps,
}

/// Tries the endpoints in their order; the first whose model answers the probes wins.
///
/// # Errors
/// [`NoModel`] says what was tried and why nothing was usable.
pub async fn find(
    dial: &mut impl Dial,
    endpoints: &[Endpoint],
    voice: &mut impl Voice,
    limits: &Limits,
) -> Result<Model, NoModel> {
    let mut tried = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let mut probe = Probe { dial: &mut *dial, endpoint, index, limits };
        match look(&mut probe, voice).await {
            Ok(model) => return Ok(model),
            Err(why) => tried.push(Tried { label: endpoint.label.clone(), why }),
        }
    }
    Err(NoModel { tried })
}

async fn look(probe: &mut Probe<'_, impl Dial>, voice: &mut impl Voice) -> Result<Model, Unusable> {
    match probe.endpoint.kind {
        Kind::OpenAi => openai::look(probe, voice).await,
        Kind::Ollama => match ollama::is_ollama(probe).await? {
            true => ollama::look(probe, voice).await,
            false => Err(Unusable::NotAModelServer),
        },
        Kind::Either => match ollama::is_ollama(probe).await? {
            true => ollama::look(probe, voice).await,
            false => openai::look(probe, voice).await,
        },
    }
}

impl Model {
    /// Where it runs, as the person knows it.
    pub fn label(&self) -> &str {
        &self.label
    }
    /// Its name at the server: the server's words.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// How tools are asked for.
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// Which format is spoken.
    pub fn wire(&self) -> Wire {
        self.wire
    }
    /// Tokens it can hold.
    pub fn context(&self) -> u32 {
        self.context
    }
    /// Whether it is the embedded default, which the person is told.
    pub fn embedded(&self) -> bool {
        self.embedded
    }
}

/// Bytes of a model's name that is still taken for one.
const MAX_NAME: usize = 256;

/// Ollama's own names for models that run elsewhere; its `/v1` says it in no other way.
fn cloud_name(name: &str) -> bool {
    name.ends_with("-cloud") || name.ends_with(":cloud")
}

fn plausible_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME
}

/// Millions of parameters that a word such as `7B`, `0.5b` or `494.03M` tells.
fn millions(word: &str) -> Option<f64> {
    let factor = match word.chars().last()? {
        'b' | 'B' => 1000.0,
        'm' | 'M' => 1.0,
        _ => return None,
    };
    let number = word.get(..word.len() - 1)?;
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| number.parse::<f64>().ok()).flatten().map(|number| number * factor)
}
