//! Figures as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// The folder that a path is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The word for stdout in place of a file.
pub const STDOUT: &str = "-";

/// Whether something else than a regular file is there, which is written to and not replaced: a pipe, a terminal.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// Whether a file can come to be there, so that minutes of work are not lost to a wrong path.
pub fn check_place(path: &Path) -> Result<(), Failure> {
    if path.as_os_str() == STDOUT {
        return Ok(());
    }
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder; name a file", path.display())));
    }
    if is_special(path) {
        return Ok(());
    }
    let folder = folder(path);
    if !folder.is_dir() {
        let (folder, file) = (folder.display(), path.display());
        return Err(Failure::Failed(format!("there is no folder {folder} to write {file} into")));
    }
    // Gone again at once.
    draft(path).map(drop)
}

/// [`check_place`] of a file that may not be asked for.
pub fn check_place_of(path: &Option<PathBuf>) -> Result<(), Failure> {
    path.as_deref().map_or(Ok(()), check_place)
}

/// A temporary file beside the one that it becomes.
fn draft(path: &Path) -> Result<tempfile::NamedTempFile, Failure> {
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; what it becomes has the rights of the file that it replaces, or of any new one.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let rights = path.metadata().map_or_else(|_| PermissionsExt::from_mode(0o666), |found| found.permissions());
        builder.permissions(rights);
    }
    builder.tempfile_in(folder(path)).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    // The kind alone: what else the error tells is of the temporary file.
    Failure::Failed(format!("{} cannot be written: {}", path.display(), error.kind()))
}

/// Writes a file as a whole or not at all, through a temporary file beside it; `-` is stdout. A link is followed.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let refused = |error: std::io::Error| cannot_write(path, &error);
    if path.as_os_str() == STDOUT {
        return match std::io::stdout().lock().write_all(contents) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Closed),
            done => done.map_err(refused),
        };
    }
    if is_special(path) {
        return std::fs::write(path, contents).map_err(refused);
    }
    // Where there is no file yet, there is no link to follow.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut file = draft(&target)?;
    #[cfg(unix)]
    if let Ok(found) = target.metadata() {
        // Whatever the mask of this process takes away.
        file.as_file().set_permissions(found.permissions()).map_err(refused)?;
    }
    file.write_all(contents).map_err(refused)?;
    file.persist(&target).map_err(|error| refused(error.error))?;
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
