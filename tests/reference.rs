//! The reference against what PyTorch and Keras computed.
#![cfg(feature = "check")]

use std::path::Path;

use wgpu_batchnorm::check::cases::{Case, Outputs, from_bytes, from_directory, run_on_reference};
use wgpu_batchnorm::check::run_on_cpu;

use files::FILES;

#[path = "conformance/files.rs"]
mod files;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

fn cases() -> Vec<Case> {
    from_directory(directory()).unwrap()
}

#[test]
fn every_conformance_case_passes_on_the_reference() {
    let cases = cases();
    assert_eq!(cases.len(), 56);
    pass(&cases, |case| run_on_reference(case).unwrap());
}

/// Those in f16 and bf16, too: computed in f32, and rounded.
#[test]
fn every_conformance_case_passes_on_the_cpu_implementation() {
    pass(&cases(), |case| run_on_cpu(case).unwrap());
}

fn pass(cases: &[Case], run: impl Fn(&Case) -> Outputs) {
    let mut failures = Vec::new();
    for case in cases {
        for verdict in case.judge(&run(case)) {
            if !verdict.passed() {
                failures.push(format!("{} {}: {verdict}", case.name, case.shape));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_expected_value_moved_by_twice_its_tolerance_fails() {
    for mut case in cases() {
        let outputs = run_on_reference(&case).unwrap();
        for t in 0..case.expected.len() {
            let tensor = &mut case.expected[t];
            let Some(index) = tensor.values.iter().position(|v| v.is_finite()) else { continue };
            let value = tensor.values[index];
            tensor.values[index] += 2.1 * (tensor.absolute + tensor.relative * value.abs()) + 1e-30;
            let verdicts = case.judge(&outputs);
            assert!(!verdicts[t].passed(), "{}: {}", case.name, verdicts[t]);
            assert_eq!(verdicts.iter().filter(|v| !v.passed()).count(), 1, "{}", case.name);
            case.expected[t].values[index] = value;
        }
    }
}

#[test]
fn cases_read_from_memory_are_those_read_from_the_directory() {
    let mut files: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".safetensors") || name == "cases.json")
        .collect();
    files.sort_unstable();
    assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), files);
    // Debug text, since the cases that expect NaN equal nothing, not even themselves.
    assert_eq!(format!("{:?}", from_bytes(FILES).unwrap()), format!("{:?}", cases()));
}
