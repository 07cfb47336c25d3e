//! Builds for another Rust and for another target: what only a compiler can tell.

use crate::command::{command, root, run};
use crate::failure::Failure;
use crate::web::toolchain::Wasm;

/// Checks the library and the program with the oldest Rust that the manifest promises.
pub fn msrv(arguments: &[String]) -> Result<(), Failure> {
    none("msrv", arguments)?;
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))
        .map_err(|error| Failure::new(format!("Cargo.toml cannot be read: {error}")))?;
    let Some(version) = rust_version(&manifest) else {
        return Err(Failure::new("Cargo.toml has no rust-version"));
    };
    run(&mut command("rustup", &["toolchain", "install", version, "--profile", "minimal", "--no-self-update"]))?;
    let check = ["run", version, "cargo", "check", "--release", "--locked", "--features", "cli"];
    run(&mut command("rustup", &check))
}

/// Builds the library for the browser, alone and with the host layer.
pub fn wasm(arguments: &[String]) -> Result<(), Failure> {
    none("wasm", arguments)?;
    let wasm = Wasm::set_up()?;
    let build = ["build", "--release", "--locked", "--lib", "--no-default-features"];
    run(&mut wasm.cargo(&build))?;
    run(wasm.cargo(&build).args(["--features", "host"]))
}

fn none(task: &str, arguments: &[String]) -> Result<(), Failure> {
    match arguments.first() {
        Some(argument) => Err(Failure::new(format!("`{task}` takes no arguments, and was given `{argument}`"))),
        None => Ok(()),
    }
}

fn rust_version(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_rust_is_read_from_the_manifest() {
        assert_eq!(rust_version("[package]\nname = \"a\"\nrust-version = \"1.91\"\n"), Some("1.91"));
        assert_eq!(rust_version("[package]\n"), None);
    }
}
