//! No file may know on which machine it was written: no absolute path of somebody's folders, no private registry.

use crate::files::SourceFile;

/// Folders that exist on somebody's machine only. Spelled in halves, since this file is searched too.
const PRIVATE_FOLDERS: &[&str] =
    &[concat!("/", "work/"), concat!("/", "home/"), concat!("/", "root/"), concat!("/", "Users/")];

/// The registries that anyone can reach, as npm's lock files name them.
const NPM_REGISTRY: &str = "https://registry.npmjs.org/";

/// Private paths, npm packages from elsewhere, and settings that would send cargo or npm elsewhere.
pub fn findings(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with(".npmrc") || file.path.ends_with("pip.conf") {
            findings.push(file.about("settings of one machine; remove it"));
        }
        let is_cargo_config = file.path.ends_with(".cargo/config.toml");
        let is_npm_lock = file.path.ends_with("package-lock.json");
        for (number, line) in file.text.lines().enumerate() {
            if let Some(folder) = PRIVATE_FOLDERS.iter().find(|folder| names_folder(line, folder)) {
                findings.push(file.at(number + 1, &format!("an absolute path below {folder}")));
            }
            if is_cargo_config && (line.starts_with("[source") || line.starts_with("[registries")) {
                findings.push(file.at(number + 1, "sends cargo to another registry"));
            }
            if is_npm_lock && line.contains("\"resolved\":") && !line.contains(NPM_REGISTRY) {
                findings.push(file.at(number + 1, "a package from another registry"));
            }
        }
    }
    findings
}

/// Whether a line holds the folder as the beginning of a path, not within a longer one or a URL.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || ".-_~}/".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_in;

    fn count(path: &str, text: &str) -> usize {
        findings_in(super::findings, path, text).len()
    }

    #[test]
    fn private_paths_are_found() {
        for folder in super::PRIVATE_FOLDERS {
            assert_eq!(count("README.md", &format!("run `{folder}bin/lattice`")), 1, "{folder}");
            assert_eq!(count("README.md", &format!("https://example.org{folder}x and ..{folder}x")), 0, "{folder}");
        }
    }

    #[test]
    fn settings_of_one_machine_are_found() {
        assert_eq!(count(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"x\""), 1);
        assert_eq!(count(".cargo/config.toml", "[alias]"), 0);
        assert_eq!(count("web/.npmrc", ""), 1);
        assert_eq!(count("web/package-lock.json", "\"resolved\": \"https://npm.example.org/viem.tgz\""), 1);
        assert_eq!(count("web/package-lock.json", "\"resolved\": \"https://registry.npmjs.org/viem.tgz\""), 0);
    }
}
