//! Images: how one is named, how big one may be, and what the worker that unpacks one and the root process that started it
//! say to each other.
//!
//! The worker has read what a stranger wrote, so root reads of it packets of one size alone: numbers and digests at fixed places.
#![forbid(unsafe_code)]

use crate::ids::IdError;
use std::fmt;
use std::str::FromStr;

/// SHA-256, by which images name what they are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha256 {
    type Err = IdError;

    /// `sha256:` and 64 lower-case digits, as OCI writes it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        digits.parse::<crate::Digest>().map(|digest| Self(digest.0))
    }
}

impl Sha256 {
    /// The digits alone.
    #[must_use]
    pub fn digits(&self) -> String {
        hex::encode(self.0)
    }
}

/// What an admin calls an image: up to 64 of `a-z 0-9 . _ : -`, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

/// The text is no name of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is up to 64 of a-z, 0-9, '.', '_', ':' and '-', and begins with a letter or a digit")]
pub struct BadName;

impl FromStr for ImageName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|byte| plain(byte) || b"._:-".contains(&byte))
            // It would be a digest.
            && !text.starts_with("sha256:");
        if good { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }
}

impl ImageName {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image as a profile names it: the digest decides, the name is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// What the admin calls it.
    pub name: ImageName,
    /// The digest of its manifest.
    pub digest: Sha256,
}

/// Why a text names no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPinned {
    /// There is no digest: a name could come to mean another image.
    #[error("an image is named with its digest: a name alone could come to mean another one")]
    NoDigest,
    /// What is behind the `@` is none.
    #[error("what follows the @ is not sha256: and 64 lower-case hexadecimal digits")]
    BadDigest,
    /// What is before the `@` is none.
    #[error(transparent)]
    BadName(#[from] BadName),
}

impl FromStr for Pinned {
    type Err = NotPinned;

    fn from_str(text: &str) -> Result<Self, NotPinned> {
        let (name, digest) = text.split_once('@').ok_or(NotPinned::NoDigest)?;
        let digest = digest.parse().map_err(|_| NotPinned::BadDigest)?;
        Ok(Self { name: name.parse()?, digest })
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}

/// How big an image may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Layers; an overlay's options have to name all of them.
    pub layers: u32,
    /// Bytes of an index, a manifest or a configuration.
    pub json: u64,
    /// Bytes of all layers, unpacked.
    pub total: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Entries of all layers.
    pub entries: u64,
    /// Bytes of a path, and of what a link leads to.
    pub path: usize,
    /// Folders below each other.
    pub depth: usize,
    /// Bytes that one compressed byte may become, once [`Bounds::free`] have been unpacked of a layer.
    pub ratio: u64,
    /// Bytes of a layer before its ratio counts.
    pub free: u64,
    /// Bytes of one extended header of a tar.
    pub header: u64,
    /// Files in an archive of a layout.
    pub blobs: usize,
}

