//! Writing the log: one thread that appends, syncs once for everybody who waits, and signs the head.
//!
//! Nothing is done before its record is on disk. Space for what has to be said after the disk is full is kept in
//! reserve: when that is all there is left, intents are refused and outcomes are still written.
#![forbid(unsafe_code)]

use super::clock;
use closedpaw_ledger::chain::Chain;
use closedpaw_ledger::head::SignedHead;
use closedpaw_ledger::record::{Entry, Fields, Kind, Value};
use closedpaw_ledger::tree::{Frontier, Hash, ReadNodes, consistency_proof, stored_hash_count};
use closedpaw_protocol::ErrorCode;
use closedpaw_protocol::message::Head;
use ed25519_dalek::SigningKey;
use rustix::fs::FallocateFlags;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

/// Bytes kept free behind the end of the log.
const RESERVE: u64 = 256 * 1024;

/// How much of the reserve must be there for an intent to be accepted: room for what comes after it.
const NEEDED: u64 = 64 * 1024;

/// How many of the last outcomes are remembered at the start: more than all sandboxes together have work.
const OUTCOMES: usize = 1 << 16;

/// What a log tells whoever opens it.
#[derive(Debug)]
pub(super) struct Opened {
    /// Bytes of a record that was never finished, and so never acknowledged, and was cut off.
    pub(super) torn: u64,
    /// The intents of the last outcomes.
    pub(super) ended: BTreeSet<u64>,
}

/// Records written with one sync at most.
const BATCH: usize = 1024;

/// The log, from the judge's side.
#[derive(Debug, Clone)]
pub(super) struct Audit {
    entries: mpsc::Sender<Waiting>,
    head: Arc<Mutex<SignedHead>>,
    folder: PathBuf,
}

/// A record that was written and synced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Its number.
    pub(super) seq: u64,
}

struct Waiting {
    kind: Kind,
    fields: Fields,
    done: Option<oneshot::Sender<Option<Written>>>,
}

impl Audit {
    /// Opens the log, repairs what a crash left behind, and starts to write.
    pub(super) fn open(folder: &Path, key: SigningKey) -> io::Result<(Self, Opened)> {
        let (writer, opened) = Writer::open(folder, key)?;
        let head = Arc::new(Mutex::new(writer.chain.head(clock::milliseconds(), &writer.key)));
        let (entries, queue) = mpsc::channel();
        let shared = Arc::clone(&head);
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.serve(&queue, &shared))?;
        Ok((Self { entries, head, folder: folder.to_owned() }, opened))
    }

    /// Writes a record and waits until it is on disk.
    pub(super) async fn durable<E: Entry>(&self, entry: E) -> Result<Written, ErrorCode> {
        let (done, written) = oneshot::channel();
        let waiting = Waiting { kind: E::KIND, fields: entry.fields(), done: Some(done) };
        self.entries.send(waiting).map_err(|_| ErrorCode::AuditUnwritable)?;
        written.await.ok().flatten().ok_or(ErrorCode::AuditUnwritable)
    }

    /// Writes a record that nothing waits for.
    pub(super) fn note(&self, kind: Kind, fields: Fields) {
        // Without a writer every action is refused already.
        let _ = self.entries.send(Waiting { kind, fields, done: None });
    }

    /// The head over everything that is on disk.
    pub(super) fn head(&self) -> Head {
        let SignedHead { head, signature } = self.signed_head();
        Head { size: head.size, root: *head.root.as_bytes(), time: head.time, signature }
    }

    /// The same as the ledger knows it.
    pub(super) fn signed_head(&self) -> SignedHead {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the log for a client to check it.
    pub(super) fn file(&self) -> io::Result<File> {
        File::open(log_path(&self.folder))
    }

    /// Proves that the log of `old` records is a beginning of the current one.
    ///
    /// The head is the one the proof leads to; the log may have grown by the time the answer is sent.
    pub(super) fn consistency(&self, old: u64) -> (Head, Option<Vec<[u8; 32]>>) {
        let head = self.head();
        let nodes = File::open(nodes_path(&self.folder)).map(NodeFile);
        let proof = nodes.ok().and_then(|nodes| consistency_proof(&nodes, old, head.size).ok());
        (head, proof.map(|proof| proof.iter().map(|hash| *hash.as_bytes()).collect()))
    }
}

/// The log's file in its folder.
pub(crate) fn log_path(folder: &Path) -> PathBuf {
    folder.join("audit.jsonl")
}

fn nodes_path(folder: &Path) -> PathBuf {
    folder.join("audit.nodes")
}

/// Stored nodes on disk: derived from the log, made again whenever they do not fit it.
struct NodeFile(File);

impl ReadNodes for NodeFile {
    type Error = io::Error;

    fn node(&self, index: u64) -> io::Result<Hash> {
        let mut bytes = [0; 32];
        let offset = index.checked_mul(32).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.read_exact_at(&mut bytes, offset)?;
        Ok(Hash(bytes))
    }
}

struct Writer {
    chain: Chain,
    key: SigningKey,
    log: File,
    nodes: NodeFile,
    /// Nodes that are not in their file yet, and the number of the first.
    unstored: (u64, Vec<u8>),
    length: u64,
    reserved: u64,
}

