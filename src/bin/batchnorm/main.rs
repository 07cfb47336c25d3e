//! The `batchnorm` program.

fn main() {}
