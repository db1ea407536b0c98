//! Placeholder until the measurements are written.
fn main() {}
