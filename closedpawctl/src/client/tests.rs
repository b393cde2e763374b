use super::{Connection, Pinned, Unanswered, fresh_key, key_id};
use closedpaw_descriptors::frames::{FrameReader, FrameWriter, split};
use closedpaw_descriptors::stream_pair;
use closedpaw_protocol::message::{Hello, Request, Welcome};
use closedpaw_protocol::sign::{self, Context};
use closedpaw_protocol::{Challenge, VERSION, codec};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

/// A connection, and the daemon's end of it after the two first frames.
async fn connected() -> (Connection, FrameReader, FrameWriter, UnixStream) {
    let (ours, theirs) = stream_pair().unwrap();
    let daemon = fresh_key().unwrap();
    let pinned = Pinned { key: key_id(&daemon) };
    let waiting = std::os::unix::net::UnixStream::from(theirs.try_clone().unwrap());
    let (mut reader, writer) = split(theirs).unwrap();
    let welcome = async {
        let frame = reader.read().await.unwrap().unwrap();
        let hello: Hello = codec::decode(&frame.body).unwrap();
        let challenge = Challenge([7; 32]);
        let proof = sign::sign(&daemon, Context::Daemon, &hello.challenge, 0, &challenge.0);
        let welcome = Welcome { version: VERSION, challenge, key: pinned.key, proof };
        writer.write(&codec::encode(&welcome).unwrap(), &[]).await.unwrap();
    };
    let (connection, ()) = tokio::join!(Connection::begin(ours, &pinned, fresh_key().unwrap()), welcome);
    (connection.unwrap(), reader, writer, UnixStream::from_std(waiting).unwrap())
}

async fn status(connection: &mut Connection) -> Unanswered {
    connection.request(&Request::Status, &[]).await.unwrap_err()
}

/// A daemon counts a person's connections: one that nobody has any more is none.
#[tokio::test]
async fn a_connection_that_is_let_go_is_closed() {
    let closed = async {
        let (connection, mut reader, _writer, _waiting) = connected().await;
        drop(connection);
        let read = tokio::time::timeout(Duration::from_secs(10), reader.read()).await.expect("it is closed");
        assert!(read.unwrap().is_none());
    };
    LocalSet::new().run_until(closed).await;
}

/// What nobody heard may be said again. Only where it may have been heard, nobody knows what came of it.
#[tokio::test]
async fn what_was_not_heard_is_told_from_what_may_have_been() {
    let told = async {
        let (mut connection, reader, writer, waiting) = connected().await;
        drop((reader, writer, waiting));
        assert!(matches!(status(&mut connection).await, Unanswered::Unasked(_)), "said to nobody");
        assert!(connection.is_lost());

        let (mut connection, reader, writer, waiting) = connected().await;
        let hang_up = async {
            // It is in the daemon's socket when the daemon goes.
            waiting.readable().await.unwrap();
            drop((reader, writer, waiting));
        };
        let (unanswered, ()) = tokio::join!(status(&mut connection), hang_up);
        assert!(matches!(unanswered, Unanswered::Unasked(_)), "not read: {unanswered:?}");
        assert!(connection.is_lost());

        let (mut connection, mut reader, writer, waiting) = connected().await;
        let hear = async {
            reader.read().await.unwrap().unwrap();
            drop((reader, writer, waiting));
        };
        let (unanswered, ()) = tokio::join!(status(&mut connection), hear);
        assert!(matches!(unanswered, Unanswered::Lost(_)), "read: {unanswered:?}");
        assert!(connection.is_lost());
    };
    LocalSet::new().run_until(told).await;
}
