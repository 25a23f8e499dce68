//! Bits on other CPUs: the golden hashes of models, operators, adapters and training natively, and by qemu's user mode on an
//! x86-64 without fused multiply-add, on one with AVX2 and without AVX-512, and on an aarch64.

use crate::{
    steps::Report,
    workspace::{Workspace, output_of},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The packages that hold the tests.
const PACKAGES: &[&str] =
    &["--package", "lattice-import", "--package", "lattice-inference", "--package", "lattice-training"];

/// Golden hashes of operators and models, every kernel beside the portable one, the refusal to flush to zero.
const TESTS: &[(&str, &[&str])] = &[
    ("it", &["keep_their_bits", "digits::", "kernels::"]),
    ("lattice_inference", &["kernels::", "float_mode::"]),
    ("lattice_training", &["the_same_bits"]),
    ("lora", &["numpy"]),
];

/// Multiply-accumulates of the largest model that an emulated CPU runs: software fma under emulation does some millions a second.
const MACS_MAX: &str = "61000000";

/// Seconds that one emulated run may take.
const SECONDS_MAX: &str = "150";

const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// Debian's Rust is the one whose aarch64 library is a package; the C library is that of the same release.
const AARCH64_PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev:arm64",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "libc6:arm64",
    "libgcc-s1:arm64",
];

/// Runs the tests on every CPU that is to be had here.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let build = workspace.cargo(&[&["test", "--locked"], PACKAGES].concat());
    let native = match executables(build) {
        Ok(native) => native,
        Err(error) => return report.check("bits", || Err(error)),
    };
    run(report, "bits", &[], &native);
    if let Err(error) = provide("qemu-x86_64", &["qemu-user"]).and_then(|()| provide("qemu-aarch64", &["qemu-user"])) {
        return report.skip("bits qemu", &error);
    }
    for cpu in ["Nehalem", "Haswell"] {
        run(report, &format!("bits {cpu}"), &["qemu-x86_64", "-cpu", cpu], &native);
    }
    match aarch64(workspace) {
        Err(reason) => report.skip("bits aarch64", &reason),
        Ok(build) => match executables(build) {
            Ok(foreign) => run(report, "bits aarch64", &["qemu-aarch64"], &foreign),
            Err(error) => report.check("bits aarch64", || Err(error)),
        },
    }
}

/// Runs [`TESTS`] below an emulator, or without one.
fn run(report: &mut Report, name: &str, emulator: &[&str], executables: &[(String, PathBuf)]) {
    for (target, filters) in TESTS {
        let Some((_, executable)) = executables.iter().find(|(found, _)| found == target) else {
            return report.check(name, || Err(format!("cargo built no test executable {target}")));
        };
        let mut command = Command::new("timeout");
        command.arg(SECONDS_MAX).args(emulator).arg(executable).args(*filters);
        if !emulator.is_empty() {
            command.env("LATTICE_MACS_MAX", MACS_MAX);
        }
        report.command(name, command);
    }
}

/// Builds the tests of a command and gives their names and executables.
fn executables(mut build: Command) -> Result<Vec<(String, PathBuf)>, String> {
    let messages = output_of(build.args(["--no-run", "--message-format=json-render-diagnostics"]))?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = |artifact: serde_json::Value| {
        let name = artifact["target"]["name"].as_str()?.to_owned();
        Some((name, artifact["executable"].as_str()?.into()))
    };
    Ok(artifacts.filter_map(executable).collect())
}

/// A cargo command for aarch64: by rustup's target where it is installed, else by Debian's compiler.
fn aarch64(workspace: &Workspace) -> Result<Command, String> {
    let target_dir = workspace.target_dir()?.join("aarch64");
    let mut build = workspace.cargo(&[&["test", "--locked", "--target", AARCH64], PACKAGES].concat());
    build
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    let installed = output_of(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    if !installed.lines().any(|target| target == AARCH64) {
        if !Path::new("/usr/lib/rustlib").join(AARCH64).is_dir() {
            let added = output_of(Command::new("dpkg").args(["--add-architecture", "arm64"]));
            added.and_then(|_| install(AARCH64_PACKAGES)).map_err(|error| {
                let reason = error.lines().next().unwrap_or_default();
                format!("no Rust library for {AARCH64}: neither `rustup target add` nor Debian's packages ({reason})")
            })?;
        }
        build.env("RUSTC", "/usr/bin/rustc");
        let version = output_of(Command::new("/usr/bin/rustc").arg("--version"))?;
        let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        if minor.is_none_or(|minor| minor < RUST_MINOR) {
            return Err(format!("Debian's {} is older than 1.{RUST_MINOR}", version.trim_end()));
        }
    }
    Ok(build)
}

/// The oldest minor version of Rust 1 that compiles the workspace.
const RUST_MINOR: u32 = 95;

/// Installs packages unless the program is there.
fn provide(program: &str, packages: &[&str]) -> Result<(), String> {
    if Command::new(program).arg("--version").output().is_ok() { Ok(()) } else { install(packages) }
}

fn install(packages: &[&str]) -> Result<(), String> {
    println!("installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        output_of(apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments))
    };
    apt(&["update"])?;
    let arguments = ["install", "-y", "--no-install-recommends"];
    apt(&[&arguments, packages].concat()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let mut cargo = Command::new("sh");
        let message = r#"{"reason":"compiler-artifact","target":{"name":"it"},"executable":"/t/it-1"}"#;
        cargo.args(["-c", &format!("echo '{message}'; echo '{{\"target\":{{\"name\":\"lib\"}}}}'; echo text")]);
        assert_eq!(executables(cargo), Ok(vec![("it".to_owned(), PathBuf::from("/t/it-1"))]));
        assert!(executables(Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn a_test_that_was_not_built_fails() {
        let mut report = Report::default();
        run(&mut report, "bits", &[], &[]);
        assert_eq!(report.finish(), std::process::ExitCode::FAILURE);
    }
}
