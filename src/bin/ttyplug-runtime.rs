//! The OCI runtime wrapper's entry: see `ttyplugd::runtime`.

use std::process::ExitCode;

use ttyplugd::keeper::launch;
use ttyplugd::runtime;
use ttyplugd::runtime::options::Options;

fn main() -> ExitCode {
    let options = Options::parse(std::env::args().skip(1).collect());
    match options.arguments.first().map(String::as_str) {
        Some("keeper") => launch::run(&options.run_dir, &options.arguments),
        _ => runtime::run(&options),
    }
}
