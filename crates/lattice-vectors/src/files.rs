//! Finding files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Every file below a folder (or the file itself), largest first so that parallel work ends together.
pub(crate) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort_by(|(a_size, a), (b_size, b)| b_size.cmp(a_size).then_with(|| a.cmp(b)));
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn collect(path: &Path, files: &mut Vec<(u64, PathBuf)>) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        files.push((meta.len(), path.to_path_buf()));
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link to a folder could lead back here.
        if entry.file_type()?.is_symlink() && entry.path().is_dir() {
            continue;
        }
        collect(&entry.path(), files)?;
    }
    Ok(())
}

/// A path as reports name it: from the searched folder on.
pub(crate) fn shown<'a>(path: &'a Path, dir: &Path) -> std::path::Display<'a> {
    path.strip_prefix(dir).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path).display()
}

/// Whether a file's name ends so, in any case of letters.
#[cfg(feature = "all")]
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
