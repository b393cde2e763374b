//! Requests to a shim, each with a time limit.
#![forbid(unsafe_code)]

use crate::error::{ShimError, plain};
use crate::fields::{Value, first_number, message};
use crate::program::Limit;
use crate::reply::Reply;
use std::time::Duration;
use ttrpc::{Client, Error, Request};

/// How long an answer is waited for that may come much later.
const MOMENT: Duration = Duration::from_millis(100);

/// A shim that listens.
pub(crate) struct Task<'a> {
    client: Client,
    service: &'static str,
    id: &'a str,
    limit: &'a Limit,
}

impl<'a> Task<'a> {
    pub(crate) fn reach(reply: &Reply, id: &'a str, limit: &'a Limit) -> Result<Self, ShimError> {
        let gone = |error: Error| ShimError::Gone { what: "connecting", why: plain(&error.to_string()) };
        let client = Client::connect(&reply.address()).map_err(gone)?;
        Ok(Self { client, service: reply.service, id, limit })
    }

    /// Has it make the bundle's sandbox, with these as its input and output, and nothing for errors.
    pub(crate) fn create(&self, bundle: &str, stdin: &str, stdout: &str) -> Result<(), ShimError> {
        let fields = [
            (1, Value::Text(self.id)),
            (2, Value::Text(bundle)),
            (5, Value::Text(stdin)),
            (6, Value::Text(stdout)),
            // It takes both or neither.
            (7, Value::Text("/dev/null")),
        ];
        self.ask("Create", &fields).map(drop)
    }

    /// Has it start it. Gives the process that the sandbox lives and dies with.
    pub(crate) fn start(&self) -> Result<u32, ShimError> {
        let answer = self.ask("Start", &[(1, Value::Text(self.id))])?;
        let refused = |why: String| ShimError::Refused { what: "Start", why };
        match first_number(&answer) {
            Ok(0) => Err(refused("it names no process".to_owned())),
            Ok(process) => Ok(process),
            Err(error) => Err(refused(plain(&error.to_string()))),
        }
    }

    /// Has it hand on the end of the sandbox's input, which otherwise never comes: it holds that open itself, or keeps the end to
    /// itself. containerd's shim answers at once. Kata's does when the end has come, which nobody waits for here.
    pub(crate) fn hand_on_the_end(&self) {
        let fields = [(1, Value::Text(self.id)), (3, Value::Flag(true))];
        drop(self.ask_within(&Limit::of(MOMENT), "CloseIO", &fields));
    }

    /// Has it kill everything in the sandbox, and waits for its end.
    pub(crate) fn kill(&self) -> Result<(), ShimError> {
        let fields = [(1, Value::Text(self.id)), (3, Value::Number(9)), (4, Value::Flag(true))];
        // It may have ended by itself.
        drop(self.ask("Kill", &fields));
        self.ask("Wait", &[(1, Value::Text(self.id))]).map(drop)
    }

    /// Has it take away what it made of the sandbox.
    pub(crate) fn delete(&self) -> Result<(), ShimError> {
        self.ask("Delete", &[(1, Value::Text(self.id))]).map(drop)
    }

    /// Has it end. It may well do so instead of answering.
    pub(crate) fn shut_down(&self) {
        drop(self.ask("Shutdown", &[(1, Value::Text(self.id)), (2, Value::Flag(true))]));
    }

    fn ask(&self, what: &'static str, fields: &[(u32, Value<'_>)]) -> Result<Vec<u8>, ShimError> {
        self.ask_within(self.limit, what, fields)
    }

    fn ask_within(
        &self,
        limit: &Limit,
        what: &'static str,
        fields: &[(u32, Value<'_>)],
    ) -> Result<Vec<u8>, ShimError> {
        let here = |error: protobuf::Error| ShimError::Here { what, error: error.into() };
        let request = Request {
            service: self.service.to_owned(),
            method: what.to_owned(),
            timeout_nano: limit.nanoseconds(what)?,
            payload: message(fields).map_err(here)?,
            ..Request::default()
        };
        match self.client.request(request) {
            Ok(answer) => Ok(answer.payload),
            Err(Error::RpcStatus(status)) => Err(ShimError::Refused { what, why: plain(&status.message) }),
            Err(error) => {
                // It says in words alone that the time is over.
                limit.nanoseconds(what)?;
                Err(ShimError::Gone { what, why: plain(&error.to_string()) })
            }
        }
    }
}
