//! What the system's package manager can bring.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{exists, run};
use crate::failure::Failure;

/// Something that a task may need and Linux may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A software Vulkan driver (Mesa's lavapipe) and the loader.
    Vulkan,
    /// A software GL driver (Mesa's llvmpipe) and EGL.
    Gl,
    /// The Vulkan validation layer.
    Validation,
    /// SwiftShader, which comes inside chromium.
    SwiftShader,
    /// Mesa's Vulkan driver for AMD, whose compiler needs no hardware.
    Radeon,
    /// A browser with WebGPU, and the program that drives it.
    Browser,
    /// Runs the page's end-to-end test.
    Node,
    /// A Rust for the browser, where rustup has none.
    RustForBrowser,
    /// A C++ compiler that knows vectors.
    Clang,
    /// The reference compiler of Vulkan's shaders, which reads HLSL too.
    Glslang,
}

impl Need {
    fn what(self) -> &'static str {
        match self {
            Need::Vulkan => "a software Vulkan driver",
            Need::Gl => "a software GL driver",
            Need::Validation => "the Vulkan validation layer",
            Need::SwiftShader => "SwiftShader",
            Need::Radeon => "Mesa's Vulkan driver for AMD",
            Need::Browser => "chromium with its driver",
            Need::Node => "Node with npm",
            Need::RustForBrowser => "a Rust for the browser",
            Need::Clang => "clang",
            Need::Glslang => "glslang",
        }
    }
}

struct Manager {
    program: &'static str,
    /// Brings the lists of packages up to date; run only when something will be installed.
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    packages: fn(Need) -> &'static [&'static str],
}

const MANAGERS: [Manager; 3] = [
    Manager {
        program: "apt-get",
        refresh: Some(&["update", "-q"]),
        install: &["install", "-y", "-q", "--no-install-recommends"],
        packages: |need| match need {
            Need::Vulkan => &["mesa-vulkan-drivers", "libvulkan1"],
            Need::Gl => &["libegl1", "libgl1-mesa-dri", "libgles2"],
            Need::Validation => &["vulkan-validationlayers"],
            Need::SwiftShader => &["chromium"],
            Need::Radeon => &["mesa-vulkan-drivers", "libvulkan1"],
            Need::Browser => &["chromium", "chromium-driver"],
            Need::Node => &["nodejs", "npm"],
            Need::RustForBrowser => &["rustc-web", "rust-web-src"],
            Need::Clang => &["clang"],
            Need::Glslang => &["glslang-tools"],
        },
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["install", "-y"],
        packages: |need| match need {
            Need::Vulkan => &["mesa-vulkan-drivers", "vulkan-loader"],
            Need::Gl => &["mesa-libEGL", "mesa-dri-drivers", "libglvnd-gles"],
            Need::Validation => &["vulkan-validation-layers"],
            Need::SwiftShader => &["chromium"],
            Need::Radeon => &["mesa-vulkan-drivers", "vulkan-loader"],
            Need::Browser => &["chromium", "chromedriver"],
            Need::Node => &["nodejs", "npm"],
            Need::RustForBrowser => &["rust-std-static-wasm32-unknown-unknown"],
            Need::Clang => &["clang"],
            Need::Glslang => &["glslang"],
        },
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["-S", "--needed", "--noconfirm"],
        packages: |need| match need {
            Need::Vulkan => &["vulkan-swrast", "vulkan-icd-loader"],
            Need::Gl => &["mesa", "libglvnd"],
            Need::Validation => &["vulkan-validation-layers"],
            Need::SwiftShader => &["chromium"],
            Need::Radeon => &["vulkan-radeon", "vulkan-icd-loader"],
            Need::Browser => &["chromium"],
            Need::Node => &["nodejs", "npm"],
            Need::RustForBrowser => &["rust-wasm"],
            Need::Clang => &["clang"],
            Need::Glslang => &["glslang"],
        },
    },
];

