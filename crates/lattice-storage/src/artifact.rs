//! Weights off chain: a content-addressed store of chunks with manifests.
//!
//! An artifact is cut into raw leaves of 1 MiB, each named by its CID (IPLD CIDv1, raw, sha2-256), the same blocks that
//! IPFS makes with its 1 MiB raw-leaf profile. A [`Manifest`] lists them; the artifact's CID is the raw CID of the
//! manifest's canonical bytes, so it commits to every byte. Files may arrive in any order and from anyone: nothing is
//! stored under a name that its bytes do not hash to, and every read hashes again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use lattice_types::{
    Cid,
    cid::{CID_LEN, MANIFEST_MAGIC},
    limits::CHUNK_BYTES_MAX,
};

use crate::{
    StorageFault,
    engine::{sync_dir, write_atomically},
};

const MANIFEST_HEAD_LEN: usize = MANIFEST_MAGIC.len() + 8;
const TEMPORARY_DIR: &str = "incoming";

/// Bytes that break the rules of artifacts: whoever sent them is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifact {
    /// The bytes are not what their CID names.
    #[error("content has CID {found}, expected {expected}; fetch it again from another source")]
    WrongContent {
        /// The CID that was asked for.
        expected: Cid,
        /// The CID of the bytes.
        found: Cid,
    },
    /// A chunk is empty or longer than [`CHUNK_BYTES_MAX`].
    #[error("a chunk has 1 to {CHUNK_BYTES_MAX} bytes, got {0}")]
    ChunkSize(usize),
    /// The artifact is empty or larger than this node stores.
    #[error("an artifact has 1 to {max} bytes, got {found}")]
    ArtifactSize {
        /// Bytes of the artifact.
        found: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The manifest is not in its canonical form.
    #[error("malformed manifest: {0}")]
    Manifest(String),
    /// The CID names a dag-pb node; artifacts and chunks are raw blocks.
    #[error("CID {0} is not a raw block; artifacts are named by the raw CID of their manifest")]
    NotRaw(Cid),
}

/// What an operation of the store may end with.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Somebody's bytes are wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidArtifact),
    /// Parts are not here yet: fetch them, then try again.
    #[error("{} block(s) of artifact {artifact} are missing, the first is {}", missing.len(), missing[0])]
    Missing {
        /// The artifact.
        artifact: Cid,
        /// What to fetch; never empty. Only the artifact itself when its manifest is missing.
        missing: Vec<Cid>,
    },
    /// This node's disk is at fault.
    #[error(transparent)]
    Fault(#[from] StorageFault),
}

/// The list of an artifact's chunks.
///
/// Canonical bytes: 8 bytes `LATMAN 00 01`, the length in bytes as u64 big-endian, then the CIDs of the chunks in
/// order, 36 bytes each. Every chunk but the last has [`CHUNK_BYTES_MAX`] bytes, so the count follows from the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    length: u64,
    chunks: Vec<Cid>,
}

