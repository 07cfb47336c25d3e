//! What `cargo test` says while it runs.

use std::time::{Duration, Instant};

/// One test program, or the documentation's tests.
#[derive(Debug, PartialEq)]
pub struct Suite {
    /// As cargo names it: `unittests src/lib.rs of wgpu_batchnorm`, `tests/reference.rs`, `Doc-tests wgpu_batchnorm`.
    pub name: String,
    /// The harness's last line; empty if it never came, because the program died.
    pub closing: String,
    pub time: Duration,
}

impl Suite {
    pub fn passed(&self) -> bool {
        self.closing.starts_with("test result: ok")
    }
}

/// Reads the output line by line.
pub struct Suites {
    pub suites: Vec<Suite>,
    begun: Instant,
}

impl Suites {
    pub fn new() -> Self {
        Self { suites: Vec::new(), begun: Instant::now() }
    }

    pub fn read(&mut self, line: &str) {
        let text = line.trim_start();
        let running = text.strip_prefix("Running ").filter(|_| line.starts_with(' '));
        let documentation = Some(text).filter(|t| t.starts_with("Doc-tests "));
        if let Some(name) = running.or(documentation) {
            let name = suite_name(name);
            self.begun = Instant::now();
            self.suites.push(Suite { name, closing: String::new(), time: Duration::ZERO });
        } else if text.starts_with("test result: ")
            && let Some(suite) = self.suites.last_mut()
        {
            // Merged and single documentation tests each have a result; a failed one must not be lost.
            if suite.closing.is_empty() || suite.passed() {
                suite.closing = text.to_owned();
            }
            suite.time = self.begun.elapsed();
        }
    }

    /// The suites without those that hold no test.
    pub fn with_tests(&self) -> impl Iterator<Item = &Suite> {
        self.suites.iter().filter(|s| !s.closing.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored"))
    }
}

/// `unittests src/main.rs of xtask` of `unittests src/main.rs (target/release/deps/xtask-0123)`.
fn suite_name(heading: &str) -> String {
    let (name, file) = heading.split_once(" (").unwrap_or((heading, ""));
    let krate = file.rsplit(['/', '\\']).next().and_then(|f| f.rsplit_once('-')).map(|(krate, _)| krate);
    match krate {
        Some(krate) if name.starts_with("unittests") => format!("{name} of {krate}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_has_its_closing_line() {
        let mut suites = Suites::new();
        for line in [
            "     Running unittests src/lib.rs (target/release/deps/wgpu_batchnorm-0123)",
            "running 2 tests",
            "test shape::tests::any ... ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running unittests src/bin/batchnorm/main.rs (target/release/deps/batchnorm-0123)",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running tests/died.rs (target/release/deps/died-0123)",
            "Running is not a heading here",
            "   Doc-tests wgpu_batchnorm",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s",
        ] {
            suites.read(line);
        }
        let seen: Vec<_> = suites.with_tests().map(|s| (s.name.as_str(), s.passed())).collect();
        let expected = [
            ("unittests src/lib.rs of wgpu_batchnorm", true),
            ("tests/died.rs", false),
            ("Doc-tests wgpu_batchnorm", false),
        ];
        assert_eq!(seen, expected);
    }
}
