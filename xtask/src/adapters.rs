//! Which graphics adapters there are, by asking the built program, and getting one where there is none or software GL alone.

use std::ffi::OsString;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{batchnorm, built};
use crate::failure::Failure;
use crate::packages::{self, Need};

/// An adapter as `batchnorm adapters` lists it, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    pub index: usize,
    pub name: String,
    /// `vulkan`, `gl`, `metal` or `dx12`.
    pub backend: String,
    /// Whether it computes on the processor.
    pub software: bool,
}

/// What of the graphics stack a task needs beside an adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// GL beside Vulkan, the validation layer, and the compiler for AMD; on Linux only.
    pub for_tests: bool,
    /// SwiftShader beside lavapipe; on Linux only.
    pub swiftshader: bool,
}

/// What a task found or made.
pub struct Setup {
    /// At least one.
    pub adapters: Vec<Adapter>,
    /// Set for every program that opens an adapter.
    pub environment: Vec<(&'static str, OsString)>,
}

/// Makes sure that there is an adapter, and what else is wanted; installs only what is missing.
pub fn set_up(wanted: Wanted) -> Result<Setup, Failure> {
    let mut environment = Vec::new();
    let mut adapters = list(&environment)?;
    if cfg!(target_os = "linux") {
        let has = |backend: &str| adapters.iter().any(|a| a.backend == backend);
        let needs: Vec<Need> = [
            (Need::Vulkan, if wanted.for_tests { !has("vulkan") } else { wants_vulkan(&adapters) }),
            (Need::Gl, wanted.for_tests && !has("gl")),
            (Need::Validation, wanted.for_tests && !packages::has_validation_layer()),
            (Need::SwiftShader, wanted.swiftshader && packages::swiftshader().is_none()),
            // Its compiler is a test's.
            (Need::Radeon, wanted.for_tests && packages::radeon().is_none()),
        ]
        .into_iter()
        .filter_map(|(need, missing)| missing.then_some(need))
        .collect();
        if !needs.is_empty() {
            match packages::install(&needs) {
                Err(failure) if !wanted.for_tests && !wanted.swiftshader && !adapters.is_empty() => {
                    println!("{failure}; going on with GL");
                }
                done => done?,
            }
        }
        if wanted.swiftshader {
            let Some(driver) = packages::swiftshader() else {
                return Err(Failure::new("chromium is installed but brought no vk_swiftshader_icd.json"));
            };
            let drivers = packages::vulkan_drivers().into_iter().chain([driver]);
            let joined = std::env::join_paths(drivers)
                .map_err(|error| Failure::new(format!("a driver's path cannot be named: {error}")))?;
            // The loader's newer name and its older one, which Debian's and Ubuntu's may know alone.
            environment.extend(["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].map(|name| (name, joined.clone())));
        }
        if !needs.is_empty() || wanted.swiftshader {
            adapters = list(&environment)?;
        }
    }
    if adapters.is_empty() {
        return Err(Failure::new("no graphics adapter was found, although its driver is installed"));
    }
    for adapter in &adapters {
        println!("{}  {} ({})", adapter.index, adapter.name, adapter.backend);
    }
    Ok(Setup { adapters, environment })
}

/// Whether a software Vulkan driver is to be installed: where there is no adapter, and, unless it is there already or the user
/// chose a backend, where there is software GL alone, which desktops' libraries bring and which is slower.
fn wants_vulkan(adapters: &[Adapter]) -> bool {
    let is_chosen = std::env::var_os("WGPU_BACKEND").is_some();
    let is_installed = packages::lavapipe().is_some();
    adapters.is_empty() || (is_software_gl_alone(adapters) && !is_chosen && !is_installed)
}

/// Also where there is none.
fn is_software_gl_alone(adapters: &[Adapter]) -> bool {
    adapters.iter().all(|a| a.software && a.backend == "gl")
}

/// Every adapter that the built program sees.
fn list(environment: &[(&'static str, OsString)]) -> Result<Vec<Adapter>, Failure> {
    let file = built()?.join("adapters.json");
    let unreadable = |why: String| Failure::new(format!("the list of adapters cannot be read: {why}"));
    // A list of an earlier run must not pass for this one's.
    if file.exists() {
        std::fs::remove_file(&file).map_err(|error| unreadable(error.to_string()))?;
    }
    // Its status says only whether the list is empty.
    batchnorm(&["adapters", "--json"])?
        .arg(&file)
        .envs(environment.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| unreadable(error.to_string()))?;
    let text = std::fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
    parse(&text).ok_or_else(|| unreadable("it is not a list of objects with index, name, backend and type".to_owned()))
}

fn parse(text: &str) -> Option<Vec<Adapter>> {
    let list: Value = serde_json::from_str(text).ok()?;
    list.as_array()?
        .iter()
        .map(|entry| {
            Some(Adapter {
                index: entry.get("index")?.as_u64()? as usize,
                name: entry.get("name")?.as_str()?.to_owned(),
                backend: entry.get("backend")?.as_str()?.to_lowercase(),
                software: entry.get("type")?.as_str()? == "software",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(backend: &str, software: bool) -> Adapter {
        Adapter { index: 0, name: "llvmpipe".to_owned(), backend: backend.to_owned(), software }
    }

    #[test]
    fn software_gl_alone_wants_a_vulkan_driver_and_hardware_does_not() {
        assert!(is_software_gl_alone(&[]));
        assert!(is_software_gl_alone(&[adapter("gl", true)]));
        assert!(!is_software_gl_alone(&[adapter("vulkan", true), adapter("gl", true)]));
        assert!(!is_software_gl_alone(&[adapter("gl", false)]));
        assert!(!is_software_gl_alone(&[adapter("dx12", true)]));
    }

    #[test]
    fn a_list_is_read_and_anything_else_is_refused() {
        let text = r#"[{"index": 0, "name": "llvmpipe", "backend": "Vulkan", "type": "software"}]"#;
        let expected = adapter("vulkan", true);
        assert_eq!(parse(text), Some(vec![expected]));
        assert_eq!(parse("[]"), Some(Vec::new()));
        assert_eq!(parse(r#"[{"index": 0}]"#), None);
        assert_eq!(parse(r#"[{"index": 0, "name": "llvmpipe", "backend": "Vulkan"}]"#), None);
        assert_eq!(parse(""), None);
    }
}
