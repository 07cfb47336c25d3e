//! Compiles every program for AMD's processors, without one, and tells what came of it.
//!
//! `shader-stats FILE` writes the page with the table, `shader-stats --check` fails where a rule is broken, and
//! `shader-stats --dump DIRECTORY` writes the assembly of every program.

mod assembly;
mod compile;
mod programs;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use compile::{Compiler, spirv};
use report::{FAMILIES, Finding, Findings};

const NO_DRIVER: &str = "RADV, Mesa's Vulkan driver for AMD, is not installed: on Debian or Ubuntu `apt-get install \
    mesa-vulkan-drivers`, on Fedora `dnf install mesa-vulkan-drivers`, on Arch `pacman -S vulkan-radeon`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        // One process per family: RADV reads the family's name from the environment, once.
        ["--family"] => family(None),
        ["--family", directory] => family(Some(Path::new(directory))),
        ["--check"] => check(),
        ["--dump", directory] => dump(Path::new(directory)),
        [file] if !file.starts_with('-') => write(Path::new(file)),
        _ => Err("`shader-stats FILE`, `shader-stats --check` or `shader-stats --dump DIRECTORY`".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    let (programs, families) = findings(None)?;
    let violations = report::violations(&programs, &families);
    for violation in &violations {
        println!("{violation}");
    }
    println!("{} programs on {} families", programs.len(), families.len());
    match violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} rules are broken")),
    }
}

fn write(file: &Path) -> Result<(), String> {
    let (programs, families) = findings(None)?;
    std::fs::write(file, report::page(&programs, &families))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("{} programs on {} families: {}", programs.len(), families.len(), file.display());
    Ok(())
}

fn dump(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
    findings(Some(directory)).map(|_| ())
}

/// What every family makes of every program.
fn findings(dump: Option<&Path>) -> Result<(Vec<wgpu_batchnorm::plan::Program>, Vec<Findings>), String> {
    let programs = programs::programs().map_err(|error| error.to_string())?;
    let own = std::env::current_exe().map_err(|error| format!("this program's path is unknown: {error}"))?;
    let driver = driver().ok_or(NO_DRIVER)?;
    // All families at once: each process compiles on one core.
    let mut started = Vec::new();
    for family in &FAMILIES {
        let child = Command::new(&own)
            .arg("--family")
            .args(dump)
            .env("VK_ICD_FILENAMES", &driver)
            .env("VK_DRIVER_FILES", &driver)
            .env("RADV_FORCE_FAMILY", family.name)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", own.display()))?;
        started.push((family, child));
    }
    let mut families = Vec::new();
    for (family, child) in started {
        let out = child.wait_with_output().map_err(|error| format!("{}: {error}", family.name))?;
        if !out.status.success() {
            return Err(format!("the programs could not be compiled for {}", family.name));
        }
        let found: Findings = serde_json::from_slice(&out.stdout).map_err(|error| error.to_string())?;
        if !found.title.contains(family.name) {
            return Err(format!("asked for {}, Mesa opened {}", family.name, found.title));
        }
        families.push(found);
    }
    Ok((programs, families))
}

/// Compiles every program for the family that the environment names, and prints the findings as JSON.
fn family(dump: Option<&Path>) -> Result<(), String> {
    let compiler = Compiler::open()?;
    let mut findings = Vec::new();
    for (index, program) in programs::programs().map_err(|error| error.to_string())?.iter().enumerate() {
        let compiled = compiler.compile(program, &spirv(program)?)?;
        if let Some(directory) = dump {
            let family = std::env::var("RADV_FORCE_FAMILY").unwrap_or_default();
            let file = directory.join(format!("{index:03}.{}.{family}.s", program.kernel.name()));
            let text = format!("; {}, wave {}\n{}", programs::variant(program), compiled.wave, compiled.assembly);
            std::fs::write(&file, text).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
        }
        findings.push(Finding::new(program, &compiled)?);
    }
    let findings = Findings { title: compiler.title.clone(), findings };
    println!("{}", serde_json::to_string(&findings).map_err(|error| error.to_string())?);
    Ok(())
}

/// RADV's driver file.
fn driver() -> Option<PathBuf> {
    ["/usr/share", "/usr/local/share", "/etc"]
        .iter()
        .filter_map(|d| std::fs::read_dir(Path::new(d).join("vulkan/icd.d")).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| {
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("radeon_icd") && name.ends_with(".json") && !name.contains("i686")
        })
}
