//! A browser with WebGPU, its driver, and Node: found, or installed on Linux.

use std::path::PathBuf;

use crate::command::{exists, found};
use crate::failure::Failure;
use crate::packages::{self, Need};

/// The names that the browser goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Programs that tests in a browser need.
pub struct Browser {
    /// Chromium or Chrome.
    pub browser: PathBuf,
    /// The program that drives it for the suite.
    pub driver: PathBuf,
}

/// Finds a browser, its driver and Node, and installs what is missing. Without them nothing passes.
pub fn set_up() -> Result<Browser, Failure> {
    let mut needs = Vec::new();
    if !BROWSERS.iter().any(|name| exists(name)) || !exists("chromedriver") {
        needs.push(Need::Browser);
    }
    if !exists("node") || !exists("npm") {
        needs.push(Need::Node);
    }
    if !needs.is_empty() {
        packages::install(&needs)?;
    }
    let missing = |what: &str| Failure::new(format!("{what} is not on the path, although it was installed"));
    Ok(Browser {
        browser: BROWSERS.iter().find_map(|name| found(name)).ok_or_else(|| missing("chromium"))?,
        driver: found("chromedriver").ok_or_else(|| missing("chromedriver"))?,
    })
}
