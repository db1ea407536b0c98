//! What a kubelet asks a container runtime for a pod, by hand: a CRI client for the whole-machine tests.

mod client;
mod messages;
mod pods;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pods::{Pod, PodOptions};

#[derive(Parser)]
struct Cli {
    /// The runtime's socket
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    socket: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the runtime and its version
    Version,
    /// Starts a container, in the sandbox of its pod or in a new one, and prints its id
    Run {
        pod: Pod,
        container: String,
        #[command(flatten)]
        options: PodOptions,
        image: String,
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Prints a line for each container: its id, its state and NAMESPACE/POD/CONTAINER
    List,
    /// Stops a pod's containers and removes all that there is of it; all pods, if none is named
    Remove { pod: Option<Pod> },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut runtime = client::Runtime::connect(&cli.socket).await?;
    match cli.command {
        Command::Version => {
            let version = runtime.version().await?;
            let (name, number) = (version.runtime_name, version.runtime_version);
            println!("{name} {number}, CRI {}", version.runtime_api_version);
        }
        Command::Run {
            pod,
            container,
            options,
            image,
            command,
        } => {
            let container = pods::container(container, image, command, &options);
            println!(
                "{}",
                pods::run(&mut runtime, &pod, container, &options).await?
            );
        }
        Command::List => {
            for line in pods::list(&mut runtime).await? {
                println!("{line}");
            }
        }
        Command::Remove { pod } => pods::remove(&mut runtime, pod.as_ref()).await?,
    }
    Ok(())
}
