//! The house has floors: a file uses only what lies below it. And each trade has one room: pipelines, usages, shaders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up. A module uses lower floors freely, and on its own floor only those named with it,
/// which come before it: so nothing goes in a circle.
const FLOORS: &[&[(&str, &[&str])]] = &[
    &[("error", &[]), ("dtype", &[]), ("shape", &["error"]), ("config", &["dtype", "error"])],
    &[("plan", &[]), ("cpu", &[]), ("reference", &[]), ("fold", &[])],
    &[("shader", &[])],
    &[("kernel", &[]), ("buffer", &["kernel"]), ("binding", &[]), ("operation", &["kernel", "buffer", "binding"])],
    &[("batch_norm", &[]), ("parts", &["batch_norm"])],
    &[("layer", &[])],
    &[("host", &[])],
    &[("check", &[])],
    &[("lib", &[])],
    &[("bin", &[])],
];

/// Who may make pipelines, and why.
const PIPELINES: &[(&str, &str)] = &[
    ("kernel.rs", "the one place"),
    ("host/timing/copy.rs", "the plain copy that times are held against is part of no operation"),
];

/// Shaders without a comment at their top, and why.
const WITHOUT_HEADER: &[(&str, &str)] = &[
    ("parts/codec_f32_quad_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/codec_f32_word_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/codec_f32_element_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/codec_f32_wide_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/codec_half_wide_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/codec_half_quad_store.wgsl", "joined only after the part that loads, whose header serves both"),
    ("parts/batches_counted.wgsl", "one function, which its name tells"),
    ("parts/batches_uncounted.wgsl", "one function, which its name tells"),
    ("parts/weight_given.wgsl", "one function, which its name tells"),
    ("parts/weight_cumulative.wgsl", "one function, which its name tells"),
    ("parts/inverse_std.wgsl", "one function, which its name tells"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files under a folder, by their path from it.
fn files(folder: &Path, extension: &str) -> BTreeMap<String, String> {
    fn walk(base: &Path, folder: &Path, extension: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(base, &path, extension, found);
            } else if path.extension().is_some_and(|e| e == extension) {
                let name = path.strip_prefix(base).expect("a file inside").to_string_lossy().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).expect("a text").replace("\r\n", "\n"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, extension, &mut found);
    found
}

/// A source without its comments, its `#[cfg(test)]` items and the line breaks in them; rustfmt has laid it out.
fn code(source: &str) -> String {
    let mut kept = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            // The item ends with its first line, or with a brace below its beginning.
            let one_line = lines.next().is_some_and(|first| first.ends_with(';'));
            if !one_line {
                lines.by_ref().find(|line| *line == end);
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push_str(line.split(" // ").next().unwrap_or_default());
            kept.push('\n');
        }
    }
    kept
}

/// The library's and the program's sources without tests, by their path from `src`.
fn sources() -> BTreeMap<String, String> {
    let all = files(&root().join("src"), "rs");
    let is_test = |name: &str| {
        let Some(folder) = name.strip_suffix("/tests.rs") else { return false };
        let declares = |file: String| all.get(&file).is_some_and(|text| text.contains("#[cfg(test)]\nmod tests;"));
        declares(format!("{folder}/mod.rs")) || declares(format!("{folder}.rs"))
    };
    all.iter().filter(|(name, _)| !is_test(name)).map(|(name, text)| (name.clone(), code(text))).collect()
}

/// The first name of a path from `src`: the module.
fn module(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.iter().any(|(name, _)| *name == module))
}

/// The names that follow `crate::` in a text, those of a list in braces too.
fn names_used(text: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, word) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + word.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(name(rest));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(name(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(name(item.trim()));
    }
    names.remove("");
    names
}

/// What is wrong with a module's use of another.
fn wrong(user: &str, used: &str) -> Option<&'static str> {
    let (Some(from), Some(to)) = (floor(user), floor(used)) else { return Some("is on no floor") };
    let neighbours = FLOORS[from].iter().find(|(name, _)| *name == user).map_or(&[][..], |(_, n)| n);
    match from.cmp(&to) {
        _ if user == used => None,
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Less => Some("lies above"),
        std::cmp::Ordering::Equal => (!neighbours.contains(&used)).then_some("is a neighbour that is not to be used"),
    }
}

/// The modules of the library that each module uses.
fn uses() -> BTreeSet<(String, String)> {
    let mut uses = BTreeSet::new();
    for (file, text) in sources().iter().filter(|(file, _)| module(file) != "bin") {
        uses.extend(names_used(text).into_iter().map(|used| (module(file).to_owned(), used)));
        // A file right under src reaches its neighbours by `super` too.
        assert!(!text.contains("super::super::"), "{file} climbs by super::super");
        let outer = text.lines().filter(|line| line.starts_with("use super::") && !file.contains('/'));
        assert_eq!(outer.count(), 0, "{file} climbs by super");
    }
    uses
}

