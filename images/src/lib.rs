//! Taking an OCI image apart: everything that a stranger wrote is parsed here, in a process that has no right but to write below
//! one folder.
//!
//! `closedpawd image add` starts [`worker::main`] with three descriptors: a socket to root, an empty folder, and the image. What
//! root reads of it are the packets of `closedpaw_protocol::image` and nothing else. No path is ever put together as text: each
//! entry of a layer is opened beneath the folder, without links ([`tree`]).
#![forbid(unsafe_code)]

mod confine;
pub mod decode;
pub mod layer;
mod oci;
pub mod source;
pub mod tar;
pub mod tree;
pub mod worker;

use closedpaw_protocol::image::Fault;
use std::io;

/// A fault as a reader's error, and back again.
fn as_error(fault: Fault) -> io::Error {
    io::Error::other(fault)
}

/// What a failed read means: the fault that one of our readers has found, or else that of a device.
fn of_read(error: &io::Error) -> Fault {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()).copied();
    found.unwrap_or(if error.raw_os_error().is_some() { Fault::Read } else { Fault::BadStream })
}
