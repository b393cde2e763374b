//! A log to break.

use closedpaw_ledger::chain::Chain;
use closedpaw_ledger::head::SignedHead;
use closedpaw_ledger::record::{Fields, Kind, Value};
use closedpaw_ledger::tree::Hash;
use closedpaw_ledger::verify::{Fault, Report, Verifier};
use ed25519_dalek::SigningKey;

/// The daemon's key.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// A log as the daemon writes it, with all that it stored and signed beside it.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) chain: Chain,
    pub(crate) lines: Vec<String>,
    pub(crate) nodes: Vec<Hash>,
    /// The head after each number of records, from none.
    pub(crate) heads: Vec<SignedHead>,
    now_ms: u64,
}

impl Log {
    pub(crate) fn new() -> Log {
        let chain = Chain::new();
        let heads = vec![chain.head(0, &key())];
        Log { chain, lines: Vec::new(), nodes: Vec::new(), heads, now_ms: 1_795_397_025_678 }
    }

    /// A log of `n` records that say who did what.
    pub(crate) fn of(n: u64) -> Log {
        let mut log = Log::new();
        for i in 0..n {
            log.write(&format!("deed {i}"));
        }
        log
    }

    /// Writes one record.
    pub(crate) fn write(&mut self, deed: &str) {
        self.now_ms += 1000;
        let fields = Fields::new().with("uid", Value::Number(1000)).with("deed", Value::text(deed));
        let next = self.chain.next_of(self.now_ms, Kind::Intent, fields);
        self.take(next);
    }

    /// Writes a head into the log itself.
    pub(crate) fn write_head(&mut self) {
        let next = self.chain.next_head(self.now_ms, &key());
        self.take(next);
    }

    fn take(&mut self, next: closedpaw_ledger::chain::Next) {
        assert_eq!(next.first_node, self.nodes.len() as u64);
        self.lines.push(next.line.clone());
        self.nodes.extend(&next.nodes);
        self.chain.commit(next).unwrap();
        self.heads.push(self.chain.head(self.now_ms, &key()));
    }

    /// Checks these lines with the daemon's key and the heads held.
    pub(crate) fn check(lines: &[String], held: &[SignedHead]) -> Result<Report, Fault> {
        let mut verifier = Verifier::new(Some(key().verifying_key()), held)?;
        for line in lines {
            verifier.push_line(line.as_bytes())?;
        }
        verifier.finish()
    }

    /// Checks the log as it is.
    pub(crate) fn verify(&self, held: &[SignedHead]) -> Result<Report, Fault> {
        Log::check(&self.lines, held)
    }
}
