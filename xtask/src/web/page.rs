//! `cargo xtask web`: the page, as files and served.

use std::path::{Path, PathBuf};

use crate::command::{command, root, run};
use crate::failure::Failure;
use crate::web::serve::Server;
use crate::web::toolchain::{Wasm, bindgen, target_directory};

/// What the page consists of beside the compiled library.
const PAGE: &str = "web/page";
/// The photographs that it offers.
const PHOTOGRAPHS: &str = "examples/data/photos_nhwc.npy";
/// The package that is compiled for it, and its library.
const PACKAGE: &str = "batchnorm-web";
const LIBRARY: &str = "batchnorm_web";

pub fn web(arguments: &[String]) -> Result<(), Failure> {
    let usage = || Failure::new("`web` takes --out DIRECTORY or --port NUMBER");
    let (mut out, mut port) = (None, 8000);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(usage)?;
        match word.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--port" => port = value.parse().map_err(|_| usage())?,
            _ => return Err(usage()),
        }
    }
    let wasm = Wasm::set_up()?;
    if let Some(directory) = out {
        write(&wasm, &directory)?;
        println!("page: {}", directory.display());
        return Ok(());
    }
    let directory = target_directory()?.join("page");
    write(&wasm, &directory)?;
    let server = Server::start(&directory, port)?;
    println!("open {} in a browser with WebGPU; Ctrl-C ends", server.address());
    server.wait();
    Ok(())
}

/// Compiles the library for the page and writes all its files.
pub fn write(wasm: &Wasm, directory: &Path) -> Result<(), Failure> {
    run(&mut wasm.cargo(&["build", "--release", "--package", PACKAGE]))?;
    copy(&root().join(PAGE), directory)?;
    let name = Path::new(PHOTOGRAPHS).file_name().unwrap_or_default();
    copy_file(&root().join(PHOTOGRAPHS), &directory.join(name))?;
    // Names of functions and debug information would be half of what a visitor loads.
    let options = ["--target", "web", "--no-typescript", "--remove-name-section", "--remove-producers-section"];
    run(command(bindgen("wasm-bindgen")?, &options).arg("--out-dir").arg(directory).arg(wasm.built(LIBRARY)?))
}

/// Copies the files of a directory into another, which is made if it is not there.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be copied: {error}", from.display()));
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() {
            copy_file(&file, &to.join(file.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| Failure::new(format!("{} cannot be copied to {}: {error}", from.display(), to.display())))
}
