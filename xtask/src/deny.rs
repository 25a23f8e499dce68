//! Licences, banned crates and sources of every dependency, as deny.toml rules them.
//!
//! deny.toml is cargo-deny's file. This check reads the same rules from it, so that they hold where cargo-deny is
//! not installed; where it is, it runs as well.

use crate::{
    spdx,
    steps::{Findings, Report},
    workspace::{Metadata, Workspace},
};
use serde::Deserialize;
use std::process::{Command, Stdio};

/// The part of deny.toml that this check enforces.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Judges the lock file, then lets cargo-deny do so where it is installed.
pub fn step(workspace: &Workspace, report: &mut Report) {
    report.check("deny", || judge(workspace));
    let mut probe = workspace.cargo(&["deny", "--version"]);
    let installed = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if installed {
        report.command("cargo-deny", cargo_deny(workspace));
    } else {
        report.skip("cargo-deny", "not installed; the check above holds the same licences, bans and sources");
    }
}

fn cargo_deny(workspace: &Workspace) -> Command {
    workspace.cargo(&["deny", "--all-features", "check", "licenses", "bans", "sources"])
}

fn judge(workspace: &Workspace) -> Findings {
    let path = workspace.root().join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rules: Rules = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    Ok(breaches(&rules, &workspace.resolved()?))
}

fn breaches(rules: &Rules, metadata: &Metadata) -> Vec<String> {
    let mut breaches = Vec::new();
    let allowed = |licence: &str| rules.licenses.allow.iter().any(|allowed| allowed == licence);
    for package in &metadata.packages {
        let crate_ = format!("{} {}", package.name, package.version);
        match package.license.as_deref().map(|licence| spdx::is_satisfied(licence, &allowed)) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                let licence = package.license.as_deref().unwrap_or_default();
                breaches.push(format!("{crate_}: licence {licence} is not allowed by deny.toml"));
            }
            Some(Err(error)) => breaches.push(format!("{crate_}: {error}")),
            None => breaches.push(format!("{crate_}: names no licence")),
        }
        if let Some(banned) = rules.bans.deny.iter().find(|banned| banned.name == package.name) {
            breaches.push(format!("{crate_}: banned: {}", banned.reason));
        }
        if let Some(source) = &package.source {
            let registry = source.strip_prefix("registry+").unwrap_or_default();
            if !rules.sources.allow_registry.iter().any(|allowed| allowed == registry) {
                breaches.push(format!("{crate_}: comes from {source}, which deny.toml does not allow"));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT"]
        [bans]
        deny = [{ crate = "openssl", reason = "C" }]
        [sources]
        allow-registry = ["https://example.org/index"]
    "#;

    fn count(name: &str, license: Option<&str>, source: Option<&str>) -> usize {
        let package = Package {
            id: name.into(),
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(Into::into),
            source: source.map(Into::into),
            dependencies: Vec::new(),
        };
        let metadata = Metadata { packages: vec![package], resolve: None, target_directory: "target".into() };
        breaches(&toml::from_str(RULES).unwrap(), &metadata).len()
    }

    #[test]
    fn licences_bans_and_sources_are_held() {
        let registry = Some("registry+https://example.org/index");
        assert_eq!(count("good", Some("MIT OR GPL-3.0-only"), registry), 0);
        assert_eq!(count("ours", Some("MIT"), None), 0);
        assert_eq!(count("copyleft", Some("GPL-3.0-only"), registry), 1);
        assert_eq!(count("odd", Some("MIT OR"), registry), 1);
        assert_eq!(count("silent", None, registry), 1);
        assert_eq!(count("openssl", Some("MIT"), registry), 1);
        assert_eq!(count("forked", Some("MIT"), Some("git+https://example.org/forked")), 1);
    }
}
