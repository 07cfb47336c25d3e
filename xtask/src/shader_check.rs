//! `cargo xtask shader-check`: what compilers of Metal's and Direct3D's languages say of every program, on Linux.
//!
//! A test writes the translations, made by naga with the options of wgpu. Nothing runs here; it shows that a driver's
//! compiler will not refuse what wgpu hands it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::command::{built, cargo, command, exists, root, run};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::packages::{self, Need};

/// Where the test is told to write, and that it shall write every program.
pub const FOLDER: &str = "BATCHNORM_TRANSLATIONS";
const ALL: &str = "BATCHNORM_SLOW";
/// Programs that one run of clang looks at.
const BATCH: usize = 500;
/// Of so many programs the slow compilers are given one, unless all are asked for: about 60 ms of a core each.
const SHARE: usize = 16;

pub fn shader_check(arguments: &[String]) -> Result<(), Failure> {
    let full = match arguments {
        [] => false,
        [one] if one == "--full" => true,
        _ => return Err(Failure::new("`shader-check` knows --full")),
    };
    set_up()?;
    let folder = folder()?;
    let test = ["test", "--release", "--features", "cli", "--test", "shaders", "every_program_translates"];
    let mut test = cargo(&test);
    test.env(FOLDER, &folder);
    if full {
        test.env(ALL, "1");
    }
    run(&mut test)?;
    let mut ledger = Ledger::default();
    check(&mut ledger, full);
    println!("\n{}", ledger.table());
    ledger.close()
}

/// Installs the compilers that the system's packages have.
pub fn set_up() -> Result<(), Failure> {
    let needs: Vec<Need> = [(Need::Clang, "clang++"), (Need::Glslang, "glslangValidator")]
        .into_iter()
        .filter_map(|(need, program)| (!exists(program)).then_some(need))
        .collect();
    if needs.is_empty() { Ok(()) } else { packages::install(&needs) }
}

/// An empty folder for the translations.
pub fn folder() -> Result<PathBuf, Failure> {
    let folder = built()?.join("translations");
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be made empty: {error}", folder.display()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// Gives what the test wrote to every compiler.
pub fn check(ledger: &mut Ledger, full: bool) {
    let share = if full { 1 } else { SHARE };
    ledger.attempt("Metal by clang", || metal(&files(".metal", 1)?));
    ledger.attempt("HLSL 5.1 by glslang", || glslang(&files(".sm51.hlsl", share)?));
    if !exists("pip") && !exists("pip3") {
        println!("\nHLSL 6.0 is not compiled: Microsoft's compiler comes through pip, and there is none");
        return;
    }
    ledger.attempt("HLSL 6.0 by Microsoft's compiler", || microsoft(&files(".sm60.hlsl", share)?));
}

/// The translations with an ending, one in so many, in the order of their names.
fn files(ending: &str, share: usize) -> Result<Vec<PathBuf>, Failure> {
    let folder = built()?.join("translations");
    let unread = |error: std::io::Error| Failure::new(format!("{} cannot be read: {error}", folder.display()));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(unread)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    match files.len() {
        0 => Err(Failure::new(format!("the test wrote no {ending}"))),
        _ => Ok(files.into_iter().step_by(share).collect()),
    }
}

/// Syntax and types, by a C++ compiler with Metal's library declared in `xtask/metal`: many programs in one run, each in a
/// namespace of its own.
fn metal(files: &[PathBuf]) -> Result<(), Failure> {
    let jobs: Vec<(usize, &[PathBuf])> = files.chunks(BATCH).enumerate().collect();
    judged(files, "Metal", &jobs, |(index, files)| {
        let mut text = "#include <metal_stdlib>\n".to_owned();
        for (number, file) in files.iter().enumerate() {
            let _ = writeln!(text, "namespace program_{number} {{\n#include \"{}\"\n}}", file.display());
        }
        let batch = built()?.join(format!("translations/batch_{index}.cpp"));
        std::fs::write(&batch, text).map_err(|error| Failure::new(format!("{}: {error}", batch.display())))?;
        let flags = ["-std=c++17", "-fsyntax-only", "-x", "c++", "-Wno-everything", "-fno-caret-diagnostics"];
        let mut clang = command("clang++", &flags);
        clang.arg("-I").arg(root().join("xtask/metal")).arg(&batch);
        output(clang)
    })
}

/// Syntax, types and SPIR-V, by the reference compiler of Vulkan's shaders.
fn glslang(files: &[PathBuf]) -> Result<(), Failure> {
    let jobs: Vec<&PathBuf> = files.iter().collect();
    judged(files, "HLSL", &jobs, |file| {
        let mut glslang = command("glslangValidator", &["-D", "-V", "-S", "comp", "-o", "/dev/null", "-e"]);
        glslang.arg(entry(file)).arg(file);
        output(glslang)
    })
}

/// DXIL, by Microsoft's own compiler, which a source package of Python's registry carries.
fn microsoft(files: &[PathBuf]) -> Result<(), Failure> {
    let folder = built()?.join("dxc");
    let checker = folder.join("check");
    let library = folder.join(format!("libdxcompiler_{}.so.3.7", std::env::consts::ARCH));
    if !checker.is_file() {
        install_microsoft(&folder, &library)?;
    }
    // One process each: many compilations in one have been seen never to end.
    let jobs: Vec<&PathBuf> = files.iter().collect();
    judged(files, "HLSL", &jobs, |file| {
        let mut check = command(&checker, &[]);
        check.arg(&library).arg(file);
        output(check)
    })
}

fn install_microsoft(folder: &Path, library: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let pip = if exists("pip") { "pip" } else { "pip3" };
    let binary = ["download", "--quiet", "--no-deps", "--no-binary", "compushady", "--require-hashes"];
    let mut pip = command(pip, &binary);
    run(pip.arg("-r").arg(root().join("xtask/dxc/requirements.txt")).arg("-d").arg(folder))?;
    let inside = "compushady-0.17.5/compushady/backends";
    let wanted = [
        library.file_name().map_or("".into(), |name| name.to_string_lossy()),
        "dxcapi.h".into(),
        "WinAdapter.h".into(),
    ];
    let mut tar = command("tar", &["--strip-components=3", "-xzf"]);
    tar.arg(folder.join("compushady-0.17.5.tar.gz")).arg("-C").arg(folder);
    run(tar.args(wanted.iter().map(|name| format!("{inside}/{name}"))))?;
    let flags = ["-std=c++17", "-O1", "-fms-extensions", "-Wno-everything", "-I"];
    let mut clang = command("clang++", &flags);
    clang.arg(folder).arg(root().join("xtask/dxc/check.cpp")).args(["-ldl", "-pthread", "-o"]);
    run(clang.arg(folder.join("check")))
}

/// The entry point, which is the first part of a file's name.
fn entry(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn output(mut command: std::process::Command) -> Result<Output, Failure> {
    command.output().map_err(|error| Failure::new(format!("{command:?} could not be started: {error}")))
}

/// Runs jobs on all cores and tells the first that failed.
fn judged<J: Sync>(
    files: &[PathBuf],
    language: &str,
    jobs: &[J],
    run: impl Fn(&J) -> Result<Output, Failure> + Sync,
) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = |share: &[J]| share.iter().try_for_each(|job| tell(&run(job)?));
    std::thread::scope(|scope| {
        let running: Vec<_> =
            jobs.chunks(jobs.len().div_ceil(threads)).map(|jobs| scope.spawn(move || share(jobs))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(Failure::new("a thread died"))))
    })?;
    println!("{} programs in {language}: right", files.len());
    Ok(())
}

