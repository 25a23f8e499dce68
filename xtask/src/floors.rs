//! The house: which crate may import which, and which crate alone may hold a heavy dependency.
//!
//! The table is ARCHITECTURE.md's, as code. A room imports only rooms named in its row; pure rooms (floors 0-4) hold
//! no runtime, socket, clock or source of randomness; what is slow to build or large to audit enters by one door.

use crate::{
    steps::Report,
    workspace::{Kind, Metadata, Package, Workspace},
};
use std::collections::{BTreeMap, BTreeSet};

/// One crate of ours.
pub struct Room {
    pub name: &'static str,
    pub floor: u8,
    /// Rooms that it may import.
    imports: &'static [&'static str],
}

impl Room {
    /// A room of pure functions and single-owner state: everything from outside reaches it as an input.
    pub fn is_pure(&self) -> bool {
        self.floor <= PURE_FLOOR_MAX
    }
}

const PURE_FLOOR_MAX: u8 = 4;

const fn room(name: &'static str, floor: u8, imports: &'static [&'static str]) -> Room {
    Room { name, floor, imports }
}

/// Every crate that may exist under crates/.
pub const HOUSE: &[Room] = &[
    room("lattice-types", 0, &[]),
    room("lattice-storage", 1, &["lattice-types"]),
    room("lattice-inference", 1, &["lattice-types"]),
    room("lattice-import", 1, &["lattice-inference"]),
    room("lattice-training", 1, &["lattice-inference"]),
    room("lattice-proof", 1, &["lattice-types", "lattice-inference"]),
    room("lattice-consensus", 2, &["lattice-types", "lattice-storage"]),
    room("lattice-state", 2, &["lattice-types", "lattice-storage"]),
    room(
        "lattice-execution",
        3,
        &["lattice-types", "lattice-state", "lattice-inference", "lattice-training", "lattice-proof"],
    ),
    room("lattice-chain", 4, BELOW_CHAIN),
    room("lattice-network", 5, &["lattice-types"]),
    room("lattice-rpc", 5, &["lattice-types", "lattice-chain"]),
    room("lattice-sdk", 5, &["lattice-types"]),
    room("lattice-sim", 5, BELOW_SIM),
    room("lattice-vectors", 5, BELOW_VECTORS),
    room("lattice", 6, ALL_BELOW),
];

const BELOW_CHAIN: &[&str] = &[
    "lattice-types",
    "lattice-storage",
    "lattice-inference",
    "lattice-training",
    "lattice-proof",
    "lattice-consensus",
    "lattice-state",
    "lattice-execution",
];

/// The simulator drives chains and looks into their states.
const BELOW_SIM: &[&str] = &[
    "lattice-types",
    "lattice-storage",
    "lattice-inference",
    "lattice-consensus",
    "lattice-state",
    "lattice-execution",
    "lattice-chain",
];

/// The test bench runs other projects' vectors through every room that has some.
const BELOW_VECTORS: &[&str] = &[
    "lattice-types",
    "lattice-storage",
    "lattice-inference",
    "lattice-import",
    "lattice-consensus",
    "lattice-state",
    "lattice-execution",
    "lattice-chain",
    "lattice-rpc",
];

const ALL_BELOW: &[&str] = &[
    "lattice-types",
    "lattice-storage",
    "lattice-inference",
    "lattice-import",
    "lattice-training",
    "lattice-proof",
    "lattice-consensus",
    "lattice-state",
    "lattice-execution",
    "lattice-chain",
    "lattice-network",
    "lattice-rpc",
    "lattice-sdk",
    "lattice-sim",
];

/// Heavy dependencies (a crate, or a family `name-*`) and the one room that may declare each.
const HEAVY: &[(&str, &str)] = &[
    ("blst", "lattice-types"),
    ("fjall", "lattice-storage"),
    ("rocksdb", "lattice-storage"),
    ("prost", "lattice-import"),
    ("flatbuffers", "lattice-import"),
    ("p3", "lattice-proof"),
    ("revm", "lattice-execution"),
    ("libp2p", "lattice-network"),
    ("axum", "lattice-rpc"),
    ("jsonrpsee", "lattice-rpc"),
    ("rmcp", "lattice-rpc"),
    ("alloy-provider", "lattice-sdk"),
    ("clap", "lattice"),
];

/// What brings time, chance, sockets or threads of its own: never declared by a pure room.
const OUTSIDE: &[&str] = &[
    "async-std",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "mio",
    "rand",
    "reqwest",
    "smol",
    "socket2",
    "time",
    "tokio",
    "ureq",
];

/// Runtimes and sockets: never even reached by a pure room through others.
const RUNTIMES: &[&str] = &["async-std", "hyper", "mio", "reqwest", "smol", "socket2", "tokio"];

/// Judges this workspace.
pub fn step(workspace: &Workspace, report: &mut Report) {
    report.check("floors", || {
        let metadata = workspace.resolved()?;
        let members = workspace.members()?;
        let mut findings = declared(&members);
        findings.extend(reached(&members, &metadata));
        Ok(findings)
    });
}

/// Breaches among the dependencies that manifests declare.
fn declared(members: &Metadata) -> Vec<String> {
    let names: BTreeSet<&str> = members.packages.iter().map(|package| package.name.as_str()).collect();
    members.packages.iter().flat_map(|package| breaches_of(package, &names)).collect()
}

fn breaches_of(package: &Package, members: &BTreeSet<&str>) -> Vec<String> {
    let mut breaches = Vec::new();
    let name = &package.name;
    let room = HOUSE.iter().find(|room| room.name == name);
    if room.is_none() && name.starts_with("lattice") {
        breaches.push(format!("{name}: not in the house; give it a row in xtask/src/floors.rs and ARCHITECTURE.md"));
    }
    for dependency in &package.dependencies {
        let import = dependency.name.as_str();
        if dependency.kind == Kind::Dev {
            // Tests may set up what lies below them, never what lies above.
            let above = |room: &Room| HOUSE.iter().any(|other| other.name == import && other.floor > room.floor);
            if room.is_some_and(above) {
                breaches.push(format!("{name}: its tests import {import}, which is on a higher floor"));
            }
            continue;
        }
        if members.contains(import) && !room.is_some_and(|room| room.imports.contains(&import)) {
            breaches.push(format!("{name}: may not import {import}"));
        }
        if let Some((heavy, owner)) = HEAVY.iter().find(|(heavy, _)| is_of_family(import, heavy))
            && name != owner
        {
            breaches.push(format!("{name}: declares {import}, but {heavy} is hidden in {owner}"));
        }
        if room.is_some_and(Room::is_pure) && OUTSIDE.contains(&import) {
            breaches.push(format!("{name}: is pure, and {import} brings time, chance, sockets or threads"));
        }
    }
    breaches
}

fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Runtimes that pure rooms reach through their dependencies, with the way there.
fn reached(members: &Metadata, resolved: &Metadata) -> Vec<String> {
    let Some(graph) = &resolved.resolve else { return vec!["cargo metadata gave no dependency graph".into()] };
    let name_of: BTreeMap<&str, &str> =
        resolved.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in &graph.nodes {
        // Build scripts and macros run on the builder's machine, not in the room.
        let linked = node.deps.iter().filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind == Kind::Normal));
        edges.insert(&node.id, linked.map(|edge| edge.pkg.as_str()).collect());
    }
    let mut breaches = Vec::new();
    for package in &members.packages {
        let is_pure = HOUSE.iter().any(|room| room.name == package.name && room.is_pure());
        if is_pure && let Some(way) = way_to_runtime(&package.id, &edges, &name_of) {
            breaches.push(format!("{}: is pure, but reaches a runtime: {}", package.name, way.join(" -> ")));
        }
    }
    breaches
}

