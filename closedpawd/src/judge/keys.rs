//! Who may speak: enrolled keys from root's files.
#![forbid(unsafe_code)]

use super::files;
use closedpaw_protocol::KeyId;
use closedpaw_protocol::message::KeyState;
use closedpaw_protocol::sign::Verifier;
use closedpaw_rules::{KeyFile, Problem, Role, SourceFile};
use std::collections::BTreeMap;
use std::path::Path;

/// One enrolled key.
#[derive(Debug, Clone)]
pub(super) struct Enrolled {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) role: Role,
    /// In unix seconds; 0 for no end.
    pub(super) expires: u64,
    pub(super) verifier: Verifier,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<KeyId, Enrolled>);

impl Keys {
    /// Reads `keys.d`. A file that makes no sense enrols nobody and is reported; the others still count.
    pub(super) fn load(folder: &Path) -> (Self, Vec<String>) {
        let (files, mut problems) = files::read(folder);
        let mut keys = BTreeMap::new();
        for file in &files {
            match enrol(&SourceFile { name: &file.name, text: &file.text }) {
                Ok((id, enrolled)) => drop(keys.insert(id, enrolled)),
                Err(found) => problems.extend(found.iter().map(Problem::to_string)),
            }
        }
        (Self(keys), problems)
    }

    pub(super) fn get(&self, id: &KeyId) -> Option<&Enrolled> {
        self.0.get(id)
    }

    /// As `key list` shows them.
    pub(super) fn states(&self) -> Vec<KeyState> {
        let state = |(id, key): (&KeyId, &Enrolled)| KeyState {
            name: key.name.clone(),
            key: *id,
            uid: key.uid,
            role: key.role.name().to_owned(),
            expires: key.expires,
        };
        self.0.iter().map(state).collect()
    }
}

fn enrol(file: &SourceFile<'_>) -> Result<(KeyId, Enrolled), Vec<Problem>> {
    let key = KeyFile::parse(file)?;
    let id = key.public;
    // A weak key verifies anything; the parser has refused it, and this is where it would matter.
    let verifier = Verifier::new(&id).map_err(|_| Vec::new())?;
    Ok((id, Enrolled { name: key.name, uid: key.uid, role: key.role, expires: key.expires, verifier }))
}
