//! Every message of the daemon's socket: decodes canonically or not at all, and never aborts.
#![no_main]

use closedpaw_protocol::message::{Answer, Hello, Opening, Outgoing, Request, Signed, Welcome};
use closedpaw_protocol::{Action, codec};
use libfuzzer_sys::fuzz_target;

macro_rules! canonical {
    ($bytes:expr, $($kind:ty),*) => {
        $(if let Ok(value) = codec::decode::<$kind>($bytes) {
            assert_eq!(codec::encode(&value).as_deref(), Some($bytes));
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    canonical!(bytes, Hello, Welcome, Signed, Request, Opening, Answer, Outgoing, Action);
});
