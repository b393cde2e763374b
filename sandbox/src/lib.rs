//! Both ends of the channel into a sandbox: `closedpaw-init` inside, `closedpaw-relay` outside.
//!
//! The channel is one pair of pipes with yamux on it. The relay opens a stream for each piece of work; init answers
//! on it. The two never trust each other: init holds nothing worth taking, and the relay checks every byte, holds
//! nothing but descriptors, and dies alone.
#![deny(unsafe_code)]

pub mod channel;
pub mod init;
pub mod process;
pub mod relay;
