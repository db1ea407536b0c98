//! The arguments of `ttyplugd add`.

use clap::Args;

use crate::cli::options::{ConfigFile, RunDirectory};
use crate::model::selector::ContainerMatch;
use crate::model::{NodePath, PortName};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Name of the port.
    pub(super) name: Option<PortName>,
    /// Its device: ttyACM0, /dev/ttyACM0 or a link such as /dev/serial/by-id/NAME.
    #[arg(long)]
    pub(super) device: Option<String>,
    /// Its container: a name, or PROJECT/SERVICE of compose. It need not exist yet.
    #[arg(long, value_name = "NAME")]
    pub(super) container: Option<ContainerMatch>,
    /// Its path in the container. [default: /dev/ and the name of the port]
    #[arg(long, value_name = "PATH")]
    pub(super) node: Option<NodePath>,
    /// Print the file, and write nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) config: ConfigFile,
    #[command(flatten)]
    pub(super) run: RunDirectory,
}

impl Arguments {
    /// What has to be asked for.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.name.is_none(), "NAME"),
            (self.device.is_none(), "--device"),
            (self.container.is_none(), "--container"),
        ];
        let missing = all.iter().filter(|(is_missing, _)| *is_missing);
        missing.map(|(_, argument)| *argument).collect()
    }
}
