//! Labelled block DAGs: Kaspa's and DAGs of many reds. What a file is, its content says, gzipped or not.

mod kaspa;
mod labelled;
mod reachability;

use crate::{
    files,
    report::{Report, Verdict},
};
use alloy_primitives::{B256, keccak256};
use flate2::read::MultiGzDecoder;
use lattice_consensus::{BlockFacts, CheckError, Dag, DagParams, TieRule};
use lattice_storage::{Batch, StorageFault};
use rayon::prelude::*;
use serde_json::Value;
use std::{
    fmt::Debug,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

/// A DAG with what is expected of its blocks.
#[derive(Debug, Clone)]
pub struct Case {
    /// What kind of vector it is.
    pub family: &'static str,
    /// GHOSTDAG's k.
    pub k: u16,
    /// Genesis first; every block after its parents.
    pub blocks: Vec<Labelled>,
    /// All blocks that are not blue in the past of a block over all tips, ascending.
    pub reds: Option<Vec<B256>>,
    /// Whether ancestry is compared with a search too.
    pub is_searched: bool,
}

/// A block and what is expected of it; nothing is compared with what is absent.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    /// Its hash.
    pub hash: B256,
    /// Its parents, in any order.
    pub parents: Vec<B256>,
    /// Its work.
    pub work: u128,
    /// Expected selected parent.
    pub selected_parent: Option<B256>,
    /// Expected blues in order, the selected parent first.
    pub blues: Option<Vec<B256>>,
    /// Expected reds in order.
    pub reds: Option<Vec<B256>>,
    /// Expected blue score.
    pub blue_score: Option<u64>,
    /// Expected blue work.
    pub blue_work: Option<u128>,
}

impl Labelled {
    /// As the DAG takes it; what is expected stands as claimed.
    pub fn facts(&self) -> BlockFacts {
        let mut parents = self.parents.clone();
        parents.sort_unstable();
        parents.dedup();
        BlockFacts {
            hash: self.hash,
            parents,
            slot: 0,
            vrf_hash: self.hash,
            ai_class: 0,
            work: self.work,
            blue_score: self.blue_score.unwrap_or_default(),
            blue_work: self.blue_work.unwrap_or_default(),
            newest_pruning_point: B256::ZERO,
        }
    }
}

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Report {
    let found = match files::below(dir) {
        Ok(found) => found,
        Err(error) => {
            let mut report = Report::default();
            report.note("ghostdag", dir.display(), Verdict::Failed(error.to_string()));
            return report;
        }
    };
    found.into_par_iter().map(|path| file(&path, dir)).reduce(Report::default, Report::and)
}

/// Every case below `dir`, with its file: for tools.
///
/// # Errors
/// When a file cannot be read, or is nearly a vector but cannot be understood.
pub fn cases(dir: &Path) -> Result<Vec<(PathBuf, Case)>, String> {
    let mut found = files::below(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    found.sort();
    let mut cases = Vec::new();
    for path in found {
        let case = text(&path).and_then(|text| text.map_or(Ok(None), |text| recognise(&text)));
        if let Some(case) = case.map_err(|cause| format!("{}: {cause}", path.display()))? {
            cases.push((path, case));
        }
    }
    Ok(cases)
}

fn file(path: &Path, dir: &Path) -> Report {
    let mut report = Report::default();
    let name = files::shown(path, dir);
    match text(path).and_then(|text| text.map_or(Ok(None), |text| recognise(&text))) {
        Err(cause) => report.note("ghostdag", name, Verdict::Failed(cause)),
        Ok(None) => report.skip("files that are no DAG", 1),
        Ok(Some(case)) => {
            let verdict = case.judge().map_or_else(Verdict::Failed, |()| Verdict::Passed);
            report.note(case.family, name, verdict);
        }
    }
    report
}

/// The text of a file, unpacked when it is gzipped; none when it is no text.
fn text(path: &Path) -> Result<Option<String>, String> {
    let mut bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        match MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked) {
            Ok(_) => bytes = unpacked,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
            Err(error) => return Err(format!("gzip: {error}")),
        }
    }
    Ok(String::from_utf8(bytes).ok())
}

