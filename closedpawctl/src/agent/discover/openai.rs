//! Is it a server of OpenAI's chat completions, and which model does it have?
#![forbid(unsafe_code)]

use serde::Deserialize;

use super::probe::Probe;
use super::{Mode, Model, Unusable, Wire, cloud_name, millions, plausible_name};
use crate::agent::ports::{Dial, Note, Voice};

/// Names that are listed in an error.
const MAX_LISTED: usize = 8;
/// What a server is taken to hold that does not say: the least that any of them starts with.
const ASSUMED_CONTEXT: u32 = 4096;
/// Below this, native tool calls fail (measured), while a schema is always kept. In millions of parameters.
const SMALL: f64 = 4000.0;

/// Chooses a model of this endpoint, once it has loaded.
pub(super) async fn look(
    probe: &mut Probe<'_, impl Dial>,
    voice: &mut impl Voice,
) -> Result<Model, Unusable> {
    // llama-server lists its model before it has loaded it; only `/health` tells.
    probe.get_when_loaded("/health", voice).await?;
    let page = probe.get_when_loaded("/v1/models", voice).await?;
    if page.status != 200 {
        return Err(page.refusal());
    }
    let list: List = page.json().ok_or(Unusable::NotAModelServer)?;
    let entry = choose(list.data, probe, voice)?;
    let context = match entry.context() {
        Some(context) => context,
        None => context_of_props(probe).await.unwrap_or(ASSUMED_CONTEXT),
    };
    let mode = if probe.endpoint.embedded || small(&entry.id) { Mode::Steps } else { Mode::Native };
    probe.model(entry.id, Wire::OpenAi, mode, context)
}

fn choose(
    entries: Vec<Entry>,
    probe: &Probe<'_, impl Dial>,
    voice: &mut impl Voice,
) -> Result<Entry, Unusable> {
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| plausible_name(&entry.id)).collect();
    if entries.is_empty() {
        return Err(Unusable::NoModels);
    }
    let names = |entries: &[Entry]| entries.iter().take(MAX_LISTED).map(|entry| entry.id.clone()).collect();
    let available: Vec<String> = names(&entries);
    let wanted: Vec<Entry> = match probe.endpoint.model.as_deref() {
        Some(name) => entries.into_iter().filter(|entry| entry.id == name).collect(),
        None => entries.into_iter().filter(|entry| !not_for_chat(&entry.id)).collect(),
    };
    if let (true, Some(name)) = (wanted.is_empty(), &probe.endpoint.model) {
        return Err(Unusable::ModelMissing { name: name.clone(), available });
    }
    let (cloud, local): (Vec<Entry>, Vec<Entry>) =
        wanted.into_iter().partition(|entry| cloud_name(&entry.id));
    for model in cloud.iter().take(MAX_LISTED) {
        let label = probe.endpoint.label.clone();
        voice.note(&Note::CloudModelSkipped { label, model: model.id.clone() });
    }
    match local.into_iter().next() {
        Some(entry) => Ok(entry),
        None if cloud.is_empty() => Err(Unusable::CannotChat),
        None => Err(Unusable::CloudOnly { models: names(&cloud) }),
    }
}

/// Servers list what they can load, by names alone.
fn not_for_chat(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    ["embed", "rerank", "whisper"].iter().any(|word| id.contains(word))
}

fn small(id: &str) -> bool {
    let words = id.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    words.filter_map(millions).next().is_some_and(|size| size < SMALL)
}

/// llama-server's own page.
async fn context_of_props(probe: &mut Probe<'_, impl Dial>) -> Option<u32> {
    let props: Props = probe.get("/props").await.ok()?.json()?;
    Some(props.default_generation_settings.n_ctx)
}

#[derive(Deserialize)]
struct Props {
    default_generation_settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    n_ctx: u32,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    /// vLLM
    max_model_len: Option<u32>,
    /// closedpaw-model
    context_length: Option<u32>,
    /// LM Studio
    loaded_context_length: Option<u32>,
    /// llama-server
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    n_ctx: Option<u32>,
}

impl Entry {
    fn context(&self) -> Option<u32> {
        let meta = self.meta.as_ref().and_then(|meta| meta.n_ctx);
        meta.or(self.context_length).or(self.max_model_len).or(self.loaded_context_length)
    }
}
