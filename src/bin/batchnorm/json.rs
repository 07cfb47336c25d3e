//! Figures as a file.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;

/// Writes a file as a whole or not at all: through a temporary file beside it.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::Failed(format!("{} cannot be written: {error}", path.display()));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; what it becomes is an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(directory).map_err(refused)?;
    file.write_all(contents).map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// Writes figures as indented JSON.
pub fn write(path: &Path, figures: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(figures)
        .map_err(|error| Failure::Failed(format!("the figures cannot be written as JSON: {error}")))?;
    text.push('\n');
    write_whole(path, text.as_bytes())
}