/// Installs what is needed, by the first package manager that is there, and says so.
pub fn install(needs: &[Need]) -> Result<(), Failure> {
    let what = needs.iter().map(|n| n.what()).collect::<Vec<_>>().join(" and ");
    if !cfg!(target_os = "linux") {
        return Err(Failure::new(format!("{what} is missing, and can be installed on Linux only")));
    }
    let Some(manager) = MANAGERS.iter().find(|m| exists(m.program)) else {
        return Err(Failure::new(format!("{what} is missing, and there is no apt-get, dnf or pacman to install it")));
    };
    let packages: Vec<&str> = needs.iter().flat_map(|&n| (manager.packages)(n)).copied().collect();
    let by_hand = format!("{} {} {}", manager.program, manager.install.join(" "), packages.join(" "));
    let prefix: &[&str] = match (is_root(), exists("sudo")) {
        (true, _) => &[],
        (false, true) => &["sudo"],
        (false, false) => {
            return Err(Failure::new(format!(
                "{what} is missing, and without root or sudo it cannot be installed; as root: {by_hand}"
            )));
        }
    };
    println!("{what} is missing; installing {}", packages.join(", "));
    if let Some(refresh) = manager.refresh {
        run(&mut as_root(prefix, manager.program, refresh))?;
    }
    let arguments: Vec<&str> = manager.install.iter().copied().chain(packages).collect();
    run(&mut as_root(prefix, manager.program, &arguments))
        .map_err(|failure| Failure::new(format!("{what} could not be installed: {failure}; by hand: {by_hand}")))
}

/// `sudo env …` or `env …`: sudo drops the environment, so that it is set behind it.
fn as_root(prefix: &[&str], program: &str, arguments: &[&str]) -> Command {
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive", program];
    let mut words = prefix.iter().chain(&environment).chain(arguments);
    let mut command = Command::new(words.next().copied().unwrap_or("env"));
    command.args(words).stdin(Stdio::inherit());
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

/// Whether the Vulkan loader would find the validation layer.
pub fn has_validation_layer() -> bool {
    let given = std::env::var_os("VK_LAYER_PATH").unwrap_or_default();
    let usual = ["/usr/share", "/usr/local/share", "/etc"].map(|d| Path::new(d).join("vulkan/explicit_layer.d"));
    std::env::split_paths(&given).chain(usual).any(|d| d.join("VkLayer_khronos_validation.json").is_file())
}

/// SwiftShader's driver file, where chromium is installed.
pub fn swiftshader() -> Option<PathBuf> {
    ["/usr/lib/chromium", "/usr/lib64/chromium-browser", "/usr/lib/chromium-browser"]
        .map(|d| Path::new(d).join("vk_swiftshader_icd.json"))
        .into_iter()
        .find(|file| file.is_file())
}

/// The file of Mesa's driver for AMD.
pub fn radeon() -> Option<PathBuf> {
    vulkan_driver("radeon_icd")
}

/// The file of Mesa's software Vulkan driver.
pub fn lavapipe() -> Option<PathBuf> {
    vulkan_driver("lvp_icd")
}

fn vulkan_driver(name: &str) -> Option<PathBuf> {
    let is_meant = |file: &PathBuf| file.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name));
    vulkan_drivers().into_iter().find(is_meant)
}

/// The files of all Vulkan drivers that the loader finds by itself.
pub fn vulkan_drivers() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["/usr/share", "/usr/local/share", "/etc"]
        .iter()
        .filter_map(|d| std::fs::read_dir(Path::new(d).join("vulkan/icd.d")).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manager_has_packages_for_every_need() {
        for manager in &MANAGERS {
            for need in [
                Need::Vulkan,
                Need::Gl,
                Need::Validation,
                Need::SwiftShader,
                Need::Radeon,
                Need::Browser,
                Need::Node,
                Need::RustForBrowser,
                Need::Clang,
                Need::Glslang,
            ] {
                assert!(!(manager.packages)(need).is_empty(), "{} {need:?}", manager.program);
            }
        }
    }

    #[test]
    fn the_environment_is_set_behind_sudo() {
        let words = |command: Command| crate::command::shown(&command);
        assert_eq!(
            words(as_root(&["sudo"], "apt-get", &["update"])),
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get update"
        );
        assert_eq!(words(as_root(&[], "dnf", &["install"])), "env DEBIAN_FRONTEND=noninteractive dnf install");
    }
}