impl Manifest {
    /// The manifest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let chunks = bytes.chunks(CHUNK_BYTES_MAX).map(Cid::raw).collect();
        Self { length: bytes.len() as u64, chunks }
    }

    /// Bytes of the artifact.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The chunks in order.
    pub fn chunks(&self) -> &[Cid] {
        &self.chunks
    }

    /// The artifact's CID.
    pub fn cid(&self) -> Cid {
        Cid::raw(&self.encode())
    }

    /// Bytes that chunk `index` must have.
    pub fn chunk_len(&self, index: usize) -> usize {
        let before = (index as u64).saturating_mul(CHUNK_BYTES_MAX as u64);
        self.length.saturating_sub(before).min(CHUNK_BYTES_MAX as u64) as usize
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MANIFEST_HEAD_LEN + CID_LEN * self.chunks.len());
        out.extend_from_slice(MANIFEST_MAGIC);
        out.extend_from_slice(&self.length.to_be_bytes());
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.to_bytes());
        }
        out
    }

    /// Reads canonical bytes; refuses any other form and artifacts above `artifact_bytes_max` before it allocates.
    pub fn decode(bytes: &[u8], artifact_bytes_max: u64) -> Result<Self, InvalidArtifact> {
        let malformed = |reason: String| InvalidArtifact::Manifest(reason);
        let rest = bytes
            .strip_prefix(MANIFEST_MAGIC)
            .ok_or_else(|| malformed("it does not begin with the mark of a manifest".into()))?;
        let (length, list) =
            rest.split_first_chunk::<8>().ok_or_else(|| malformed(format!("{} bytes hold no length", bytes.len())))?;
        let length = u64::from_be_bytes(*length);
        check_artifact_size(length, artifact_bytes_max)?;
        let count = length.div_ceil(CHUNK_BYTES_MAX as u64);
        if list.len() as u64 != count * CID_LEN as u64 {
            let found = list.len();
            return Err(malformed(format!("{length} bytes need {count} chunks of {CID_LEN} bytes each, got {found}")));
        }
        let chunks = list
            .chunks_exact(CID_LEN)
            .map(|cid| match Cid::from_bytes(cid) {
                Ok(cid) if cid.is_raw() => Ok(cid),
                Ok(cid) => Err(InvalidArtifact::NotRaw(cid)),
                Err(error) => Err(malformed(error.to_string())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { length, chunks })
    }
}

fn check_artifact_size(length: u64, max: u64) -> Result<(), InvalidArtifact> {
    if length == 0 || length > max {
        return Err(InvalidArtifact::ArtifactSize { found: length, max });
    }
    Ok(())
}

/// Called with the name of each block that a store did not hold before.
pub type ArrivalWatcher = Box<dyn Fn(Cid) + Send + Sync>;

/// Chunks and manifests as files of a directory, each named by its CID.
///
/// A file appears under its name only when all of its bytes are on the disk. Two processes may share the directory, as
/// both would write the same bytes.
pub struct ArtifactStore {
    dir: PathBuf,
    artifact_bytes_max: u64,
    /// Tells temporary files of this process apart.
    serial: AtomicU64,
    watcher: OnceLock<ArrivalWatcher>,
}

impl std::fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArtifactStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ArtifactStore {
    /// Opens the store in a directory, creating it when it is not there, and removes what a killed process left
    /// unfinished. `artifact_bytes_max` bounds one artifact, in bytes.
    pub fn open(dir: impl AsRef<Path>, artifact_bytes_max: u64) -> Result<Self, StorageFault> {
        let dir = dir.as_ref().to_path_buf();
        let incoming = dir.join(TEMPORARY_DIR);
        if incoming.try_exists().map_err(StorageFault::io("look at", &incoming))? {
            fs::remove_dir_all(&incoming).map_err(StorageFault::io("clean", &incoming))?;
        }
        fs::create_dir_all(&incoming).map_err(StorageFault::io("create", &incoming))?;
        Ok(Self { dir, artifact_bytes_max, serial: AtomicU64::new(0), watcher: OnceLock::new() })
    }

    /// Has every block that arrives from now on told, once it can be read. Only the first watcher counts; what another process
    /// writes is not told.
    pub fn watch_arrivals(&self, watcher: ArrivalWatcher) {
        let _first_counts = self.watcher.set(watcher);
    }

    /// Stores an artifact and returns its name. Storing it twice is no error.
    pub fn put(&self, bytes: &[u8]) -> Result<(Cid, Manifest), ArtifactError> {
        check_artifact_size(bytes.len() as u64, self.artifact_bytes_max)?;
        let manifest = Manifest::of(bytes);
        for (chunk, cid) in bytes.chunks(CHUNK_BYTES_MAX).zip(manifest.chunks()) {
            self.store(cid, chunk)?;
        }
        // The manifest comes last: when it is there, so are its chunks.
        let encoded = manifest.encode();
        let cid = Cid::raw(&encoded);
        self.store(&cid, &encoded)?;
        Ok((cid, manifest))
    }

    /// Stores one chunk under the name that its bytes have.
    pub fn put_chunk(&self, bytes: &[u8]) -> Result<Cid, ArtifactError> {
        if bytes.is_empty() || bytes.len() > CHUNK_BYTES_MAX {
            return Err(InvalidArtifact::ChunkSize(bytes.len()).into());
        }
        let cid = Cid::raw(bytes);
        self.store(&cid, bytes)?;
        Ok(cid)
    }

    /// Stores a chunk that was asked for by name; refuses other content.
    pub fn put_expected_chunk(&self, expected: &Cid, bytes: &[u8]) -> Result<(), ArtifactError> {
        check_content(expected, bytes)?;
        self.put_chunk(bytes).map(drop)
    }

    /// Stores a manifest after checking its form and size; returns the artifact's CID.
    pub fn put_manifest(&self, bytes: &[u8]) -> Result<Cid, ArtifactError> {
        Manifest::decode(bytes, self.artifact_bytes_max)?;
        let cid = Cid::raw(bytes);
        self.store(&cid, bytes)?;
        Ok(cid)
    }

    /// Stores a manifest that was asked for by name; refuses other content.
    pub fn put_expected_manifest(&self, expected: &Cid, bytes: &[u8]) -> Result<(), ArtifactError> {
        check_content(expected, bytes)?;
        self.put_manifest(bytes).map(drop)
    }

    /// Whether the block (a chunk or a manifest) of this name is here. Says nothing of an artifact's other blocks: see
    /// [`ArtifactStore::missing`].
    pub fn has(&self, cid: &Cid) -> Result<bool, StorageFault> {
        let path = self.path_of(cid);
        path.try_exists().map_err(StorageFault::io("look at", path))
    }

    /// What must still be fetched of an artifact, each block once: itself when the manifest is not here, else its
    /// chunks. Empty when it is complete.
    pub fn missing(&self, artifact: &Cid) -> Result<Vec<Cid>, ArtifactError> {
        let Some(bytes) = self.read_block(artifact)? else {
            return Ok(vec![*artifact]);
        };
        let manifest = Manifest::decode(&bytes, self.artifact_bytes_max)?;
        let mut missing = Vec::new();
        for chunk in manifest.chunks() {
            if !self.has(chunk)? {
                missing.push(*chunk);
            }
        }
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// The manifest of an artifact that is here.
    pub fn manifest(&self, artifact: &Cid) -> Result<Manifest, ArtifactError> {
        let bytes = self
            .read_block(artifact)?
            .ok_or_else(|| ArtifactError::Missing { artifact: *artifact, missing: vec![*artifact] })?;
        Ok(Manifest::decode(&bytes, self.artifact_bytes_max)?)
    }

    /// The bytes of an artifact, every block hashed again.
    pub fn read(&self, artifact: &Cid) -> Result<Vec<u8>, ArtifactError> {
        let missing = self.missing(artifact)?;
        if !missing.is_empty() {
            return Err(ArtifactError::Missing { artifact: *artifact, missing });
        }
        let manifest = self.manifest(artifact)?;
        let mut out = Vec::with_capacity(manifest.length() as usize);
        for (index, chunk) in manifest.chunks().iter().enumerate() {
            let bytes = self
                .read_block(chunk)?
                .ok_or_else(|| ArtifactError::Missing { artifact: *artifact, missing: vec![*chunk] })?;
            if bytes.len() != manifest.chunk_len(index) {
                let (found, expected) = (bytes.len(), manifest.chunk_len(index));
                return Err(InvalidArtifact::Manifest(format!(
                    "chunk {index} has {found} bytes where its length asks for {expected}"
                ))
                .into());
            }
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }

    /// The bytes of one block, hashed again; none when it is not here.
    pub fn read_block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, ArtifactError> {
        if !cid.is_raw() {
            return Err(InvalidArtifact::NotRaw(*cid).into());
        }
        let path = self.path_of(cid);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StorageFault::io("read", path)(source).into()),
        };
        let found = Cid::raw(&bytes);
        if found != *cid {
            let reason = format!("its content has CID {found}");
            return Err(StorageFault::CorruptArtifact { path, reason }.into());
        }
        Ok(Some(bytes))
    }

    /// Two letters of the hash (the CID's last ones: its first are the same for all) spread the files over folders.
    fn path_of(&self, cid: &Cid) -> PathBuf {
        let name = cid.to_string();
        let shard = &name[name.len() - 3..name.len() - 1];
        self.dir.join(shard).join(&name)
    }

    fn store(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StorageFault> {
        let path = self.path_of(cid);
        // Comparing also heals a file that the disk has spoilt.
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        let shard = path.parent().expect("path_of puts every file into a folder");
        if !shard.is_dir() {
            fs::create_dir_all(shard).map_err(StorageFault::io("create", shard))?;
            sync_dir(&self.dir)?;
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(TEMPORARY_DIR).join(format!("{}-{serial}", std::process::id()));
        write_atomically(&path, &temporary, bytes)?;
        if let Some(watcher) = self.watcher.get() {
            watcher(*cid);
        }
        Ok(())
    }
}

fn check_content(expected: &Cid, bytes: &[u8]) -> Result<(), InvalidArtifact> {
    let found = Cid::raw(bytes);
    if found != *expected {
        return Err(InvalidArtifact::WrongContent { expected: *expected, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAX: u64 = 4 << 20;

    #[test]
    fn a_manifest_has_one_form() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES_MAX + 5).map(|i| i as u8).collect();
        let manifest = Manifest::of(&bytes);
        assert_eq!(manifest.length(), bytes.len() as u64);
        assert_eq!((manifest.chunk_len(0), manifest.chunk_len(1), manifest.chunk_len(2)), (CHUNK_BYTES_MAX, 5, 0));
        let encoded = manifest.encode();
        assert_eq!(encoded.len(), 16 + 2 * 36);
        assert_eq!(Manifest::decode(&encoded, MAX).unwrap(), manifest);
        for cut in 0..encoded.len() {
            assert!(Manifest::decode(&encoded[..cut], MAX).is_err(), "cut at {cut}");
        }
        let mut longer = encoded.clone();
        longer.push(0);
        assert!(matches!(Manifest::decode(&longer, MAX), Err(InvalidArtifact::Manifest(_))));
        let mut other_version = encoded.clone();
        other_version[7] = 2;
        assert!(matches!(Manifest::decode(&other_version, MAX), Err(InvalidArtifact::Manifest(_))));
        let mut dag_pb = encoded;
        dag_pb[17] = 0x70;
        assert!(matches!(Manifest::decode(&dag_pb, MAX), Err(InvalidArtifact::NotRaw(_))));
    }

    #[test]
    fn arrivals_are_told_once_and_can_be_read_then() {
        let dir = tempfile::tempdir().unwrap();
        let store = std::sync::Arc::new(ArtifactStore::open(dir.path(), MAX).unwrap());
        let (told, arrivals) = std::sync::mpsc::channel();
        let reader = std::sync::Arc::downgrade(&store);
        store.watch_arrivals(Box::new(move |cid| {
            told.send((cid, reader.upgrade().unwrap().has(&cid).unwrap())).unwrap();
        }));
        let (artifact, manifest) = store.put(b"weights").unwrap();
        store.put(b"weights").unwrap();
        assert!(store.put_chunk(&[]).is_err());
        assert_eq!(arrivals.try_iter().collect::<Vec<_>>(), [(manifest.chunks()[0], true), (artifact, true)]);
    }

    #[test]
    fn sizes_are_bounded_before_anything_is_read() {
        let mut huge = MANIFEST_MAGIC.to_vec();
        huge.extend_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(Manifest::decode(&huge, MAX), Err(InvalidArtifact::ArtifactSize { found: u64::MAX, max: MAX }));
        assert!(Manifest::decode(&Manifest::of(&[]).encode(), MAX).is_err());
    }

    /// The fixture: canonical bytes are frozen, because CIDs on chain name them.
    #[test]
    fn the_encoding_of_a_manifest_is_frozen() {
        let manifest = Manifest::of(b"hello world");
        let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
        assert_eq!(manifest.chunks()[0].to_string(), cid);
        let mut expected = b"LATMAN\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0b".to_vec();
        expected.extend_from_slice(&Cid::parse(cid).unwrap().to_bytes());
        assert_eq!(manifest.encode(), expected);
    }
}
