//! Frames and packets with descriptors, over tokio's readiness.
#![forbid(unsafe_code)]

use closedpaw_protocol::frame::{self, HEADER, MAX_DESCRIPTORS};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One frame and the descriptors that came with it.
#[derive(Debug)]
pub struct Frame {
    /// The frame's bytes, without the header.
    pub body: Vec<u8>,
    /// The descriptors, at most [`MAX_DESCRIPTORS`].
    pub descriptors: Vec<OwnedFd>,
}

/// The reading half of a framed stream.
#[derive(Debug)]
pub struct FrameReader(Arc<AsyncFd<OwnedFd>>);

/// The writing half of a framed stream.
#[derive(Debug, Clone)]
pub struct FrameWriter(Arc<AsyncFd<OwnedFd>>);

/// Both halves of a connected stream socket, which must be used inside a tokio runtime.
pub fn split(socket: OwnedFd) -> io::Result<(FrameReader, FrameWriter)> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let socket = Arc::new(crate::sys::register(socket)?);
    Ok((FrameReader(Arc::clone(&socket)), FrameWriter(socket)))
}

impl FrameReader {
    /// The next frame; `None` at the end of the stream between two frames.
    ///
    /// Descriptors belong to the frame whose first byte they were sent with: the header is read alone, and the kernel
    /// never joins the bytes of two messages over a descriptor (unix(7)). Not cancel-safe: dropping the future in mid-frame loses the
    /// place, so only do that when giving up the connection.
    pub async fn read(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; HEADER];
        let mut descriptors = Vec::new();
        if !self.fill(&mut header, &mut descriptors).await? {
            return Ok(None);
        }
        let length =
            frame::length(header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut body = vec![0; length];
        if !self.fill(&mut body, &mut descriptors).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Frame { body, descriptors }))
    }

    async fn fill(&mut self, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = self
                .0
                .async_io(Interest::READABLE, |socket| {
                    receive(socket.as_fd(), rest, descriptors, MAX_DESCRIPTORS)
                })
                .await?;
            match (read, filled) {
                (0, 0) => return Ok(false),
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (read, _) => filled += read,
            }
        }
        Ok(true)
    }
}

impl FrameWriter {
    /// Sends one frame with its descriptors.
    pub async fn write(&self, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let frame = frame::wrap(body).ok_or(io::ErrorKind::InvalidInput)?;
        let mut sent = 0;
        while let Some(rest) = frame.get(sent..).filter(|rest| !rest.is_empty()) {
            let with = if sent == 0 { descriptors } else { &[] };
            sent +=
                self.0.async_io(Interest::WRITABLE, |socket| transmit(socket.as_fd(), rest, with)).await?;
        }
        Ok(())
    }
}

/// The most descriptors of a packet: those of a request, and what the daemon's own parts have to add.
const MAX_WITH_PACKET: usize = MAX_DESCRIPTORS + 3;

/// A socket of fixed-size packets with some descriptors each.
#[derive(Debug)]
pub struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Takes over a connected `SOCK_SEQPACKET` socket; must be used inside a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(crate::sys::register(socket)?))
    }

    /// The next packet, which must have exactly `N` bytes; `None` when the peer has gone. Cancel-safe.
    pub async fn receive<const N: usize>(&self) -> io::Result<Option<([u8; N], Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, receive_packet).await
    }

    /// Sends one packet. Cancel-safe.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |socket| transmit(socket.as_fd(), bytes, descriptors))
            .await
            .map(drop)
    }
}

/// [`Packets::receive`] for a program without a runtime: blocks where the socket does.
pub fn receive_packet<const N: usize>(socket: &impl AsFd) -> io::Result<Option<([u8; N], Vec<OwnedFd>)>> {
    let mut buffer = vec![0; N + 1];
    let mut descriptors = Vec::new();
    match receive(socket.as_fd(), &mut buffer, &mut descriptors, MAX_WITH_PACKET)? {
        0 => Ok(None),
        length => {
            buffer.truncate(length);
            let bytes = buffer.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(Some((bytes, descriptors)))
        }
    }
}

/// [`Packets::send`] for a program without a runtime: blocks where the socket does.
pub fn send_packet(socket: &impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    transmit(socket.as_fd(), bytes, descriptors).map(drop)
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    most: usize,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_WITH_PACKET))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for item in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a message may have"));
    }
    Ok(message.bytes)
}

fn transmit(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_WITH_PACKET))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (FrameReader, FrameWriter) {
        let (a, b) = crate::stream_pair().unwrap();
        (split(a).unwrap().0, split(b).unwrap().1)
    }

    #[tokio::test]
    async fn descriptors_arrive_with_their_own_frame() {
        let (mut reader, writer) = pair();
        let file = crate::sealed::seal(b"x").unwrap();
        writer.write(b"none", &[]).await.unwrap();
        writer.write(b"one", &[file.as_fd()]).await.unwrap();
        writer.write(b"none again", &[]).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let frame = reader.read().await.unwrap().unwrap();
            seen.push((frame.body, frame.descriptors.len()));
        }
        assert_eq!(seen, [(b"none".to_vec(), 0), (b"one".to_vec(), 1), (b"none again".to_vec(), 0)]);
    }

    #[tokio::test]
    async fn a_length_over_the_maximum_ends_the_stream() {
        let (a, b) = crate::stream_pair().unwrap();
        let (mut reader, _) = split(a).unwrap();
        rustix::io::write(&b, &[0xff; 4]).unwrap();
        assert_eq!(reader.read().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error_and_a_clean_end_is_not() {
        let (a, b) = crate::stream_pair().unwrap();
        let (mut reader, _) = split(a).unwrap();
        rustix::io::write(&b, &[0, 0, 0, 2, 7]).unwrap();
        drop(b);
        assert_eq!(reader.read().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (mut reader, writer) = pair();
        drop(writer);
        assert!(reader.read().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_packet_of_another_size_is_refused() {
        let (a, b) = crate::packet_pair().unwrap();
        let packets = Packets::new(a).unwrap();
        send_packet(&b, &[1, 2, 3], &[]).unwrap();
        assert!(packets.receive::<2>().await.is_err());
        send_packet(&b, &[1, 2], &[]).unwrap();
        assert_eq!(packets.receive::<2>().await.unwrap().unwrap().0, [1, 2]);
    }
}
