//! The suite on every adapter that is there: natively all of them, in a browser its own.
#![cfg(feature = "check")]

#[cfg(target_family = "wasm")]
mod browser;
#[cfg(not(target_family = "wasm"))]
mod native;
mod suite;

#[cfg(not(target_family = "wasm"))]
fn main() {
    native::run();
}

/// The browser's runner calls the tests themselves.
#[cfg(target_family = "wasm")]
fn main() {}
