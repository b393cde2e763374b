//! Short questions to one endpoint.
#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{Mode, Model, Unusable, Wire};
use crate::agent::http::{self, Media, Request, Waits};
use crate::agent::limits::Limits;
use crate::agent::ports::{Dial, Endpoint, Note, Voice};

/// One endpoint, and the way to it.
pub(super) struct Probe<'a, D> {
    pub(super) dial: &'a mut D,
    pub(super) endpoint: &'a Endpoint,
    pub(super) index: usize,
    pub(super) limits: &'a Limits,
}

/// A whole response.
pub(super) struct Page {
    pub(super) status: u16,
    media: Media,
    body: Vec<u8>,
}

impl Page {
    /// The body of a good response, if it is JSON of this shape; whole objects, not lists that look like one.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        let object = self.body.trim_ascii_start().first() == Some(&b'{');
        (self.status == 200 && object && self.media != Media::Other)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    /// llama-server's way of saying that it is not ready. A bare 503 may be anybody's.
    fn loading(&self) -> bool {
        self.status == 503 && String::from_utf8_lossy(&self.body).to_ascii_lowercase().contains("loading")
    }

    /// What a response that is not 200 makes of the endpoint.
    pub(super) fn refusal(&self) -> Unusable {
        match self.status {
            401 | 403 => Unusable::NeedsKey,
            500..=599 => Unusable::Refused(self.status),
            _ => Unusable::NotAModelServer,
        }
    }
}

impl<D: Dial> Probe<'_, D> {
    pub(super) async fn get(&mut self, path: &str) -> Result<Page, Unusable> {
        self.ask(path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<Page, Unusable> {
        self.ask(path, Some(body)).await
    }

    async fn ask(&mut self, path: &str, body: Option<&str>) -> Result<Page, Unusable> {
        let times = &self.limits.timeouts;
        let path = format!("{}{path}", self.base());
        let request = Request { host: &self.endpoint.host_header, path: &path, body };
        let waits = Waits { head: times.probe, idle: times.probe, whole: times.probe * 2 };
        let stream = http::connect(self.dial, self.index, times.connect).await?;
        let response = http::send(stream, &request, &waits).await?;
        let (status, media) = (response.status, response.media);
        let body = response.document(self.limits.guards.document).await?;
        Ok(Page { status, media, body })
    }

    /// Asks again for as long as the server says that it is loading, up to the bound.
    pub(super) async fn get_when_loaded(
        &mut self,
        path: &str,
        voice: &mut impl Voice,
    ) -> Result<Page, Unusable> {
        let until = Instant::now() + self.limits.timeouts.loading;
        let mut told = false;
        loop {
            let page = self.get(path).await?;
            if !page.loading() {
                return Ok(page);
            }
            if !std::mem::replace(&mut told, true) {
                voice.note(&Note::Loading { label: self.endpoint.label.clone() });
            }
            if Instant::now() >= until {
                return Err(Unusable::Loading);
            }
            sleep(self.limits.timeouts.pause).await;
        }
    }

    /// What stands before every path, with a slash at its beginning and none at its end.
    fn base(&self) -> String {
        match self.endpoint.base_path.trim_matches('/') {
            "" => String::new(),
            base => format!("/{base}"),
        }
    }

    /// The model, if it can hold enough.
    pub(super) fn model(
        &self,
        name: String,
        wire: Wire,
        mode: Mode,
        context: u32,
    ) -> Result<Model, Unusable> {
        let needed = self.limits.least_context;
        if context < needed {
            return Err(Unusable::ContextTooSmall { model: name, context, needed });
        }
        Ok(Model {
            endpoint: self.index,
            label: self.endpoint.label.clone(),
            host: self.endpoint.host_header.clone(),
            base: self.base(),
            name,
            wire,
            mode,
            context: context.min(self.limits.context),
            embedded: self.endpoint.embedded,
        })
    }
}
