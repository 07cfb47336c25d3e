//! Figures as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// The folder that a path is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a path names.
enum Place {
    /// `-`, as everywhere.
    Stdout,
    /// Something that is written to and not replaced: a pipe, a terminal.
    Special,
    /// A regular file, where links lead to, or the place of a new one.
    File(PathBuf),
}

impl Place {
    fn of(path: &Path) -> Self {
        if is_stdout(path) {
            return Place::Stdout;
        }
        // What is open already may be a file, too, and is written on.
        let open = ["/dev/fd", "/dev/stderr", "/proc"].iter().any(|folder| path.starts_with(folder));
        if open || path.metadata().is_ok_and(|found| !found.is_file()) {
            return Place::Special;
        }
        let target = path.canonicalize().or_else(|_| path.read_link().map(|link| folder(path).join(link)));
        Place::File(target.unwrap_or_else(|_| path.to_owned()))
    }
}

/// Whether a path is the word for stdout.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-" || path.as_os_str() == "/dev/stdout"
}

/// Whether a path may be named as it likes, since no file comes to be there.
pub fn is_no_file(path: &Path) -> bool {
    !matches!(Place::of(path), Place::File(_))
}

/// Whether a file can come to be there, so that minutes of work are not lost to a wrong path. Where that is stdout, all else
/// that is told goes to stderr from now on.
pub fn check_place(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder; name a file", path.display())));
    }
    let target = match Place::of(path) {
        Place::Stdout if output::leave_stdout() => {
            return Err(Failure::Usage("two outputs are to go to stdout; name a file for one".to_owned()));
        }
        Place::Stdout | Place::Special => return Ok(()),
        Place::File(target) => target,
    };
    let folder = folder(&target);
    if !folder.is_dir() {
        let (folder, file) = (folder.display(), path.display());
        return Err(Failure::Failed(format!("there is no folder {folder} to write {file} into")));
    }
    // Gone again at once.
    draft(&target).map(drop).map_err(|error| cannot_write(path, &error))
}

/// [`check_place`] of a file that may not be asked for.
pub fn check_place_of(path: &Option<PathBuf>) -> Result<(), Failure> {
    path.as_deref().map_or(Ok(()), check_place)
}

/// A temporary file beside the one that it becomes.
fn draft(target: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; what it becomes has the rights of the file that it replaces, or of any new one.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let rights = target.metadata().map_or_else(|_| PermissionsExt::from_mode(0o666), |found| found.permissions());
        builder.permissions(rights);
    }
    builder.tempfile_in(folder(target))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    // Without what the error tells of the temporary file.
    let reason = match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    };
    Failure::Failed(format!("{} cannot be written: {reason}", path.display()))
}

/// Writes a file as a whole or not at all, through a temporary file beside it; `-` is stdout. A link is followed.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let refused = |error: std::io::Error| cannot_write(path, &error);
    let target = match Place::of(path) {
        Place::Stdout => {
            return match std::io::stdout().lock().write_all(contents) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Closed),
                done => done.map_err(refused),
            };
        }
        Place::Special => {
            // What others wrote into an open file before stays.
            let opened = std::fs::OpenOptions::new().append(true).open(path);
            return opened.and_then(|mut file| file.write_all(contents)).map_err(refused);
        }
        Place::File(target) => target,
    };
    let mut file = draft(&target).map_err(refused)?;
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