/// The case that a text holds; none when it holds something else.
fn recognise(text: &str) -> Result<Option<Case>, String> {
    // One JSON value, or one a line.
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        if kaspa::is_labelled(&value) {
            return kaspa::labelled(&value).map(Some);
        }
        if reachability::is_plain(&value) {
            return reachability::plain(&value).map(Some);
        }
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(str::as_bytes);
    let Some(Ok(head)) = lines.next().map(serde_json::from_slice::<Value>) else { return Ok(None) };
    let mut values = lines
        .enumerate()
        .map(|(at, line)| serde_json::from_slice::<Value>(line).map_err(|error| format!("line {}: {error}", at + 2)));
    if labelled::is_head(&head) {
        return labelled::read(&head, &mut values).map(Some);
    }
    if kaspa::is_replay_head(&head) {
        return kaspa::replay(&head, &mut values).map(Some);
    }
    Ok(None)
}

/// The hash of a block that a vector names: hex of 32 bytes, a number, or a short name, in an order that is that of the
/// names among equals.
fn named(value: &Value) -> Result<B256, String> {
    if let Some(number) = value.as_u64() {
        return Ok(B256::left_padding_from(&number.to_be_bytes()));
    }
    let name = value.as_str().ok_or_else(|| format!("{value} names no block"))?;
    if let Ok(hash) = name.parse::<B256>() {
        return Ok(hash);
    }
    if name.len() > 32 {
        return Ok(keccak256(name));
    }
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(B256::new(bytes))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<Option<&'a [Value]>, String> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(format!("{field} is no list: {other}")),
    }
}

fn all_named(list: &[Value]) -> Result<Vec<B256>, String> {
    list.iter().map(named).collect()
}

/// GHOSTDAG's k as these vectors write it.
fn k_of(value: &Value) -> Result<u16, String> {
    let k = value.as_u64().ok_or_else(|| format!("k is no number: {value}"))?;
    u16::try_from(k).map_err(|_| format!("k is {k}, more than {}", u16::MAX))
}

impl Case {
    /// Builds the DAG and compares every block; the error says where it differs first, and how often.
    ///
    /// # Errors
    /// The first difference, or why the DAG cannot be built.
    pub fn judge(&self) -> Result<(), String> {
        let Some((genesis, blocks)) = self.blocks.split_first() else { return Err("no blocks".into()) };
        let params = DagParams::unlimited(self.k, TieRule::GreaterHash);
        let mut dag = Dag::new(&genesis.facts(), params, &mut Batch::new());
        let (mut first, mut wrong) = (None, 0u64);
        for (at, block) in blocks.iter().enumerate() {
            let place = || format!("block {} ({})", at + 1, block.hash);
            if block.parents.is_empty() {
                return Err(format!("{} has no parents, but is not the first", place()));
            }
            insert(&mut dag, block).map_err(|error| format!("{}: {error}", place()))?;
            if let Err(difference) = compare(&dag, block) {
                wrong += 1;
                first.get_or_insert_with(|| format!("{}: {difference}", place()));
            }
        }
        if let Some(first) = first {
            return Err(format!("{first} ({wrong} of {} blocks differ)", blocks.len()));
        }
        if let Some(expected) = &self.reds {
            let found = reds_of_the_whole(&dag).map_err(|fault| fault.to_string())?;
            same("reds of the whole DAG", &found, expected)?;
        }
        if self.is_searched { reachability::search(self, &dag) } else { Ok(()) }
    }
}

fn insert(dag: &mut Dag, block: &Labelled) -> Result<(), CheckError> {
    let prepared = dag.check_nothing(&block.facts())?;
    Ok(dag.insert(prepared, &mut Batch::new())?)
}

fn compare(dag: &Dag, block: &Labelled) -> Result<(), String> {
    let data = dag.ghostdag(&block.hash).map_err(|fault| fault.to_string())?.ok_or("it is not in the DAG")?;
    let expected = |field, found: &B256, expected: &Option<B256>| match expected {
        Some(expected) => same(field, found, expected),
        None => Ok(()),
    };
    expected("selected parent", &data.selected_parent, &block.selected_parent)?;
    if let Some(blues) = &block.blues {
        same("blues", &data.mergeset_blues, blues)?;
    }
    if let Some(reds) = &block.reds {
        same("reds", &data.mergeset_reds, reds)?;
    }
    if let Some(score) = &block.blue_score {
        same("blue score", &data.blue_score, score)?;
    }
    if let Some(work) = &block.blue_work {
        same("blue work", &data.blue_work, work)?;
    }
    Ok(())
}

