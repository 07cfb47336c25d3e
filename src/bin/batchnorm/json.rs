//! Figures as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// The folder that a path is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file can come to be there, so that minutes of work are not lost to a wrong path.
pub fn check_place(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder; name a file", path.display())));
    }
    match folder(path) {
        folder if folder.is_dir() => Ok(()),
        folder => {
            Err(Failure::Failed(format!("there is no folder {} to write {} into", folder.display(), path.display())))
        }
    }
}

/// [`check_place`] of a file that may not be asked for.
pub fn check_place_of(path: &Option<PathBuf>) -> Result<(), Failure> {
    path.as_deref().map_or(Ok(()), check_place)
}

/// Writes a file as a whole or not at all: through a temporary file beside it.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::Failed(format!("{} cannot be written: {error}", path.display()));
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; what it becomes is an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder(path)).map_err(refused)?;
    file.write_all(contents).map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// Figures as indented JSON.
pub fn text(figures: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(figures)
        .map_err(|error| Failure::Failed(format!("the figures cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}

/// Writes figures as indented JSON.
pub fn write(path: &Path, figures: &impl Serialize) -> Result<(), Failure> {
    write_whole(path, text(figures)?.as_bytes())
}
