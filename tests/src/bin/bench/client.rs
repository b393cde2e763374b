//! The shipped client as a library, speaking for the world's person.
#![forbid(unsafe_code)]

use closedpaw_protocol::Tier;
use closedpaw_protocol::message::Reply;
use closedpaw_protocol::stream::Exit;
use closedpaw_tests::raw;
use closedpaw_tests::world::World;
use closedpawctl::client::{Connection, Pinned, fresh_key, key_id};
use closedpawctl::link::Seat;
use closedpawctl::work::{self, Said};
use ed25519_dalek::SigningKey;
use std::fs::File;
use std::os::fd::AsFd;

/// Runs something on one thread, as the client does.
pub(crate) fn run<T>(act: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, act)
}

/// A connection of the person's on which this key speaks.
pub(crate) async fn connect(world: &World, key: SigningKey) -> Connection {
    let socket = world.person.dial().unwrap();
    socket.set_nonblocking(true).unwrap();
    Connection::begin(socket.into(), &Pinned { key: world.daemon_key() }, key).await.unwrap()
}

/// An open session on the person's workspace.
pub(crate) struct Session {
    pub(crate) control: Connection,
    pub(crate) agent: Connection,
    pub(crate) seat: Seat,
    /// The name of its sandbox.
    pub(crate) sandbox: String,
}

impl Session {
    pub(crate) async fn open(world: &World) -> Self {
        Self::open_in(world, Tier::Gvisor).await
    }

    pub(crate) async fn open_in(world: &World, tier: Tier) -> Self {
        let key = fresh_key().unwrap();
        let mut control = connect(world, world.person.key()).await;
        let (seat, sandbox) = open_in(&mut control, world, &key, tier).await;
        let agent = connect(world, key).await;
        Self { control, agent, seat, sandbox }
    }

    /// Runs a command and gives its standard output.
    pub(crate) async fn run(&mut self, argv: &[&str]) -> Vec<u8> {
        let running = work::start(&mut self.agent, &mut self.seat, &raw::exec(argv), None).await.unwrap();
        let (mut listening, _feeding) = running.split();
        let mut output = vec![];
        loop {
            match listening.next().await {
                Said::Stdout(bytes) => output.extend(bytes),
                Said::Stderr(_) => {}
                Said::Exit(exit) => {
                    assert_eq!(exit, Exit::Status(0), "{argv:?}");
                    return output;
                }
            }
        }
    }
}

/// Opens a session for an agent's key on a connection of the person's.
pub(crate) async fn open(control: &mut Connection, world: &World, agent: &SigningKey) -> (Seat, String) {
    open_in(control, world, agent, Tier::Gvisor).await
}

async fn open_in(control: &mut Connection, world: &World, agent: &SigningKey, tier: Tier) -> (Seat, String) {
    let mut opening = raw::opening(agent, Some(&world.person.workspace));
    opening.isolation = tier;
    assert_eq!(opening.agent, key_id(agent));
    let folder = File::open(&world.person.workspace).unwrap();
    let (reply, _) = control.open(&opening, &[folder.as_fd()]).await.unwrap();
    let Reply::Opened { session, sandbox, revision, .. } = reply else { panic!("not opened: {reply:?}") };
    let (profile, isolation) = (opening.profile, opening.isolation);
    let seat = Seat { session, revision, profile, isolation, daemon: world.daemon_key() };
    (seat, sandbox.to_string())
}