/// What is accepted here.
pub const BOUNDS: Bounds = Bounds {
    layers: 128,
    json: 4 << 20,
    total: 32 << 30,
    file: 8 << 30,
    entries: 1_000_000,
    path: 4095,
    depth: 100,
    ratio: 200,
    free: 64 << 20,
    header: 64 << 10,
    blobs: 4096,
};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $text:literal;)*) => {
        /// Why an image was not taken. The words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[$doc])* $name = $number,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable number.
            #[must_use]
            pub fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// The fault with this number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The stable word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it is, and what to do about it.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// The worker could not give up its rights.
    Confinement = 1, "confinement", "the worker could not confine itself, and so read nothing: closedpawd check says what the kernel lacks";
    /// The source cannot be read.
    Read = 2, "read", "the image could not be read: see the kernel's log for its disk";
    /// The store cannot be written.
    Write = 3, "write", "the store could not be written: see the kernel's log for its disk";
    /// The store's disk is full.
    NoSpace = 4, "no-space", "there is no room for it on the store's disk: free some, or take away images with closedpawd image rm";
    /// Neither a layout nor an archive of one.
    NotALayout = 5, "not-a-layout", "this is no OCI image layout and no archive of one: make one with skopeo copy SOURCE oci-archive:FILE";
    /// The archive itself is compressed.
    Compressed = 6, "compressed", "the archive itself is compressed: unpack it first, with gunzip or zstd -d";
    /// JSON that is not what it has to be.
    BadJson = 7, "bad-json", "its index, manifest or configuration is not what the OCI image specification says: make it anew";
    /// JSON that is too long.
    JsonBound = 8, "json-bound", "its index, manifest or configuration is longer than 4 MiB: no image needs that; make it anew";
    /// No image for this machine.
    NoPlatform = 9, "no-platform", "there is no image for linux/amd64 in it: fetch that one";
    /// More than one image for this machine.
    Ambiguous = 10, "ambiguous", "there is more than one image for linux/amd64 in it: copy the one that is meant into a layout of its own, with skopeo copy";
    /// A kind of layer, compression or digest that is not known here.
    Unsupported = 11, "unsupported", "a layer or digest of it is of a kind that is not known here: layers are tar or tar with gzip, digests sha256";
    /// A blob that is not there.
    NoBlob = 12, "no-blob", "a part of it is missing: copy the image again";
    /// A blob that is not what its descriptor says.
    BlobDigest = 13, "blob-digest", "a part of it is not what its digest or size says: it was changed or cut; copy the image again from where it can be trusted";
    /// A layer that is not what the configuration says.
    LayerDigest = 14, "layer-digest", "a layer of it, unpacked, is not what its configuration says: it was changed or badly made; make it anew";
    /// More layers than an image may have, or none.
    LayersBound = 15, "layers-bound", "it has no layer or more than 128: squash it";
    /// Compressed data that cannot be unpacked.
    BadStream = 16, "bad-stream", "a layer's compressed data is broken: copy the image again";
    /// A tar that is none.
    BadTar = 17, "bad-tar", "a layer is no tar, or a broken one: make the image anew";
    /// A kind of entry that means nothing here.
    BadEntry = 18, "bad-entry", "a layer has an entry of a kind that is not unpacked (sparse, multi-volume or unknown): make it with tar --format=pax --no-sparse";
    /// A name that begins at the root.
    Absolute = 19, "absolute-name", "a layer has an entry with an absolute name: do not use this image";
    /// A name that leads upwards.
    Traversal = 20, "traversal", "a layer has an entry with .. in its name: do not use this image";
    /// A name that no file can have.
    BadName = 21, "bad-name", "a layer has an entry without a name, with a null byte in it, or with a whiteout's in its middle: do not use this image";
    /// An entry below a link.
    ThroughLink = 22, "through-link", "a layer has an entry that would be written through a link: do not use this image";
    /// An entry below what is no folder.
    NotAFolder = 23, "not-a-folder", "a layer has an entry below something that is no folder, or in the place of a folder with content: make the image anew";
    /// A hard link to what is no file of its layer.
    BadHardLink = 24, "bad-hard-link", "a layer has a hard link to something that is no file of the same layer: do not use this image";
    /// A link that leads nowhere, or that is too long.
    BadLink = 25, "bad-link", "a layer has a link to nothing, or to a name that is longer than 4095 bytes: make the image anew";
    /// A path that is too long.
    PathBound = 26, "path-bound", "a layer has a name of more than 4095 bytes, or with a part of more than 255: make the image anew with shorter ones";
    /// A path that is too deep.
    DepthBound = 27, "depth-bound", "a layer has more than 100 folders below each other: make the image anew with fewer";
    /// Too many bytes in one file.
    FileBound = 28, "file-bound", "a file in it is larger than 8 GiB: leave it out of the image";
    /// Too many bytes.
    TotalBound = 29, "total-bound", "it is larger than 32 GiB unpacked: make it smaller";
    /// Too many entries.
    EntriesBound = 30, "entries-bound", "it has more than 1,000,000 entries: make it smaller";
    /// Too much out of too little.
    RatioBound = 31, "ratio-bound", "a layer becomes more than 200 times its compressed size: that is a bomb, or badly made; if it is meant, store that layer uncompressed";
    /// An extended header that is too long.
    HeaderBound = 32, "header-bound", "a layer has an extended header of more than 64 KiB: make it without extended attributes";
    /// Too many files in the archive.
    BlobsBound = 33, "blobs-bound", "the archive has more than 4,096 files: copy the one image that is meant into an archive of its own";
    /// What was unpacked is not what a worker may leave behind.
    Strange = 34, "strange", "the worker left something behind that it should not: nothing was kept; please report it";
    /// The worker ended before it was done.
    Ended = 35, "worker-ended", "the worker ended before it was done: it needed more memory or time than it may have, or somebody ended it";
    /// It said what no worker says.
    Nonsense = 36, "worker-nonsense", "the worker said something that it should not, and was ended: do not use this image; please report it";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word(), self.text())
    }
}

impl std::error::Error for Fault {}

/// What the worker says. Each but [`Said::Progress`], [`Said::Done`] and [`Said::Failed`] is answered with one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It needs this blob of a layout; the answer brings it.
    Blob(Sha256),
    /// This is what will be unpacked: the digest of its manifest, and how many layers it has.
    Image {
        /// Of its manifest.
        digest: Sha256,
        /// How many.
        layers: u32,
    },
    /// This is the next layer, from the lowest up, by the digest of its uncompressed form. It may be in the store already.
    Layer(Sha256),
    /// It lies unpacked in the folder of its number.
    Unpacked {
        /// Bytes of its files.
        bytes: u64,
        /// How many entries it had.
        entries: u64,
        /// How many of them were devices, pipes or sockets and were left out.
        left_out: u64,
    },
    /// So far it has come.
    Progress {
        /// Bytes unpacked.
        bytes: u64,
    },
    /// It is done.
    Done,
    /// It has given up.
    Failed {
        /// Why.
        fault: Fault,
        /// In which layer, from 1; 0 for none.
        layer: u32,
        /// At which entry of it, from 1; 0 for none.
        entry: u64,
    },
}

/// Bytes of what the worker says.
pub const SAID: usize = 48;

