//! The integration tests. They are one crate, which is linked once.
//!
//! `with_engine` needs a Docker engine, udevd and the test ttys: `make test` provides them.

mod chaos;
mod completions;
mod compose;
mod dashboard;
mod descriptors;
mod docs;
mod papers;
mod release;
mod testbed;
mod tidy;
mod with_engine;
mod wrapper;
