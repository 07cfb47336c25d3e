//! Programs that the tasks run.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use crate::failure::Failure;

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds in the release profile: the directory of this very program.
pub fn built() -> Result<PathBuf, Failure> {
    let own =
        std::env::current_exe().map_err(|error| Failure::new(format!("this program's path is unknown: {error}")))?;
    Ok(own.parent().map(PathBuf::from).unwrap_or_default())
}

/// A command that runs in the root of the repository.
pub fn command(program: impl Into<OsString>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.into());
    command.args(arguments).current_dir(root());
    command
}

/// The cargo that runs this task.
pub fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Where a program of this repository is, once it is built.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    Ok(built()?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// The `batchnorm` program, once it is built.
pub fn batchnorm(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = command(program("batchnorm")?, arguments);
    quiet_egl(&mut command)?;
    Ok(command)
}

/// An example, once it is built.
pub fn example(name: &str) -> Result<Command, Failure> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(command(built()?.join("examples").join(file), &[]))
}

/// Gives EGL the directory without which it writes to stderr that it has none.
pub fn quiet_egl(command: &mut Command) -> Result<(), Failure> {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        let directory = built()?.join("xdg-runtime");
        std::fs::create_dir_all(&directory)
            .map_err(|error| Failure::new(format!("{} cannot be made: {error}", directory.display())))?;
        command.env("XDG_RUNTIME_DIR", directory);
    }
    Ok(())
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let word = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let program = std::path::Path::new(command.get_program()).file_stem().map(word).unwrap_or_default();
    std::iter::once(program).chain(command.get_args().map(word)).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end, its output passing through.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    finished(command, status)
}

/// Runs a command to its end; both of its outputs pass through and are read line by line.
pub fn run_reading(command: &mut Command, mut line: impl FnMut(&str)) -> Result<(), Failure> {
    println!("$ {}", shown(command));
    let (reader, writer) =
        std::io::pipe().map_err(|error| Failure::new(format!("a pipe could not be made: {error}")))?;
    let second = writer.try_clone().map_err(|error| Failure::new(format!("a pipe could not be made: {error}")))?;
    let mut child = command.stdout(writer).stderr(second).spawn().map_err(|error| not_started(command, &error))?;
    // The command keeps its ends of the pipe; as long as it lives, reading would never end.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    for text in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        line(&text);
    }
    let status = child.wait().map_err(|error| not_started(command, &error))?;
    finished(command, status)
}

/// Where a program of the path lies.
pub fn found(program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(&file)).find(|file| file.is_file())
}

/// Whether a program is on the path.
pub fn exists(program: &str) -> bool {
    found(program).is_some()
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{}` could not be started: {error}", shown(command)))
}

fn finished(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let how = status.code().map_or("was killed".to_owned(), |code| format!("ended with status {code}"));
    Err(Failure::new(format!("`{}` {how}", shown(command))))
}
