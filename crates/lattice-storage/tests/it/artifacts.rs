//! The artifact store on a real directory.

use std::{collections::BTreeSet, fs, path::PathBuf};

use lattice_storage::{
    ArtifactStore, Manifest, StorageFault,
    artifact::{ArtifactError, InvalidArtifact},
};
use lattice_types::{Cid, limits::CHUNK_BYTES_MAX};
use tempfile::TempDir;

const MAX: u64 = 8 << 20;

fn store() -> (ArtifactStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (ArtifactStore::open(folder.path().join("artifacts"), MAX).unwrap(), folder)
}

/// Bytes of which no two chunks are alike.
fn content(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shard in fs::read_dir(folder.path().join("artifacts")).unwrap() {
        found.extend(fs::read_dir(shard.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    found.sort();
    found
}

#[test]
fn an_artifact_comes_back_whole() {
    let (store, folder) = store();
    for len in [1, 1000, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX + 17] {
        let bytes = content(len);
        let (cid, manifest) = store.put(&bytes).unwrap();
        assert_eq!(manifest, Manifest::of(&bytes));
        assert_eq!(manifest.cid(), Cid::artifact(&bytes), "as the chain names the bytes");
        assert_eq!(manifest.chunks().len(), len.div_ceil(CHUNK_BYTES_MAX));
        assert!(store.has(&cid).unwrap());
        assert!(store.missing(&cid).unwrap().is_empty());
        assert_eq!(store.read(&cid).unwrap(), bytes);
        assert_eq!(store.manifest(&cid).unwrap(), manifest);
        assert_eq!(store.put(&bytes).unwrap().0, cid, "twice is the same");
    }
    let count = files(&folder).len();
    drop(store);
    let again = ArtifactStore::open(folder.path().join("artifacts"), MAX).unwrap();
    assert_eq!(again.read(&Manifest::of(&content(1000)).cid()).unwrap(), content(1000));
    assert_eq!(files(&folder).len(), count);
}

#[test]
fn blocks_arrive_in_any_order() {
    let (store, _folder) = store();
    let bytes = content(2 * CHUNK_BYTES_MAX + 9);
    let manifest = Manifest::of(&bytes);
    let cid = manifest.cid();
    assert_eq!(store.missing(&cid).unwrap(), [cid]);
    assert!(matches!(store.read(&cid), Err(ArtifactError::Missing { missing, .. }) if missing == [cid]));
    let pieces: Vec<_> = bytes.chunks(CHUNK_BYTES_MAX).collect();
    store.put_expected_chunk(&manifest.chunks()[2], pieces[2]).unwrap();
    assert_eq!(store.put_manifest(&manifest.encode()).unwrap(), cid);
    let missing: BTreeSet<_> = store.missing(&cid).unwrap().into_iter().collect();
    assert_eq!(missing, manifest.chunks()[..2].iter().copied().collect());
    assert_eq!(store.put_chunk(pieces[0]).unwrap(), manifest.chunks()[0]);
    let error = store.read(&cid).unwrap_err();
    assert!(matches!(&error, ArtifactError::Missing { missing, .. } if *missing == [manifest.chunks()[1]]));
    assert!(error.to_string().contains("1 block(s)"), "{error}");
    store.put_chunk(pieces[1]).unwrap();
    assert_eq!(store.read(&cid).unwrap(), bytes);
}

#[test]
fn an_artifact_of_equal_chunks_misses_each_block_once() {
    let (store, _folder) = store();
    let bytes = vec![0; 4 * CHUNK_BYTES_MAX];
    let manifest = Manifest::of(&bytes);
    store.put_manifest(&manifest.encode()).unwrap();
    assert_eq!(store.missing(&manifest.cid()).unwrap(), [manifest.chunks()[0]]);
    store.put_chunk(&bytes[..CHUNK_BYTES_MAX]).unwrap();
    assert_eq!(store.read(&manifest.cid()).unwrap(), bytes);
}

#[test]
fn wrong_content_is_refused_and_not_stored() {
    let (store, folder) = store();
    let asked = Cid::raw(b"what was asked for");
    let error = store.put_expected_chunk(&asked, b"something else").unwrap_err();
    assert!(matches!(error, ArtifactError::Invalid(InvalidArtifact::WrongContent { expected, found })
            if expected == asked && found == Cid::raw(b"something else")));
    let other = Manifest::of(b"other").encode();
    assert!(store.put_expected_manifest(&asked, &other).is_err());
    assert!(matches!(store.put_manifest(b"no manifest"), Err(ArtifactError::Invalid(InvalidArtifact::Manifest(_)))));
    assert!(matches!(store.put_chunk(b""), Err(ArtifactError::Invalid(InvalidArtifact::ChunkSize(0)))));
    let long = vec![1; CHUNK_BYTES_MAX + 1];
    assert!(matches!(store.put_chunk(&long), Err(ArtifactError::Invalid(InvalidArtifact::ChunkSize(_)))));
    let large = vec![1; MAX as usize + 1];
    let size = |result: Result<_, ArtifactError>| {
        matches!(result, Err(ArtifactError::Invalid(InvalidArtifact::ArtifactSize { max: MAX, .. })))
    };
    assert!(size(store.put(&large).map(drop)));
    assert!(size(store.put_manifest(&Manifest::of(&large).encode()).map(drop)));
    assert!(size(store.put(b"").map(drop)));
    assert_eq!(files(&folder), [] as [PathBuf; 0]);
}

#[test]
fn chunks_of_other_lengths_are_refused_at_read() {
    let (store, _folder) = store();
    // The manifest claims two bytes more than its chunk has.
    let mut encoded = Manifest::of(b"12345678").encode();
    encoded[15] = 10;
    let cid = store.put_manifest(&encoded).unwrap();
    store.put_chunk(b"12345678").unwrap();
    let error = store.read(&cid).unwrap_err();
    assert!(matches!(error, ArtifactError::Invalid(InvalidArtifact::Manifest(_))), "{error}");
}

#[test]
fn a_spoilt_file_is_a_fault_and_storing_again_heals_it() {
    let (store, folder) = store();
    let bytes = content(CHUNK_BYTES_MAX + 100);
    let (cid, manifest) = store.put(&bytes).unwrap();
    let name = manifest.chunks()[1].to_string();
    let file = files(&folder).into_iter().find(|path| path.ends_with(&name)).unwrap();
    let mut spoilt = fs::read(&file).unwrap();
    spoilt[50] ^= 1;
    fs::write(&file, &spoilt).unwrap();
    let error = store.read(&cid).unwrap_err();
    assert!(matches!(&error, ArtifactError::Fault(StorageFault::CorruptArtifact { path, .. }) if *path == file));
    assert!(error.to_string().contains("delete it"), "{error}");
    store.put(&bytes).unwrap();
    assert_eq!(store.read(&cid).unwrap(), bytes);
}

#[test]
fn what_a_killed_process_left_is_cleaned_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("artifacts");
    let store = ArtifactStore::open(&dir, MAX).unwrap();
    fs::write(dir.join("incoming").join("1-0"), b"half a chunk").unwrap();
    drop(store);
    let store = ArtifactStore::open(&dir, MAX).unwrap();
    assert_eq!(files(&folder), [] as [PathBuf; 0]);
    store.put(b"works").unwrap();
}