#[test]
fn every_file_of_src_has_a_floor() {
    for file in sources().keys() {
        assert!(floor(module(file)).is_some(), "{file} is on no floor");
    }
    let modules: BTreeSet<_> = sources().keys().map(|file| module(file).to_owned()).collect();
    for (name, _) in FLOORS.iter().copied().flatten() {
        assert!(modules.contains(*name), "there is no {name}");
    }
}

#[test]
fn a_file_uses_only_what_lies_below_it() {
    let crooked: Vec<String> = uses()
        .iter()
        .filter_map(|(user, used)| wrong(user, used).map(|why| format!("{user} uses {used}, which {why}")))
        .collect();
    assert!(crooked.is_empty(), "{}", crooked.join("\n"));
}

#[test]
fn neighbours_on_one_floor_go_in_no_circle_and_are_used_as_said() {
    let uses = uses();
    for rooms in FLOORS {
        for (index, (user, neighbours)) in rooms.iter().enumerate() {
            for used in *neighbours {
                assert!(rooms[..index].iter().any(|(name, _)| name == used), "{used} does not come before {user}");
                assert!(uses.contains(&((*user).to_owned(), (*used).to_owned())), "{user} does not use {used}");
            }
        }
    }
}

#[test]
fn a_use_of_a_higher_floor_would_be_found() {
    let text = code(
        "//! See [`crate::layer`].\nuse crate::plan::{Plan, Tuning};\nuse crate::{error::{Error, A}, host, shape::Shape};\n\
         fn f() { crate::kernel::guarded() } // crate::lib\n#[cfg(test)]\nmod tests {\n    use crate::check::compare;\n}\n\
         pub(in crate::cpu) struct S;\n",
    );
    let names: Vec<String> = names_used(&text).into_iter().collect();
    assert_eq!(names, ["cpu", "error", "host", "kernel", "plan", "shape"]);
    assert_eq!(wrong("plan", "kernel"), Some("lies above"));
    assert_eq!(wrong("plan", "cpu"), Some("is a neighbour that is not to be used"));
    assert_eq!(wrong("plan", "Shape"), Some("is on no floor"));
    assert_eq!(wrong("operation", "kernel"), None);
    assert_eq!(wrong("layer", "plan"), None);
}

#[test]
fn the_program_and_the_examples_enter_by_the_front_door() {
    for (file, text) in sources().iter().filter(|(file, _)| module(file) != "bin") {
        assert!(!text.contains("wgpu_batchnorm::"), "{file} names its own crate");
    }
    for (file, text) in sources().iter().filter(|(file, _)| module(file) == "bin") {
        let modules: BTreeSet<_> = names_used(text);
        for room in modules {
            let folder = root().join("src/bin/batchnorm");
            let exists = folder.join(format!("{room}.rs")).exists() || folder.join(&room).is_dir();
            assert!(exists, "{file} uses crate::{room}, which is not the program's");
        }
    }
}

#[test]
fn pipelines_are_made_in_one_place() {
    let makers: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains("create_compute_pipeline"))
        .map(|(file, _)| file)
        .collect();
    let mut allowed: Vec<&str> = PIPELINES.iter().map(|(file, _)| *file).collect();
    allowed.sort_unstable();
    assert_eq!(makers, allowed, "these make pipelines, and these may");
}

#[test]
fn buffer_usages_are_named_where_buffers_are_made_and_checked_alone() {
    for (file, text) in sources() {
        let allowed = matches!(module(&file), "buffer" | "binding" | "host");
        assert!(allowed || !text.contains("BufferUsages"), "{file} names BufferUsages");
    }
}

#[test]
fn the_library_neither_prints_nor_panics_over_a_value() {
    for (file, text) in sources().into_iter().filter(|(file, _)| module(file) != "bin") {
        for (number, line) in text.lines().enumerate() {
            let found =
                ["println!", "print!(", "dbg!(", ".unwrap()", ".expect("].into_iter().find(|word| line.contains(word));
            assert!(found.is_none(), "{file}, line of code {}: {line}", number + 1);
        }
    }
}

#[test]
fn every_shader_is_used_and_short_and_says_what_it_is() {
    let sources = sources();
    let used = |name: &str| {
        let part = name.strip_prefix("parts/").and_then(|name| name.strip_suffix(".wgsl"));
        let words = match part {
            Some(part) => format!("part!(\"{part}\")"),
            None => format!("shaders/{name}\")"),
        };
        sources.values().any(|text| text.contains(&words))
    };
    let shaders = files(&root().join("shaders"), "wgsl");
    assert!(!shaders.is_empty());
    for (name, text) in &shaders {
        assert!(used(name), "{name} is used by nothing in src");
        assert!(text.lines().count() < 130, "{name} has {} lines", text.lines().count());
        let excused = WITHOUT_HEADER.iter().any(|(file, _)| file == name);
        assert_eq!(text.starts_with("// "), !excused, "{name}: header, or excuse of one");
    }
    for (name, _) in WITHOUT_HEADER {
        assert!(shaders.contains_key(*name), "{name} is excused and is not there");
    }
}
