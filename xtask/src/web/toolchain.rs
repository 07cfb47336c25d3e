//! Compiling for the browser: a Rust that can, and wasm-bindgen's programs in the version of its crate.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{cargo, command, root, run};
use crate::failure::Failure;
use crate::packages::{self, Need};

/// What is compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Every browser with WebGPU has 128-bit SIMD; the CPU implementation is compiled for it.
const FLAGS: &str = "-C target-feature=+simd128";

/// Debian's Rust for the browser, where rustup has no standard library for it.
const DEBIAN_RUST: &str = "/usr/bin/rustc";

/// A Rust that compiles for the browser.
pub struct Wasm {
    /// Whether the standard library must be compiled too, by Debian's compiler.
    with_std: bool,
    environment: Vec<(&'static str, OsString)>,
}

impl Wasm {
    /// Adds the target to this Rust, or gets one from the system's packages.
    pub fn set_up() -> Result<Self, Failure> {
        let mut environment = vec![("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS.into())];
        let by_rustup = run(&mut command("rustup", &["target", "add", TARGET]));
        let Err(failure) = by_rustup else { return Ok(Self { with_std: false, environment }) };
        println!("{failure}");
        if !PathBuf::from(DEBIAN_RUST).is_file() {
            packages::install(&[Need::RustForBrowser])?;
        }
        environment.extend([
            ("RUSTC", DEBIAN_RUST.into()),
            ("RUSTC_BOOTSTRAP", "1".into()),
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker()?.into()),
            // Another compiler would undo what the usual one has built.
            ("CARGO_TARGET_DIR", target_directory()?.join("web").into()),
        ]);
        Ok(Self { with_std: true, environment })
    }

    /// A cargo command for the browser.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo(arguments);
        command.args(["--target", TARGET]).envs(self.environment.iter().cloned());
        if self.with_std {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        command
    }

    /// Where a library of this workspace lies once it is built.
    pub fn built(&self, library: &str) -> Result<PathBuf, Failure> {
        let directory = target_directory()?;
        let directory = if self.with_std { directory.join("web") } else { directory };
        Ok(directory.join(TARGET).join("release").join(format!("{library}.wasm")))
    }
}

/// Where cargo builds.
pub fn target_directory() -> Result<PathBuf, Failure> {
    // This program lies in `release`, in it.
    Ok(crate::command::built()?.parent().map(PathBuf::from).unwrap_or_default())
}

/// The linker that comes with the usual Rust; Debian's has none of its own.
fn linker() -> Result<PathBuf, Failure> {
    let answer = |arguments: &[&str]| {
        let output = command("rustc", arguments).env_remove("RUSTC").output();
        let output = output.map_err(|error| Failure::new(format!("rustc could not be asked: {error}")))?;
        Ok::<_, Failure>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let host = answer(&["-vV"])?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    Ok(PathBuf::from(answer(&["--print", "sysroot"])?).join("lib/rustlib").join(host).join("bin/rust-lld"))
}

/// A program of wasm-bindgen's, in exactly the version of the crate, compiled where it is missing.
pub fn bindgen(program: &str) -> Result<PathBuf, Failure> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))
        .map_err(|error| Failure::new(format!("Cargo.lock cannot be read: {error}")))?;
    let version = version_of("wasm-bindgen", &lock).ok_or_else(|| Failure::new("Cargo.lock has no wasm-bindgen"))?;
    let directory = target_directory()?.join("tools").join(format!("wasm-bindgen-{version}"));
    let file = directory.join("bin").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if !file.is_file() {
        let mut install = cargo(&["install", "wasm-bindgen-cli", "--version", version, "--root"]);
        // What runs for seconds need not be compiled for minutes.
        run(install.arg(&directory).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))?;
    }
    Ok(file)
}

/// The version of a crate in a lock file.
fn version_of<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let heading = format!("name = \"{name}\"\n");
    let rest = &lock[lock.find(&heading)? + heading.len()..];
    rest.lines().next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4\"\n\n[[package]]\nname = \"wasm-bindgen\"\n\
            version = \"0.2.1\"\n";
        assert_eq!(version_of("wasm-bindgen", lock), Some("0.2.1"));
        assert_eq!(version_of("wgpu", lock), None);
    }
}
