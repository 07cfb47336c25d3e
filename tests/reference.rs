//! The reference against what PyTorch and Keras computed.
#![cfg(feature = "check")]

use std::path::Path;

use wgpu_batchnorm::check::cases::{Case, from_bytes, from_directory, run_on_reference};

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
    let mut failures = Vec::new();
    for case in &cases {
        for verdict in case.judge(&run_on_reference(case).unwrap()) {
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
    let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(path).unwrap()))
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    // Debug text, since the cases that expect NaN equal nothing, not even themselves.
    assert_eq!(format!("{:?}", from_bytes(&files).unwrap()), format!("{:?}", cases()));
}