impl Writer {
    fn open(folder: &Path, key: SigningKey) -> io::Result<(Self, Opened)> {
        let open = |path: PathBuf| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let (log, nodes) = (open(log_path(folder))?, open(nodes_path(folder))?);
        let recovered = recover(&log, &nodes)?;
        let torn = log.metadata()?.len().saturating_sub(recovered.length);
        if torn > 0 {
            log.set_len(recovered.length)?;
            log.sync_all()?;
        }
        let chain = Chain::resume(recovered.frontier, recovered.last_ms);
        let length = recovered.length;
        let mut writer = Self {
            chain,
            key,
            log,
            nodes: NodeFile(nodes),
            unstored: (0, Vec::new()),
            length,
            reserved: length,
        };
        writer.reserve();
        Ok((writer, Opened { torn, ended: recovered.outcomes.into_iter().collect() }))
    }

    /// Keeps space behind the end of the log, as far as there is any.
    fn reserve(&mut self) {
        let until = self.length + RESERVE;
        if self.reserved < self.length + RESERVE / 2
            && rustix::fs::fallocate(&self.log, FallocateFlags::KEEP_SIZE, self.length, RESERVE).is_ok()
        {
            self.reserved = until;
        }
    }

    fn serve(mut self, queue: &mpsc::Receiver<Waiting>, head: &Mutex<SignedHead>) {
        while let Ok(first) = queue.recv() {
            let batch: Vec<Waiting> =
                std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
            self.reserve();
            let written = self.write(batch);
            *head.lock().unwrap_or_else(PoisonError::into_inner) =
                self.chain.head(clock::milliseconds(), &self.key);
            for (done, written) in written {
                // Who waited may have gone; the record stands.
                let _ = done.send(written);
            }
        }
    }

    /// Appends a batch and syncs it. What could not be written has not happened.
    fn write(&mut self, batch: Vec<Waiting>) -> Vec<(oneshot::Sender<Option<Written>>, Option<Written>)> {
        let before = self.chain.clone();
        let (mut bytes, mut drawn, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for Waiting { kind, fields, done } in batch {
            let room = self.reserved.saturating_sub(self.length + bytes.len() as u64);
            if needs_room(kind) && room < NEEDED {
                waiting.extend(done.map(|done| (done, None)));
                continue;
            }
            let next = self.chain.next_of(clock::milliseconds(), kind, fields);
            bytes.extend_from_slice(next.line.as_bytes());
            bytes.push(b'\n');
            waiting.extend(done.map(|done| (done, Some(Written { seq: next.record.seq }))));
            drawn.push((next.first_node, next.nodes.clone()));
            if self.chain.commit(next).is_err() {
                tracing::error!("audit: a record out of its place");
            }
        }
        if let Err(error) = self.append(&bytes) {
            tracing::error!("audit: {error}; nothing is done until the log can be written again");
            self.chain = before;
            return waiting.into_iter().map(|(done, _)| (done, None)).collect();
        }
        for (first, nodes) in drawn {
            self.store(first, &nodes);
        }
        waiting
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.log.write_all_at(bytes, self.length).and_then(|()| self.log.sync_data());
        match result {
            Ok(()) => self.length += bytes.len() as u64,
            // A half-written record must not stay before the next one.
            Err(_) => self.log.set_len(self.length)?,
        }
        result
    }

    /// Nodes that found no room wait for the next ones: a gap in the file would make every later proof a wrong one.
    fn store(&mut self, first: u64, nodes: &[Hash]) {
        let (from, bytes) = &mut self.unstored;
        if bytes.is_empty() {
            *from = first;
        }
        bytes.extend(nodes.iter().flat_map(|hash| *hash.as_bytes()));
        match self.nodes.0.write_all_at(bytes, *from * 32) {
            Ok(()) => bytes.clear(),
            Err(error) => tracing::warn!("audit: node file: {error}; its nodes are kept until there is room"),
        }
    }
}

/// What is about to be done must leave room for how it ends.
fn needs_room(kind: Kind) -> bool {
    matches!(kind, Kind::Intent | Kind::Opened | Kind::Asked)
}

struct Recovered {
    frontier: Frontier,
    last_ms: u64,
    length: u64,
    outcomes: VecDeque<u64>,
}

/// Reads the whole log, makes its tree again, and finds where the last whole record ends.
fn recover(log: &File, nodes: &File) -> io::Result<Recovered> {
    let mut recovered =
        Recovered { frontier: Frontier::new(), last_ms: 0, length: 0, outcomes: VecDeque::new() };
    let mut reader = BufReader::with_capacity(64 * 1024, log);
    let mut out = io::BufWriter::new(nodes.try_clone()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 || line.pop() != Some(b'\n') {
            break;
        }
        if let Ok(record) = closedpaw_ledger::read::parse(&line) {
            recovered.last_ms = record.time_ms;
            if let (true, Some(Value::Number(intent))) =
                (record.kind == Kind::Outcome.name(), record.get("intent"))
            {
                recovered.outcomes.push_back(*intent);
                if recovered.outcomes.len() > OUTCOMES {
                    recovered.outcomes.pop_front();
                }
            }
        }
        for node in recovered.frontier.append(&line) {
            out.write_all(node.as_bytes())?;
        }
        recovered.length += line.len() as u64 + 1;
    }
    out.flush()?;
    nodes.set_len(stored_hash_count(recovered.frontier.size()).unwrap_or(0) * 32)?;
    Ok(recovered)
}
