//! What a shim answers when it was started: where it listens, and which service it has there.
//!
//! Two forms are about. A bare address is a shim of task service 2 (containerd 1.x, Kata Containers); a JSON object with a
//! version is one of containerd 2
//! (<https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md#bootstrap>).
#![forbid(unsafe_code)]

use crate::error::{ShimError, plain};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where a shim listens, and to what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) socket: PathBuf,
    pub(crate) service: &'static str,
}

/// The longest reply that is read, in bytes. A socket's path has at most 107.
pub(crate) const LONGEST: u64 = 4096;

#[derive(Deserialize)]
struct Bootstrap {
    version: u32,
    address: String,
    protocol: String,
}

impl Reply {
    pub(crate) fn read(text: &str) -> Result<Self, ShimError> {
        let text = text.trim();
        let neither = || ShimError::Reply { reply: plain(text) };
        if !text.starts_with('{') {
            return Self::at(text, "containerd.task.v2.Task").ok_or_else(neither);
        }
        let Bootstrap { version, address, protocol } = serde_json::from_str(text).map_err(|_| neither())?;
        let foreign = || ShimError::Foreign { what: plain(&format!("{protocol}, version {version}")) };
        let service = match (version, protocol.as_str()) {
            (2, "ttrpc") => "containerd.task.v2.Task",
            (3, "ttrpc") => "containerd.task.v3.Task",
            _ => return Err(foreign()),
        };
        Self::at(&address, service).ok_or_else(neither)
    }

    fn at(address: &str, service: &'static str) -> Option<Self> {
        let socket = Path::new(address.strip_prefix("unix://")?);
        let plain = !address.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        (socket.is_absolute() && plain).then(|| Self { socket: socket.to_owned(), service })
    }

    /// As ttrpc wants it said.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As containerd's 1.6.20, 1.7.24 and 2.1.9 of Debian answer.
    #[test]
    fn both_forms_choose_their_service() {
        for (text, service) in [
            ("unix:///run/containerd/s/0f3c", "containerd.task.v2.Task"),
            ("unix:///run/containerd/s/0f3c\n", "containerd.task.v2.Task"),
            (
                r#"{"version":2,"address":"unix:///run/containerd/s/0f3c","protocol":"ttrpc"}"#,
                "containerd.task.v2.Task",
            ),
            (
                r#"{"version":3,"address":"unix:///run/containerd/s/0f3c","protocol":"ttrpc"}"#,
                "containerd.task.v3.Task",
            ),
        ] {
            let reply = Reply::read(text).unwrap();
            assert_eq!((reply.service, reply.socket.to_str()), (service, Some("/run/containerd/s/0f3c")));
        }
    }

    #[test]
    fn what_is_neither_form_is_said_so() {
        for text in [
            "",
            "ok",
            "unix://",
            "unix://relative",
            "tcp://127.0.0.1:1",
            "unix:///a\nunix:///b",
            "unix:///a b",
            "{}",
            "[3]",
            r#"{"version":"3","address":"unix:///a","protocol":"ttrpc"}"#,
            r#"{"version":3,"address":"vsock://3:1024","protocol":"ttrpc"}"#,
        ] {
            let error = Reply::read(text).unwrap_err();
            assert!(matches!(error, ShimError::Reply { .. }), "{text}: {error}");
        }
        for text in [
            r#"{"version":3,"address":"unix:///a","protocol":"grpc"}"#,
            r#"{"version":4,"address":"unix:///a","protocol":"ttrpc"}"#,
        ] {
            assert!(matches!(Reply::read(text).unwrap_err(), ShimError::Foreign { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_absolute_socket_or_an_error(text in ".*") {
            if let Ok(reply) = Reply::read(&text) {
                prop_assert!(reply.socket.is_absolute());
            }
        }

        #[test]
        fn any_bootstrap_is_a_known_service_or_an_error(version: u32, protocol in "ttrpc|grpc|.*", path in "[a-z/]{1,20}") {
            let text = serde_json::json!({ "version": version, "address": format!("unix:///{path}"), "protocol": protocol, "more": 1 });
            let known = (version == 2 || version == 3) && protocol == "ttrpc";
            prop_assert_eq!(Reply::read(&text.to_string()).is_ok(), known);
        }
    }
}
