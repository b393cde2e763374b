//! The readers that bytes of an image go through: each compares what passes with what was said of it.
//!
//! A blob is read twice: first to compare it, and only then to unpack it. So no decoder sees a byte that the image's digest does not
//! cover; and what it unpacks to is compared once more.
#![forbid(unsafe_code)]

use crate::{as_error, of_read};
use closedpaw_protocol::image::{Bounds, Fault, Sha256};
use flate2::bufread::MultiGzDecoder;
use sha2::Digest as _;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// Reads a blob whole: it must be as long as its descriptor says, and what its digest says. Gives its bytes to `each`.
pub fn compare(
    mut source: impl Read,
    size: u64,
    digest: Sha256,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Fault> {
    let mut hasher = sha2::Sha256::new();
    let (mut left, mut buffer) = (size, vec![0; 64 << 10]);
    loop {
        let read = source.read(&mut buffer).map_err(|error| of_read(&error))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        left = left.checked_sub(read as u64).ok_or(Fault::BlobDigest)?;
        if read == 0 {
            break;
        }
        hasher.update(bytes);
        each(bytes);
    }
    let found: [u8; 32] = hasher.finalize().into();
    if left == 0 && found == digest.0 { Ok(()) } else { Err(Fault::BlobDigest) }
}

/// A reader that says how much was read.
#[derive(Debug)]
struct Counted<R> {
    source: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

/// What compression there is, by the first bytes.
enum Form<R> {
    Plain(BufReader<Counted<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
}

/// A layer's tar: unpacked, bounded, and its digest.
pub struct Unpacked<'a, R> {
    form: Form<R>,
    hasher: sha2::Sha256,
    taken: Rc<Cell<u64>>,
    given: u64,
    /// Bytes that there may still be of all layers.
    left: u64,
    bounds: &'a Bounds,
}

/// A frame of Zstandard begins so (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A member of gzip begins so (RFC 1952).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

impl<'a, R: Read> Unpacked<'a, R> {
    /// Begins with a blob that was compared. `left` is how many bytes may come out.
    pub fn new(source: R, left: u64, bounds: &'a Bounds) -> Result<Self, Fault> {
        let taken = Rc::new(Cell::new(0));
        let counted = Counted { source, taken: Rc::clone(&taken) };
        let mut blob = BufReader::with_capacity(64 << 10, counted);
        let start = blob.fill_buf().map_err(|error| of_read(&error))?;
        if start.starts_with(&ZSTD) {
            return Err(Fault::Unsupported);
        }
        let form = match start.starts_with(&GZIP) {
            true => Form::Gzip(Box::new(MultiGzDecoder::new(blob))),
            false => Form::Plain(blob),
        };
        Ok(Self { form, hasher: sha2::Sha256::new(), taken, given: 0, left, bounds })
    }

    /// How many bytes have come out.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Reads to its end, and compares.
    pub fn finish(mut self, layer: Sha256) -> Result<(), Fault> {
        io::copy(&mut self, &mut io::sink()).map_err(|error| of_read(&error))?;
        let found: [u8; 32] = self.hasher.finalize().into();
        if found == layer.0 { Ok(()) } else { Err(Fault::LayerDigest) }
    }

    fn bounded(&self) -> Result<(), Fault> {
        if self.given > self.left {
            Err(Fault::TotalBound)
        } else if self.given > self.bounds.free
            && self.given / self.bounds.ratio > self.taken.get()
            && matches!(self.form, Form::Gzip(_))
        {
            Err(Fault::RatioBound)
        } else {
            Ok(())
        }
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.form {
            Form::Plain(source) => source.read(buffer)?,
            Form::Gzip(source) => source.read(buffer).map_err(of_gzip)?,
        };
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.given += read as u64;
        self.bounded().map_err(as_error)?;
        Ok(read)
    }
}

/// What the decoder could not unpack is broken; what it could not read is what it was.
fn of_gzip(error: io::Error) -> io::Error {
    let known = error.get_ref().is_some_and(|inner| inner.is::<Fault>()) || error.raw_os_error().is_some();
    if known { error } else { as_error(Fault::BadStream) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::image::BOUNDS;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// By the machine's own tools.
    fn through(program: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
        let output = child.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        output
    }

    fn sha256(bytes: &[u8]) -> Sha256 {
        let printed = String::from_utf8(through("sha256sum", bytes)).unwrap();
        format!("sha256:{}", printed.split(' ').next().unwrap()).parse().unwrap()
    }

    fn unpack(bytes: &[u8], left: u64, bounds: &Bounds, layer: Sha256) -> Result<u64, Fault> {
        let mut unpacked = Unpacked::new(bytes, left, bounds)?;
        io::copy(&mut unpacked, &mut io::sink()).map_err(|error| of_read(&error))?;
        let given = unpacked.given();
        unpacked.finish(layer).map(|()| given)
    }

    #[test]
    fn a_blob_is_exactly_what_its_descriptor_says() {
        let good = sha256(b"content");
        assert_eq!(compare(&b"content"[..], 7, good, |_| ()), Ok(()));
        for (bytes, size) in
            [(&b"c0ntent"[..], 7), (b"content", 6), (b"content", 8), (b"contentx", 7), (b"", 0)]
        {
            assert_eq!(compare(bytes, size, good, |_| ()), Err(Fault::BlobDigest), "{bytes:?} {size}");
        }
    }

    #[test]
    fn a_layer_is_plain_or_gzip_of_one_member_or_more() {
        let plain = b"any bytes, for a tar is not looked for here".repeat(99);
        let layer = sha256(&plain);
        let twice = [through("gzip", &plain), through("gzip", &plain)].concat();
        assert_eq!(unpack(&plain, 1 << 20, &BOUNDS, layer), Ok(plain.len() as u64));
        assert_eq!(unpack(&through("gzip", &plain), 1 << 20, &BOUNDS, layer), Ok(plain.len() as u64));
        assert_eq!(unpack(&twice, 1 << 20, &BOUNDS, sha256(&plain.repeat(2))), Ok(2 * plain.len() as u64));
        assert_eq!(unpack(&twice, 1 << 20, &BOUNDS, layer), Err(Fault::LayerDigest));
    }

    #[test]
    fn broken_or_unknown_compression_is_named() {
        let gzip = through("gzip", &b"some text".repeat(1000));
        let cut = gzip.get(..gzip.len() - 9).unwrap();
        assert_eq!(unpack(cut, 1 << 20, &BOUNDS, Sha256([0; 32])), Err(Fault::BadStream));
        let mut changed = gzip.clone();
        *changed.get_mut(20).unwrap() ^= 0x55;
        assert_eq!(unpack(&changed, 1 << 20, &BOUNDS, Sha256([0; 32])), Err(Fault::BadStream));
        assert_eq!(
            unpack(&[gzip.as_slice(), b"junk"].concat(), 1 << 20, &BOUNDS, Sha256([0; 32])),
            Err(Fault::BadStream)
        );
        assert_eq!(
            unpack(&[0x28, 0xb5, 0x2f, 0xfd, 0], 1, &BOUNDS, Sha256([0; 32])),
            Err(Fault::Unsupported)
        );
    }

    /// Row S6: a bomb, by its ratio where it is compressed, by its bytes where it is not.
    #[test]
    fn a_bomb_ends_at_its_bound() {
        let bounds = Bounds { free: 1 << 20, ..BOUNDS };
        let zeros = vec![0; 4 << 20];
        let layer = sha256(&zeros);
        assert_eq!(unpack(&through("gzip", &zeros), 1 << 30, &bounds, layer), Err(Fault::RatioBound));
        assert_eq!(
            unpack(&through("gzip", &zeros), 1 << 30, &BOUNDS, layer),
            Ok(4 << 20),
            "too small to be one"
        );
        assert_eq!(unpack(&zeros, 1 << 30, &bounds, layer), Ok(4 << 20), "it takes as much room as it says");
        assert_eq!(unpack(&zeros, (4 << 20) - 1, &bounds, layer), Err(Fault::TotalBound));
        assert_eq!(unpack(&through("gzip", &zeros), (4 << 20) - 1, &BOUNDS, layer), Err(Fault::TotalBound));
    }
}
