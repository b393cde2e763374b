//! `closedpawctl key`: the person's key, and root's list of whose keys count.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::{Daemon, key_id};
use crate::console::session::Person;
use crate::failure::Failure;
use crate::keys;
use closedpaw_protocol::KeyId;
use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::sign::Verifier;
use closedpaw_rules::{KeyFile, Role, SourceFile};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Make your approver key.
    #[command(after_help = "Example:\n  closedpawctl key generate")]
    Generate,
    /// Print your key's public half.
    #[command(after_help = "Example:\n  closedpawctl key public")]
    Public,
    /// Let a key count (as root): writes a file of keys.d.
    #[command(after_help = "Example:\n  sudo closedpawctl key enroll --name anna --uid 1000 --public 5f0c…")]
    Enroll {
        /// The file's name.
        #[arg(long)]
        name: String,
        /// Whose it is.
        #[arg(long)]
        uid: u32,
        /// The public key, as `key generate` printed it.
        #[arg(long, value_name = "HEX")]
        public: KeyId,
        /// approver, admin or publisher.
        #[arg(long, default_value = "approver")]
        role: String,
        /// In how many days it ends; 0 for never.
        #[arg(long, default_value_t = 365, value_name = "N")]
        days: u64,
    },
    /// Show the keys that count.
    #[command(after_help = "Example:\n  closedpawctl key list --json")]
    List,
    /// Let a key count no more (as root).
    #[command(after_help = "Example:\n  sudo closedpawctl key revoke --name anna")]
    Revoke {
        /// The file's name.
        #[arg(long)]
        name: String,
    },
}

/// Does it.
pub async fn run(word: Word, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    match word {
        Word::Generate => generate(as_json),
        Word::Public => {
            line(&key_id(&keys::load()?).to_string());
            Ok(())
        }
        Word::Enroll { name, uid, public, role, days } => enroll(daemon, name, uid, public, &role, days),
        Word::List => list(daemon, as_json).await,
        Word::Revoke { name } => revoke(daemon, &name),
    }
}

fn generate(as_json: bool) -> Result<(), Failure> {
    let public = keys::generate()?;
    if as_json {
        json(&json!({"public": public.to_string(), "path": keys::path().display().to_string()}));
    } else {
        line(&format!("{public}"));
        let uid = nix::unistd::getuid();
        crate::console::screen::err(&format!(
            "the private half lies in {}; let it count: sudo closedpawctl key enroll --name NAME --uid {uid} --public {public}\n",
            keys::path().display()
        ));
    }
    Ok(())
}

fn file(daemon: &Daemon, name: &str) -> Result<PathBuf, Failure> {
    let plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !plain || name.len() > 32 {
        return Err(Failure::new(
            "key-name",
            64,
            "a key's name has 1 to 32 of a-z, 0-9 and -",
            "choose another --name",
        ));
    }
    Ok(daemon.etc().join("keys.d").join(format!("{name}.toml")))
}

fn as_root(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(
        "not-root",
        77,
        format!("{}: {error}", path.display()),
        "run it as root: sudo closedpawctl key …",
    )
}

fn enroll(
    daemon: &Daemon,
    name: String,
    uid: u32,
    public: KeyId,
    role: &str,
    days: u64,
) -> Result<(), Failure> {
    let path = file(daemon, &name)?;
    Verifier::new(&public).map_err(|_| {
        Failure::new(
            "weak-key",
            65,
            "that key is none, or one under which anything verifies",
            "make another one",
        )
    })?;
    let role = [Role::Approver, Role::Admin, Role::Publisher].into_iter().find(|known| known.name() == role);
    let role =
        role.ok_or_else(|| Failure::new("role", 64, "a role is approver, admin or publisher", "choose one"))?;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires = if days == 0 { 0 } else { now + days * 86_400 };
    let text = KeyFile { name, uid, role, public, expires }.render();
    // What the daemon would refuse is not written.
    let own = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    KeyFile::parse(&SourceFile { name: own, text: &text }).map_err(|found| {
        Failure::new("key-file", 65, found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), "")
    })?;
    let draft = path.with_extension("new");
    let readable = || fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o644));
    fs::write(&draft, text)
        .and_then(|()| readable())
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| as_root(&path, error))?;
    line(&format!("{}: {public} counts as {} of uid {uid}", path.display(), role.name()));
    Ok(())
}

fn revoke(daemon: &Daemon, name: &str) -> Result<(), Failure> {
    let path = file(daemon, name)?;
    fs::remove_file(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::file(&path, error),
        _ => as_root(&path, error),
    })?;
    line(&format!("{name} counts no more"));
    Ok(())
}

async fn list(daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let (Reply::Keys(enrolled), _) = connection.request(&Request::Keys, &[]).await? else {
        return Err(Failure::lost("another answer than keys"));
    };
    let own = keys::load().map(|key| key_id(&key)).ok();
    if as_json {
        let all: Vec<_> = enrolled
            .iter()
            .map(|key| {
                json!({
                    "name": key.name, "uid": key.uid, "role": key.role, "public": key.key.to_string(),
                    "expires": if key.expires == 0 { None } else { Some(key.expires) }, "own": Some(key.key) == own,
                })
            })
            .collect();
        json(&json!(all));
    } else {
        for key in &enrolled {
            let mark = if Some(key.key) == own { "*" } else { " " };
            line(&format!("{mark} {:<16} {:<9} uid {:<6} {}", key.name, key.role, key.uid, key.key));
        }
    }
    Ok(())
}
