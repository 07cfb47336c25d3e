//! No program spills, and no streaming loop has a narrow access or fewer than four loads in flight, on three families.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn every_program_keeps_the_rules_on_every_family() {
    let out = Command::new(env!("CARGO_BIN_EXE_shader-stats")).arg("--check").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}
