//! The README says what the code says.

const README: &str = include_str!("../README.md");
const EMBED: &str = include_str!("../examples/embed.rs");
const LAYER: &str = include_str!("../src/layer.rs");
const MANIFEST: &str = include_str!("../Cargo.toml");

/// The text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin:?} is missing"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end:?} is missing behind {begin:?}")).0
}

/// The value of a key of the manifest's package table.
fn manifest(key: &str) -> &'static str {
    between(MANIFEST, &format!("\n{key} = \""), "\"")
}

#[test]
fn the_embedding_example_is_the_one_that_runs() {
    let code = between(EMBED, "    // README: begin\n", "    // README: end\n");
    let shifted: String = code.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let shown = between(README, "```rust\n", "```");
    assert_eq!(shown, shifted, "the first Rust block of the README is not the marked region of examples/embed.rs");
    assert!(shown.lines().count() <= 22, "{} lines", shown.lines().count());
}

#[test]
fn the_layer_example_is_the_one_of_its_documentation() {
    let documented = between(LAYER, "/// ```no_run\n", "/// ```\n");
    let code: String = documented
        .lines()
        .filter(|line| !line.starts_with("/// # "))
        .map(|line| format!("{}\n", line.trim_start_matches("/// ")))
        .collect();
    assert!(README.contains(&format!("```rust\n{code}```")), "{code}");
}

#[test]
fn every_cargo_feature_is_in_the_table() {
    let features = between(MANIFEST, "[features]\n", "\n[");
    let names = features.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    let table = between(README, "## Cargo features\n", "\n## ");
    for name in names.filter(|name| *name != "default") {
        assert!(table.contains(&format!("\n| `{name}`")), "`{name}` is missing");
    }
}

#[test]
fn versions_are_those_of_the_manifest() {
    let rust = manifest("rust-version");
    assert!(README.contains(&format!("Rust {rust} or newer")), "Rust {rust}");
    let wgpu = between(MANIFEST, "\nwgpu = { version = \"", "\"");
    assert!(README.contains(&format!("wgpu {wgpu}")), "wgpu {wgpu}");
}

#[test]
fn files_that_are_named_exist() {
    let words = README.split(|c: char| c.is_whitespace() || "`()|\"".contains(c));
    let files: Vec<&str> = words.filter(|w| w.starts_with("examples/") || w.starts_with("tests/")).collect();
    assert!(!files.is_empty());
    for file in files {
        // `FILE.safetensors:TENSOR`
        let path = file.split(':').next().unwrap_or(file).trim_end_matches(['.', ',']);
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
    }
}
