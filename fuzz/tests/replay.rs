//! Replays the seeds of every target, and deterministic mutations of them, on stable Rust without a fuzzing engine.
//!
//! `cargo fuzz` searches; this keeps what it found from coming back.

use lattice_fuzz::TARGETS;
use std::{fs, path::Path};

/// Mutations of each seed. `LATTICE_FUZZ_MUTATIONS` sets another number.
const MUTATIONS: u64 = 64;

/// xorshift64*: the same mutations on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutate(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len());
        match rng.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.next() as u8),
            _ => {
                let from = rng.below(bytes.len());
                let piece = bytes[from..bytes.len().min(from + 16)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no seed", folder.display());
    files.iter().map(|file| fs::read(file).expect("a seed can be read")).collect()
}

#[test]
fn seeds_and_their_mutations_break_no_rule() {
    let mutations = std::env::var("LATTICE_FUZZ_MUTATIONS").map_or(MUTATIONS, |n| n.parse().expect("a number"));
    for (name, target) in TARGETS {
        let mut runs = 0;
        for (index, seed) in seeds(name).iter().enumerate() {
            target(seed);
            let mut rng = Rng(0x1a77_1ce0 + index as u64);
            for _ in 0..mutations {
                target(&mutate(seed, &mut rng));
            }
            runs += 1 + mutations;
        }
        println!("{name}: {runs} inputs");
    }
}