/// Root's answers: no; go on; it is there already.
pub const NO: u8 = 0;
/// Go on.
pub const GO: u8 = 1;
/// That layer is there already.
pub const HAVE: u8 = 2;

/// A packet that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word of the worker's")]
pub struct BadWord;

impl Said {
    /// The fixed-size form.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SAID] {
        let mut bytes = [0; SAID];
        let fields: Vec<u8> = match self {
            Self::Blob(digest) => [&[1][..], &digest.0].concat(),
            Self::Image { digest, layers } => [&[2][..], &digest.0, &layers.to_be_bytes()].concat(),
            Self::Layer(digest) => [&[3][..], &digest.0].concat(),
            Self::Unpacked { bytes, entries, left_out } => {
                [&[4][..], &bytes.to_be_bytes(), &entries.to_be_bytes(), &left_out.to_be_bytes()].concat()
            }
            Self::Progress { bytes } => [&[5][..], &bytes.to_be_bytes()].concat(),
            Self::Done => vec![6],
            Self::Failed { fault, layer, entry } => {
                [&[7, fault.number()][..], &layer.to_be_bytes(), &entry.to_be_bytes()].concat()
            }
        };
        bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// Reads the fixed-size form. Bytes that a word does not use must be zero.
    pub fn from_bytes(bytes: &[u8; SAID]) -> Result<Self, BadWord> {
        let mut fields = Fields(bytes);
        let said = match fields.take()? {
            [1] => Self::Blob(Sha256(fields.take()?)),
            [2] => Self::Image { digest: Sha256(fields.take()?), layers: u32::from_be_bytes(fields.take()?) },
            [3] => Self::Layer(Sha256(fields.take()?)),
            [4] => Self::Unpacked {
                bytes: u64::from_be_bytes(fields.take()?),
                entries: u64::from_be_bytes(fields.take()?),
                left_out: u64::from_be_bytes(fields.take()?),
            },
            [5] => Self::Progress { bytes: u64::from_be_bytes(fields.take()?) },
            [6] => Self::Done,
            [7] => {
                let [fault] = fields.take()?;
                Self::Failed {
                    fault: Fault::from_number(fault).ok_or(BadWord)?,
                    layer: u32::from_be_bytes(fields.take()?),
                    entry: u64::from_be_bytes(fields.take()?),
                }
            }
            [_] => return Err(BadWord),
        };
        if fields.0.iter().all(|byte| *byte == 0) { Ok(said) } else { Err(BadWord) }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadWord> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(BadWord)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_image_is_named_with_its_digest() {
        let digits = "ab".repeat(32);
        let pinned: Pinned = format!("debian:13@sha256:{digits}").parse().unwrap();
        assert_eq!((pinned.name.as_str(), pinned.digest), ("debian:13", Sha256([0xab; 32])));
        assert_eq!(pinned.to_string(), format!("debian:13@sha256:{digits}"));
        for (text, why) in [
            ("debian".to_owned(), NotPinned::NoDigest),
            ("debian:13".to_owned(), NotPinned::NoDigest),
            (format!("sha256:{digits}"), NotPinned::NoDigest),
            (format!("debian@{digits}"), NotPinned::BadDigest),
            (format!("debian@sha256:{}", digits.to_uppercase()), NotPinned::BadDigest),
            (format!("debian@sha256:{}", digits.get(1..).unwrap()), NotPinned::BadDigest),
            (format!("debian@sha512:{digits}"), NotPinned::BadDigest),
            (format!("@sha256:{digits}"), NotPinned::BadName(BadName)),
            (format!("../x@sha256:{digits}"), NotPinned::BadName(BadName)),
            (format!(".x@sha256:{digits}"), NotPinned::BadName(BadName)),
            (format!("a/b@sha256:{digits}"), NotPinned::BadName(BadName)),
        ] {
            assert_eq!(text.parse::<Pinned>(), Err(why), "{text}");
        }
    }

    #[test]
    fn faults_have_numbers_and_words_of_their_own() {
        assert!(Fault::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        let mut words: Vec<_> = Fault::ALL.iter().map(|fault| fault.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Fault::ALL.len());
    }

    proptest! {
        #[test]
        fn any_packet_is_a_word_exactly_or_not(kind in 0u8..9, rest: [u8; 16]) {
            let mut bytes = [0; SAID];
            bytes[0] = kind;
            bytes[1..17].copy_from_slice(&rest);
            if let Ok(said) = Said::from_bytes(&bytes) {
                prop_assert_eq!(said.to_bytes(), bytes);
            }
        }

        #[test]
        fn every_word_is_read_as_it_was_written(digest: [u8; 32], layers: u32, a: u64, b: u64, c: u64) {
            for said in [
                Said::Blob(Sha256(digest)),
                Said::Image { digest: Sha256(digest), layers },
                Said::Layer(Sha256(digest)),
                Said::Unpacked { bytes: a, entries: b, left_out: c },
                Said::Progress { bytes: a },
                Said::Done,
                Said::Failed { fault: Fault::Traversal, layer: layers, entry: a },
            ] {
                prop_assert_eq!(Said::from_bytes(&said.to_bytes()), Ok(said));
            }
        }
    }
}
