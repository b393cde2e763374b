//! Is it Ollama, and which of its models can drive tools?
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::probe::Probe;
use super::{Mode, Model, Unusable, Wire, cloud_name, millions, plausible_name};
use crate::agent::ports::{Dial, Note, Voice};

/// Models that are looked at closely, and names that are listed in an error.
const MAX_LOOKED_AT: usize = 8;
/// Below this, tool calls fail however the template reads; a schema helps. In millions of parameters.
const SMALL: f64 = 2000.0;
/// What a model is taken to hold that does not say.
const ASSUMED_CONTEXT: u32 = 8192;

/// Only Ollama answers `/api/version` so; others imitate `/api/tags`.
pub(super) async fn is_ollama(probe: &mut Probe<'_, impl Dial>) -> Result<bool, Unusable> {
    let page = probe.get("/api/version").await?;
    let version = page.json::<Version>().map(|version| version.version).unwrap_or_default();
    Ok(version.starts_with(|c: char| c.is_ascii_digit()) && version.len() < 64)
}

/// Chooses a model of an endpoint that has said that it is Ollama.
pub(super) async fn look(
    probe: &mut Probe<'_, impl Dial>,
    voice: &mut impl Voice,
) -> Result<Model, Unusable> {
    let tags: Tags = probe.get("/api/tags").await?.json().ok_or(Unusable::Impostor)?;
    let entries = tags.models.unwrap_or_default();
    let wanted = candidates(entries, probe.endpoint.model.as_deref())?;
    let mut cloud = Vec::new();
    let mut second_best = None;
    let mut last_reason = Unusable::CannotChat;
    for entry in wanted.into_iter().take(MAX_LOOKED_AT) {
        if entry.is_cloud() {
            cloud.push(entry.name);
            continue;
        }
        match consider(probe, entry).await? {
            Considered::Cloud(name) => cloud.push(name),
            Considered::Tools(model) => return Ok(told(model, &cloud, voice)),
            Considered::Completion(model) => second_best = second_best.or(Some(model)),
            Considered::No(why) => last_reason = why,
        }
    }
    match second_best {
        Some(model) => Ok(told(model, &cloud, voice)),
        None if cloud.is_empty() => Err(last_reason),
        None => {
            announce(&probe.endpoint.label, &cloud, voice);
            Err(Unusable::CloudOnly { models: cloud })
        }
    }
}

/// The named model alone, or all.
fn candidates(entries: Vec<Entry>, wanted: Option<&str>) -> Result<Vec<Entry>, Unusable> {
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| plausible_name(&entry.name)).collect();
    let Some(name) = wanted else {
        return if entries.is_empty() { Err(Unusable::NoModels) } else { Ok(entries) };
    };
    let latest = format!("{name}:latest");
    let available = entries.iter().take(MAX_LOOKED_AT).map(|entry| entry.name.clone()).collect();
    match entries.into_iter().find(|entry| entry.name == name || entry.name == latest) {
        Some(entry) => Ok(vec![entry]),
        None => Err(Unusable::ModelMissing { name: name.to_owned(), available }),
    }
}

enum Considered {
    Tools(Model),
    Completion(Model),
    Cloud(String),
    No(Unusable),
}

async fn consider(probe: &mut Probe<'_, impl Dial>, entry: Entry) -> Result<Considered, Unusable> {
    let body = serde_json::json!({ "model": entry.name, "verbose": false }).to_string();
    let page = probe.post("/api/show", &body).await?;
    if page.status == 404 {
        return Ok(Considered::No(Unusable::NoModels));
    }
    let show: Show = page.json().ok_or(Unusable::Impostor)?;
    if show.remote_host.is_some_and(some_text) || show.remote_model.is_some_and(some_text) {
        return Ok(Considered::Cloud(entry.name));
    }
    // Old versions do not tell capabilities; every model of theirs completes.
    let (tools, completion) = match &show.capabilities {
        Some(can) => (can.iter().any(|word| word == "tools"), can.iter().any(|word| word == "completion")),
        None => (false, true),
    };
    if !tools && !completion {
        return Ok(Considered::No(Unusable::CannotChat));
    }
    let details = show.details.or(entry.details).unwrap_or_default();
    let small = details.parameter_size.as_deref().and_then(millions).is_some_and(|size| size < SMALL);
    let mode = if tools && !small { Mode::Native } else { Mode::Steps };
    let context = context_length(&show.model_info.unwrap_or_default()).unwrap_or(ASSUMED_CONTEXT);
    Ok(match probe.model(entry.name, Wire::Ollama, mode, context) {
        Ok(model) if tools => Considered::Tools(model),
        Ok(model) => Considered::Completion(model),
        Err(why) => Considered::No(why),
    })
}

/// The number beside `<architecture>.context_length`.
fn context_length(info: &BTreeMap<String, Box<RawValue>>) -> Option<u32> {
    let architecture: String = serde_json::from_str(info.get("general.architecture")?.get()).ok()?;
    let length = info.get(&format!("{architecture}.context_length"))?;
    let length: u64 = serde_json::from_str(length.get()).ok()?;
    Some(u32::try_from(length).unwrap_or(u32::MAX))
}

fn told(model: Model, cloud: &[String], voice: &mut impl Voice) -> Model {
    announce(model.label(), cloud, voice);
    model
}

fn announce(label: &str, cloud: &[String], voice: &mut impl Voice) {
    for model in cloud {
        voice.note(&Note::CloudModelSkipped { label: label.to_owned(), model: model.clone() });
    }
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Tags {
    models: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    remote_model: Option<String>,
    remote_host: Option<String>,
    details: Option<Details>,
}

impl Entry {
    fn is_cloud(&self) -> bool {
        let remote = [&self.remote_host, &self.remote_model].into_iter().flatten();
        remote.cloned().any(some_text) || cloud_name(&self.name)
    }
}

fn some_text(text: String) -> bool {
    !text.is_empty()
}

#[derive(Deserialize, Default)]
struct Details {
    parameter_size: Option<String>,
}

#[derive(Deserialize)]
struct Show {
    details: Option<Details>,
    model_info: Option<BTreeMap<String, Box<RawValue>>>,
    capabilities: Option<Vec<String>>,
    remote_model: Option<String>,
    remote_host: Option<String>,
}
