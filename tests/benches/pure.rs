//! What a decision, a record and a signature cost, without any machine around them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on says so")]
#![allow(missing_docs, reason = "criterion's macros make items of their own")]

use closedpaw_ledger::chain::Chain;
use closedpaw_ledger::record::{Intent, Verdict};
use closedpaw_ledger::verify::Verifier as LogVerifier;
use closedpaw_protocol::message::{Request, Signed};
use closedpaw_protocol::sign::{self, Context, Verifier};
use closedpaw_protocol::{Action, Challenge, Label, Revision, SessionId, Tier, decode, encode};
use closedpaw_rules::{Grounded, Policy, Query, Role, SourceFile, Subject, decide};
use closedpaw_tests::raw;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

/// A time for every record.
const NOW: u64 = 1_795_397_025_678;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn shipped() -> Policy {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/policy.d");
    let files: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    let files: Vec<SourceFile<'_>> = files.iter().map(|(name, text)| SourceFile { name, text }).collect();
    Policy::parse(&files).unwrap().policy
}

fn action() -> Action {
    Action {
        session: SessionId([3; 16]),
        revision: Revision([4; 32]),
        isolation: Tier::Gvisor,
        profile: "default".to_owned(),
        effect: raw::exec(&["cat", "README.md"]),
    }
}

fn intent() -> Intent {
    let action = action();
    Intent {
        session: action.session.0,
        uid: 1000,
        key: sign::key_id(&key()).to_string(),
        action: action.summary(),
        digest: action.seal().unwrap().1.0,
        verdict: Verdict::Allow,
        rule: "looking around".to_owned(),
        policy: action.revision.short(),
        label: Label::default().to_string(),
        approval: None,
    }
}

fn policy(criterion: &mut Criterion) {
    let (policy, action, label) = (shipped(), action(), Label::default());
    let subject = Subject { uid: 1000, groups: &[1000], role: Role::Agent };
    let query =
        Query { subject, action: &action, label: &label, grounded: Grounded::NONE, approvals: &[], now: 10 };
    criterion.bench_function("policy_decide", |bencher| bencher.iter(|| decide(&policy, black_box(&query))));
    criterion.bench_function("action_seal", |bencher| bencher.iter(|| black_box(&action).seal()));
}

/// A log of 100,000 records is what some months leave.
fn audit(criterion: &mut Criterion) {
    let mut chain = Chain::new();
    let mut lines = Vec::new();
    for _ in 0..100_000 {
        let next = chain.next(NOW, intent());
        if lines.len() < 1000 {
            lines.push(next.line.clone());
        }
        chain.commit(next).unwrap();
    }
    criterion.bench_function("audit_append", |bencher| {
        bencher.iter_batched(
            intent,
            |intent| {
                let next = chain.next(NOW, intent);
                black_box(&next.line);
                chain.commit(next).unwrap();
            },
            BatchSize::SmallInput,
        );
    });
    let key = key();
    criterion.bench_function("audit_head_sign", |bencher| bencher.iter(|| black_box(&chain).head(NOW, &key)));
    criterion.bench_function("audit_verify_1000", |bencher| {
        bencher.iter(|| {
            let mut verifier = LogVerifier::new(None, &[]).unwrap();
            lines.iter().for_each(|line| verifier.push_line(line.as_bytes()).unwrap());
            verifier.finish().unwrap()
        });
    });
}

fn statements(criterion: &mut Criterion) {
    let (key, challenge) = (key(), Challenge([1; 32]));
    let body = encode(&Request::Act { action: action(), approval: None }).unwrap();
    let signature = sign::sign(&key, Context::Request, &challenge, 5, &body);
    let verifier = Verifier::new(&sign::key_id(&key)).unwrap();
    criterion.bench_function("statement_sign", |bencher| {
        bencher.iter(|| sign::sign(&key, Context::Request, &challenge, 5, black_box(&body)));
    });
    criterion.bench_function("statement_verify", |bencher| {
        bencher
            .iter(|| verifier.verify(Context::Request, &challenge, 5, black_box(&body), &signature).unwrap());
    });
    let signed = Signed { context: Context::Request, key: sign::key_id(&key), sequence: 5, signature, body };
    let frame = encode(&signed).unwrap();
    criterion.bench_function("frame_decode", |bencher| {
        bencher.iter(|| {
            let signed: Signed = decode(black_box(&frame)).unwrap();
            decode::<Request>(&signed.body).unwrap()
        });
    });
}

fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}

criterion_group! { name = pure; config = quick(); targets = policy, audit, statements }
criterion_main!(pure);