/// The shortest way from a crate to a runtime, by names.
fn way_to_runtime<'a>(
    from: &'a str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    name_of: &BTreeMap<&str, &'a str>,
) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(id) = queue.pop_front() {
        let name = name_of.get(id).copied().unwrap_or(id);
        if RUNTIMES.contains(&name) {
            let ids = std::iter::successors(Some(id), |id| came_from.get(id).copied());
            let mut way: Vec<&str> = ids.map(|id| name_of.get(id).copied().unwrap_or(id)).collect();
            way.reverse();
            return Some(way);
        }
        for next in edges.get(id).into_iter().flatten() {
            if *next != from && !came_from.contains_key(next) {
                came_from.insert(next, id);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Edge, EdgeKind, Node, Resolve};
    use std::path::Path;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            version: "0.1.0".into(),
            license: None,
            source: None,
            dependencies: dependencies.iter().map(|&(name, kind)| Dependency { name: name.into(), kind }).collect(),
        }
    }

    fn house(packages: Vec<Package>) -> Metadata {
        Metadata { packages, resolve: None, target_directory: "target".into() }
    }

    fn breaches(name: &str, import: &str, kind: Kind) -> usize {
        let rooms = HOUSE.iter().filter(|room| room.name != name).map(|room| package(room.name, &[]));
        let judged = package(name, &[(import, kind)]);
        declared(&house(rooms.chain([judged]).collect())).len()
    }

    #[test]
    fn this_workspace_keeps_its_floors() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = Workspace::new(root).members().unwrap();
        assert!(members.packages.iter().any(|package| package.name == "lattice"));
        assert_eq!(declared(&members), Vec::<String>::new());
    }

    #[test]
    fn every_row_imports_only_lower_floors_or_earlier_rows() {
        for (place, room) in HOUSE.iter().enumerate() {
            for import in room.imports {
                let below = HOUSE.iter().position(|other| other.name == *import).unwrap();
                assert!(below < place && HOUSE[below].floor <= room.floor, "{} imports {import}", room.name);
            }
        }
    }

    #[test]
    fn rooms_import_what_their_row_names_and_nothing_else() {
        assert_eq!(breaches("lattice-chain", "lattice-execution", Kind::Normal), 0);
        assert_eq!(breaches("lattice-execution", "lattice-consensus", Kind::Normal), 1);
        assert_eq!(breaches("lattice-network", "lattice-chain", Kind::Normal), 1);
        assert_eq!(breaches("lattice-consensus", "lattice-state", Kind::Build), 1);
        assert_eq!(breaches("xtask", "lattice-types", Kind::Normal), 1);
    }

    #[test]
    fn tests_may_look_down_but_not_up() {
        assert_eq!(breaches("lattice-execution", "lattice-storage", Kind::Dev), 0);
        assert_eq!(breaches("lattice-types", "lattice-chain", Kind::Dev), 1);
    }

    #[test]
    fn a_room_outside_the_table_is_reported() {
        assert_eq!(declared(&house(vec![package("lattice-attic", &[])])).len(), 1);
    }

    #[test]
    fn heavy_dependencies_enter_by_one_door() {
        assert_eq!(breaches("lattice-execution", "revm", Kind::Normal), 0);
        assert_eq!(breaches("lattice-chain", "revm-primitives", Kind::Normal), 1);
        assert_eq!(breaches("lattice-chain", "fjall", Kind::Normal), 1);
        assert_eq!(breaches("lattice-chain", "prosthesis", Kind::Normal), 0);
    }

    #[test]
    fn pure_rooms_declare_nothing_from_outside() {
        assert_eq!(breaches("lattice-chain", "tokio", Kind::Normal), 1);
        assert_eq!(breaches("lattice-state", "rand", Kind::Normal), 1);
        assert_eq!(breaches("lattice-state", "rand", Kind::Dev), 0);
        assert_eq!(breaches("lattice-rpc", "tokio", Kind::Normal), 0);
    }

    #[test]
    fn a_runtime_behind_a_dependency_is_found_with_the_way_there() {
        let edge = |to: &str, kind| Edge { pkg: to.into(), dep_kinds: vec![EdgeKind { kind }] };
        let graph = |kind| Metadata {
            packages: ["lattice-chain", "innocent", "tokio"].map(|name| package(name, &[])).into(),
            resolve: Some(Resolve {
                nodes: vec![
                    Node { id: "lattice-chain".into(), deps: vec![edge("innocent", Kind::Normal)] },
                    Node { id: "innocent".into(), deps: vec![edge("tokio", kind)] },
                ],
            }),
            target_directory: "target".into(),
        };
        let members = house(vec![package("lattice-chain", &[])]);
        let found = reached(&members, &graph(Kind::Normal));
        assert_eq!(found, ["lattice-chain: is pure, but reaches a runtime: lattice-chain -> innocent -> tokio"]);
        assert_eq!(reached(&members, &graph(Kind::Build)), Vec::<String>::new());
    }
}