/// What a compiler refused: file and line as it says them, the line itself, and the program that it was.
fn tell(output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let Some((message, file, line)) = said.lines().find_map(place) else {
        return Err(Failure::new(format!("a compiler failed: {}", said.trim())));
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
    let program = text.lines().next().unwrap_or_default().trim_start_matches("// ");
    Err(Failure::new(format!("{message}\n  line {line}: {source}\n  {program}")))
}

/// The file and the line of a message of an error: `FILE:LINE:…error…`, or `ERROR: FILE:LINE: …`.
fn place(message: &str) -> Option<(&str, PathBuf, usize)> {
    if !message.to_lowercase().contains("error") {
        return None;
    }
    let rest = message.trim_start_matches("ERROR: ");
    let ending = [".metal:", ".hlsl:"].into_iter().find(|ending| rest.contains(ending))?;
    let (file, after) = rest.split_once(ending)?;
    let line = after.split([':', ' ']).next()?.parse().ok()?;
    Some((message, format!("{file}{}", ending.trim_end_matches(':')).into(), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_error_is_read_as_each_compiler_writes_it() {
        let read = |message| place(message).map(|(_, file, line)| (file.display().to_string(), line));
        let expected = |file: &str| Some((file.to_owned(), 141));
        assert_eq!(read("./scale.01.metal:141:52: error: static_cast from"), expected("./scale.01.metal"));
        assert_eq!(read("/a/scale.01.sm60.hlsl:141:2: error: unknown type"), expected("/a/scale.01.sm60.hlsl"));
        assert_eq!(read("ERROR: /a/scale.01.sm51.hlsl:141: 'x' : unknown"), expected("/a/scale.01.sm51.hlsl"));
        assert_eq!(read("In file included from batch_0.cpp:3:"), None);
        assert_eq!(entry(Path::new("/a/scale_shift.0123.sm60.hlsl")), "scale_shift");
    }
}
