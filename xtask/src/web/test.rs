//! `cargo xtask web-test`: the suite, and the page, in a headless browser.

use std::path::Path;

use crate::command::{command, root, run, run_reading};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::web::browser::{self, Browser};
use crate::web::page;
use crate::web::serve::Server;
use crate::web::toolchain::{Wasm, bindgen, target_directory};

/// The suite for the browser.
const SUITE: [&str; 6] = ["test", "--release", "--features", "check", "--test", "gpu"];
/// How the driver starts the browser: WebGPU on a software adapter, and nothing over the network.
const WEBDRIVER: &str = "xtask/src/web/webdriver.json";
/// Where the page's test leaves its screenshots.
const SCREENSHOTS: &str = "out/web";
/// Seconds that the suite may take, in brief and in full: several times what it takes on two cores without a graphics
/// processor.
const SECONDS: [&str; 2] = ["900", "2400"];

#[derive(Default)]
struct Options {
    full: bool,
    page_alone: bool,
}

pub fn web_test(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--full" => options.full = true,
            "--page" => options.page_alone = true,
            other => return Err(Failure::new(format!("`web-test` knows --full and --page, not `{other}`"))),
        }
    }
    let mut ledger = Ledger::default();
    let done = run_all(&options, &mut ledger);
    println!("\n== what the minutes went on\n{}", ledger.table());
    done?;
    ledger.close()
}

fn run_all(options: &Options, ledger: &mut Ledger) -> Result<(), Failure> {
    let (browser, wasm) = ledger.step("browser and Rust for it", || Ok((browser::set_up()?, Wasm::set_up()?)))?;
    ledger.step("wasm-bindgen", || bindgen("wasm-bindgen").map(|_| ()))?;
    if !options.page_alone {
        ledger.attempt("suite in the browser", || suite(&wasm, &browser, options.full));
    }
    let directory = target_directory()?.join("page");
    ledger.step("page", || page::write(&wasm, &directory))?;
    ledger.attempt("page end to end", || end_to_end(&browser, &directory));
    Ok(())
}

fn suite(wasm: &Wasm, browser: &Browser, full: bool) -> Result<(), Failure> {
    let runner = bindgen("wasm-bindgen-test-runner")?;
    let test = |arguments: &[&str]| {
        let mut test = wasm.cargo(&SUITE);
        test.args(arguments)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", &runner)
            .env("CHROMEDRIVER", &browser.driver)
            .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", root().join(WEBDRIVER))
            .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60")
            .env("WASM_BINDGEN_TEST_TIMEOUT", SECONDS[usize::from(full)]);
        if full {
            test.env("BATCHNORM_FULL", "1");
        }
        test
    };
    run(&mut test(&["--no-run"]))?;
    // Each half in a browser of its own, at once; both end before either is judged.
    let half = |name| run_reading(&mut test(&["--", "--nocapture", name]), |_| {});
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| half("second_half"));
        (half("first_half"), second.join())
    });
    first?;
    second.unwrap_or_else(|_| Err(Failure::new("the second half could not be run")))
}

fn end_to_end(browser: &Browser, page: &Path) -> Result<(), Failure> {
    // What npm brings stays out of the sources.
    let place = target_directory()?.join("web-e2e");
    page::copy(&root().join("web/e2e"), &place)?;
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    run(command(npm, &["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&place))?;
    let server = Server::start(page, 0)?;
    run(command("node", &["page.test.mjs"])
        .current_dir(&place)
        .env("PAGE", server.address())
        .env("BROWSER", &browser.browser)
        .env("SCREENSHOTS", root().join(SCREENSHOTS)))
}
