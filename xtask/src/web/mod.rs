//! What runs in a browser: the suite, and the page.

pub mod browser;
pub mod page;
pub mod serve;
pub mod test;
pub mod toolchain;