fn same<T: PartialEq + Debug + ?Sized>(field: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{field}: expected {expected:?}, found {found:?}")) }
}

/// What a block over all tips does not count as blue.
fn reds_of_the_whole(dag: &Dag) -> Result<Vec<B256>, StorageFault> {
    let fault = |error: CheckError| match error {
        CheckError::Fault(fault) => fault,
        other => unreachable!("tips are known: {other}"),
    };
    let mut next = Some(dag.virtual_data(&dag.tips()).map_err(fault)?);
    let mut reds = Vec::new();
    while let Some(data) = next {
        reds.extend(data.mergeset_reds);
        next = dag.ghostdag(&data.selected_parent)?;
    }
    reds.sort_unstable();
    Ok(reds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both lines of a fork of genesis, then a block over both: k = 0 makes the lesser one red.
    const LABELLED: &str = r#"{"k": 0, "genesis": "0x00000000000000000000000000000000000000000000000000000000000000aa"}
        {"hash": "0000000000000000000000000000000000000000000000000000000000000001", "parents": [0], "sp": 0}
        {"hash": "0000000000000000000000000000000000000000000000000000000000000002", "parents": [0], "blue_score": 1}
        {"hash": "0000000000000000000000000000000000000000000000000000000000000003", "parents": [1, 2], "reds": [1]}"#;

    fn verdict(text: &str) -> Result<(), String> {
        recognise(text).unwrap().unwrap().judge()
    }

    #[test]
    fn absent_fields_are_not_compared_and_present_ones_are() {
        assert_eq!(verdict(LABELLED), Ok(()));
        let error = verdict(&LABELLED.replace(r#""blue_score": 1"#, r#""blue_score": 2"#)).unwrap_err();
        assert!(error.contains("block 2") && error.contains("blue score: expected 2, found 1"), "{error}");
        let error = verdict(&LABELLED.replace(r#""reds": [1]"#, r#""blues": [2, 1]"#)).unwrap_err();
        assert!(error.contains("blues") && error.contains("1 of 3 blocks differ"), "{error}");
        let error = recognise(&LABELLED.replace("[1, 2]", "[1, 9]")).unwrap_err();
        assert!(error.contains("names block 9"), "{error}");
    }

    #[test]
    fn kaspas_labelled_dags_of_any_k() {
        let text = r#"{"K": 0, "GenesisID": "G", "ExpectedReds": ["A"], "Blocks": [
            {"ID": "A", "Parents": ["G"], "ExpectedScore": 1}, {"ID": "B", "Parents": ["G"]},
            {"ID": "C", "Parents": ["A", "B"], "ExpectedBlues": ["B"], "ExpectedReds": ["A"], "ExpectedSelectedParent": "B"}]}"#;
        assert_eq!(verdict(text), Ok(()));
        assert!(
            verdict(&text.replace(r#""ExpectedReds": ["A"], "Blocks""#, r#""ExpectedReds": ["B"], "Blocks""#)).is_err()
        );
        assert!(verdict(&text.replace(r#""K": 0"#, r#""K": 3"#)).is_err());
    }

    #[test]
    fn plain_dags_are_searched() {
        let text = r#"[{"id": "0", "parents": []}, {"id": 1, "parents": ["0"]}, {"id": "2", "parents": [1, "0"]}]"#;
        let case = recognise(text).unwrap().unwrap();
        assert!(case.is_searched);
        assert_eq!(case.judge(), Ok(()));
    }

    #[test]
    fn other_texts_are_no_dags() {
        for text in ["", "Permission is hereby granted", "{}", "[]", "[1]", r#"{"pre": 1}"#, "1\n2\n3"] {
            assert!(recognise(text).unwrap().is_none(), "{text}");
        }
    }
}
