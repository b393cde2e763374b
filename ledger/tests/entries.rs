//! Every kind of record, as it stands in the log: logs outlive programs, so names and order are fixed here.

use closedpaw_ledger::head::{Head, SignedHead};
use closedpaw_ledger::record::{
    Answer, Answered, Asked, Closed, Entry, HeadMade, Intent, KeyChange, Keys, Opened, Outcome, Policy,
    Record, Recovered, Stamp, Started, Stop, Stopped, Verdict,
};
use closedpaw_ledger::tree::Hash;

const SESSION: [u8; 16] = [9; 16];
const DIGEST: [u8; 32] = [8; 32];

fn action() -> Vec<(String, String)> {
    vec![("verb".into(), "exec".into()), ("path".into(), "/bin/ls".into())]
}

/// What follows `"kind":` in the entry's line, with digests and the session's number as single letters.
fn body<E: Entry>(entry: E) -> String {
    let line = Record::new(0, Stamp::next(0, 0), E::KIND, entry.fields()).line();
    let body = line.split_once(r#""kind":"#).map(|(_, body)| body.to_owned()).unwrap_or(line);
    body.replace(&"08".repeat(32), "D").replace(&"09".repeat(16), "S")
}

#[test]
fn what_happens_in_a_session() {
    let opened = Opened {
        session: SESSION,
        uid: 1000,
        key: "laptop".into(),
        workspace: "/home/ada/site".into(),
        label: "private".into(),
        expires_ms: 0,
    };
    let until = "1970-01-01T00:00:00.000Z";
    assert_eq!(
        body(opened),
        r#""opened","session":"S","uid":1000,"key":"laptop","workspace":"/home/ada/site","label":"private","expires":"UNTIL"}"#
            .replace("UNTIL", until)
    );
    let asked = Asked {
        session: SESSION,
        uid: 1000,
        id: "3".into(),
        action: action(),
        digest: DIGEST,
        rule: "web".into(),
        label: "private".into(),
        until_ms: 0,
    };
    assert_eq!(
        body(asked),
        r#""asked","session":"S","uid":1000,"id":"3","action":[["verb","exec"],["path","/bin/ls"]],"digest":"D","rule":"web","label":"private","until":"UNTIL"}"#
            .replace("UNTIL", until)
    );
    for (answer, key, end) in [
        (Answer::Approved, Some("laptop".to_owned()), r#""approved","key":"laptop"}"#),
        (Answer::Denied, Some("laptop".to_owned()), r#""denied","key":"laptop"}"#),
        (Answer::Expired, None, r#""expired"}"#),
    ] {
        let answered = Answered { session: SESSION, uid: 1000, id: "3".into(), digest: DIGEST, answer, key };
        let begin = r#""answered","session":"S","uid":1000,"id":"3","digest":"D","answer":"#;
        assert_eq!(body(answered), format!("{begin}{end}"));
    }
    for (verdict, name) in [(Verdict::Allow, "allow"), (Verdict::Ask, "ask"), (Verdict::Deny, "deny")] {
        let intent = Intent {
            session: SESSION,
            uid: 1000,
            key: "agent".into(),
            action: action(),
            digest: DIGEST,
            verdict,
            rule: "web".into(),
            policy: "7".into(),
            label: "private".into(),
            approval: Some("3".into()),
        };
        assert_eq!(
            body(intent),
            r#""intent","session":"S","uid":1000,"key":"agent","action":[["verb","exec"],["path","/bin/ls"]],"digest":"D","verdict":"V","rule":"web","policy":"7","label":"private","approval":"3"}"#
                .replace("\"V\"", &format!("\"{name}\""))
        );
    }
    let outcome = Outcome {
        session: SESSION,
        uid: 1000,
        intent: 41,
        outcome: "done".into(),
        exit: Some(0),
        signal: None,
        bytes_in: 5,
        bytes_out: 6,
        output: Some(DIGEST),
        took_ms: 7,
    };
    assert_eq!(
        body(outcome),
        r#""outcome","session":"S","uid":1000,"intent":41,"outcome":"done","exit":0,"bytes_in":5,"bytes_out":6,"output":"D","took_ms":7}"#
    );
    let closed = Closed { session: SESSION, uid: 1000, reason: "expired".into() };
    assert_eq!(body(closed), r#""closed","session":"S","uid":1000,"reason":"expired"}"#);
}

#[test]
fn what_happens_to_the_daemon() {
    let started = Started { version: "0.1.0".into(), boot: "b".into(), policy: DIGEST };
    assert_eq!(body(started), r#""started","version":"0.1.0","boot":"b","policy":"D"}"#);
    assert_eq!(body(Stopped { reason: "restart".into() }), r#""stopped","reason":"restart"}"#);
    let policy =
        Policy { revision: "7".into(), digest: DIGEST, files: 3, refused: Some("web.toml:3".into()) };
    assert_eq!(body(policy), r#""policy","revision":"7","digest":"D","files":3,"refused":"web.toml:3"}"#);
    for (change, name) in [
        (KeyChange::Added, "added"),
        (KeyChange::Removed, "removed"),
        (KeyChange::Expired, "expired"),
        (KeyChange::Refused, "refused"),
    ] {
        let keys = Keys { change, name: "laptop".into(), role: "approver".into(), uid: 1000, public: DIGEST };
        let end = r#""name":"laptop","role":"approver","uid":1000,"public":"D"}"#;
        assert_eq!(body(keys), format!(r#""keys","change":"{name}",{end}"#));
    }
    let recovered = Recovered { taken_back: 1, reaped: 2, open_intents: vec![40, 41], torn_bytes: 3 };
    assert_eq!(
        body(recovered),
        r#""recovered","taken_back":1,"reaped":2,"open_intents":["40","41"],"torn_bytes":3}"#
    );
    let stop =
        Stop { uid: 0, key: "admin".into(), scope: "session".into(), session: Some(SESSION), ended: 1 };
    assert_eq!(body(stop), r#""stop","uid":0,"key":"admin","scope":"session","session":"S","ended":1}"#);
    let head = SignedHead { head: Head { size: 0, root: Hash([8; 32]), time: 1 }, signature: [8; 64] };
    assert_eq!(body(HeadMade(head)), r#""head","head":"closedpaw-head v1 0 1 D DD"}"#);
}
