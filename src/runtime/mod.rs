//! `ttyplug-runtime`: what stands between the engine and its real runtime.
//!
//! It fails open. Whatever goes wrong in here, the real runtime is executed with the same
//! arguments, and the container starts as it would have without us.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `store`, `container`, `sys`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::config;
use crate::config::settings::LabelPolicy;
use crate::container::rootfs::Tree;
use crate::hold::protocol::{
    Created, Creating, FromKeeper, NodeToMake, ToKeeper, VERSION, line, take,
};
use crate::hold::{ContainerPort, ContainerPorts, DEFAULT_HOLD};
use crate::model::inventory::ContainerId;
use crate::runtime::oci_args::Verb;
use crate::runtime::oci_config::BundleNode;
use crate::store::Store;
use crate::sys::child;
use crate::sys::logging::{kind, short_lived};
use crate::sys::replacement::replace;
use crate::sys::seccomp::kernel_can_notify;

pub mod oci_args;
pub mod oci_config;
pub mod seccomp_profile;

/// How long the daemon may take to answer. A container waits for it only where it runs and hangs;
/// but while a machine boots, everything starts at once and nothing is quick.
const DAEMON_LIMIT: Duration = Duration::from_secs(5);

/// How long the runtime may take to tell its version.
pub const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// How long a keeper may take to answer for the first time.
const KEEPER_LIMIT: Duration = Duration::from_secs(10);

/// Our own options, which come before the runtime's.
#[derive(Debug, Clone)]
pub struct Options {
    pub run_dir: PathBuf,
    pub runtime: PathBuf,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    /// What follows them.
    pub arguments: Vec<String>,
}

impl Options {
    /// Reads them from the command line, without the program's name.
    pub fn parse(arguments: Vec<String>) -> Self {
        let mut options = Self {
            run_dir: "/run/ttyplugd".into(),
            runtime: "runc".into(),
            config: "/etc/ttyplugd/config.toml".into(),
            state_dir: "/var/lib/ttyplugd".into(),
            arguments,
        };
        while let [name, value, ..] = options.arguments.as_slice() {
            let place = match name.as_str() {
                "--run-dir" => &mut options.run_dir,
                "--runtime" => &mut options.runtime,
                "--config" => &mut options.config,
                "--state-dir" => &mut options.state_dir,
                _ => break,
            };
            *place = value.into();
            options.arguments.drain(..2);
        }
        options
    }

    fn keepers(&self) -> PathBuf {
        self.run_dir.join("k")
    }
}

/// Does our part, and then becomes the real runtime. Returns only if that cannot be executed.
pub fn run(options: &Options) -> ExitCode {
    match oci_args::parse(&options.arguments) {
        Verb::Create { bundle, id } => {
            let bundle = bundle.unwrap_or_else(|| ".".into());
            match prepare(options, &bundle, &id) {
                Ok(Prepared::Asking | Prepared::NothingToHold) => {}
                Err(error) => {
                    short_lived(&options.run_dir);
                    tracing::warn!(
                        message_id = kind::NOT_HELD,
                        container_id = id,
                        "the container starts without held opens: {error:#}"
                    );
                }
            }
        }
        Verb::AskToEnd { id } => let_all_go(options, &id),
        Verb::Other => {}
    }
    let error = Command::new(&options.runtime)
        .args(&options.arguments)
        .exec();
    short_lived(&options.run_dir);
    tracing::error!(
        message_id = kind::RUNTIME_MISSING,
        "{} cannot be executed: {error}",
        options.runtime.display()
    );
    ExitCode::FAILURE
}

enum Prepared {
    Asking,
    NothingToHold,
}

fn prepare(options: &Options, directory: &Path, id: &str) -> anyhow::Result<Prepared> {
    let file = directory.join("config.json");
    let text = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut config: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?;

    let answer = ask_daemon(options, id);
    let provisional = answer.is_err();
    if answer.as_ref().err().is_some_and(is_timeout) {
        short_lived(&options.run_dir);
        tracing::warn!(
            message_id = kind::DAEMON_SILENT,
            container_id = id,
            "ttyplugd does not answer in time: its ports come when the container runs"
        );
    }
    let created = answer.unwrap_or_else(|_| Created {
        // At boot the engine may be first. Whatever is configured may be a new container's.
        ports: Store::read(&options.state_dir)
            .ports(&ContainerId(id.to_owned()))
            .unwrap_or_else(|| of_configuration(options)),
        ..Created::default()
    });
    if created.ports == ContainerPorts::default() {
        return Ok(Prepared::NothingToHold);
    }
    let nodes = nodes(&config, directory, &created.nodes);
    let mut added = oci_config::add_nodes(&mut config, &nodes);
    if created.rights {
        added = added.and_then(|()| oci_config::add_rights(&mut config, &nodes));
    }
    added.context("config.json has a strange `linux` section")?;

    let first = ToKeeper {
        ttyplugd: VERSION,
        ports: Some(created.ports),
        provisional,
        follow: true,
        ..ToKeeper::default()
    };
    let asking = ask(options, id, &mut config, &first);
    replace(&file, &serde_json::to_vec(&config)?)
        .with_context(|| format!("{} cannot be written", file.display()))?;
    asking.map(|()| Prepared::Asking)
}

/// Makes the container ask, and a keeper that answers.
fn ask(options: &Options, id: &str, config: &mut Value, first: &ToKeeper) -> anyhow::Result<()> {
    anyhow::ensure!(
        kernel_can_notify(),
        "the kernel has no seccomp user notification"
    );
    check_runtime(options)?;
    let socket = socket_name(options, id)?;
    let listener = socket
        .to_str()
        .context("the run directory's name is not UTF-8")?;
    let mut edited = config.clone();
    oci_config::ask(&mut edited, listener, std::env::consts::ARCH)?;
    start_keeper(options, id, &socket, first)
        .inspect_err(|_| drop(fs::remove_file(&socket)))
        .context("the keeper does not start")?;
    *config = edited;
    Ok(())
}

/// A name that is new for every start: the one before may still be in use.
fn socket_name(options: &Options, id: &str) -> anyhow::Result<PathBuf> {
    let mut random = [0u8; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let short = id.get(..12).unwrap_or(id);
    anyhow::ensure!(
        short
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
        "the container's id is a strange one"
    );
    Ok(options
        .keepers()
        .join(format!("{short}-{:016x}", u64::from_ne_bytes(random))))
}

/// The runtime is asked once for its version, and again when its file has changed.
fn check_runtime(options: &Options) -> anyhow::Result<()> {
    let path = child::find(&options.runtime)
        .with_context(|| format!("there is no {}", options.runtime.display()))?;
    let stat = fs::metadata(&path)?;
    let key = format!("{} {} {}", path.display(), stat.size(), stat.mtime());
    let cache = options.run_dir.join("runtime-version");
    let known = fs::read_to_string(&cache).unwrap_or_default();
    let version = match known.split_once('\n') {
        Some((known_key, version)) if known_key == key => version.to_owned(),
        _ => {
            let mut command = Command::new(&path);
            command.arg("--version").stdin(Stdio::null());
            let output = child::output(&mut command, VERSION_LIMIT)
                .with_context(|| format!("{} --version", path.display()))?;
            let version = String::from_utf8_lossy(&output.stdout).into_owned();
            let _ = replace(&cache, format!("{key}\n{version}").as_bytes());
            version
        }
    };
    oci_args::can_notify(&version).map_err(anyhow::Error::msg)
}

/// Starts a keeper, gives it its ports, and waits until it has answered.
fn start_keeper(
    options: &Options,
    id: &str,
    socket: &Path,
    first: &ToKeeper,
) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(options.keepers())?;
    // Under its own name it appears when it can be connected to.
    let early = socket.with_extension("new");
    let listener = UnixListener::bind(&early)?;
    fs::set_permissions(&early, fs::Permissions::from_mode(0o600))?;
    fs::rename(&early, socket)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--run-dir")
        .arg(&options.run_dir)
        .args(["keeper", "start", id])
        .arg(socket)
        .arg(std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let status = child::output(&mut command, KEEPER_LIMIT)?.status;
    anyhow::ensure!(status.success(), "it ended with {status}");

    let answer: FromKeeper = converse(socket, first, KEEPER_LIMIT)?;
    anyhow::ensure!(answer.container == id, "it keeps another container");
    Ok(())
}

/// The keepers of a container let everything go, so that a program that is asked to end can do so.
fn let_all_go(options: &Options, id: &str) {
    let message = ToKeeper {
        ttyplugd: VERSION,
        let_all_go: true,
        ..ToKeeper::default()
    };
    let prefix = format!("{}-", id.get(..12).unwrap_or(id));
    for entry in fs::read_dir(options.keepers())
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let told = UnixStream::connect(entry.path());
            let _ = told.and_then(|mut keeper| keeper.write_all(&line(&message)));
        }
    }
}

fn ask_daemon(options: &Options, id: &str) -> io::Result<Created> {
    let message = Creating {
        ttyplugd: VERSION,
        container: id.to_owned(),
    };
    converse(
        &options.run_dir.join("runtime.sock"),
        &message,
        DAEMON_LIMIT,
    )
}

/// A read that times out is one that would block (socket(7), SO_RCVTIMEO).
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// Sends a message and reads the answer, within a time limit for all of it.
fn converse<Q, A>(socket: &Path, question: &Q, limit: Duration) -> io::Result<A>
where
    Q: serde::Serialize,
    A: for<'de> serde::Deserialize<'de>,
{
    let end = Instant::now() + limit;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&line(question))?;
    let mut received = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        if let Some(answer) = take(&mut received).map_err(io::Error::other)? {
            return Ok(answer);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received.extend(&buffer[..length]),
        }
    }
}

/// Every name that any configured port could have, where there is no daemon to say whose it is.
fn of_configuration(options: &Options) -> ContainerPorts {
    let settings = config::load(&options.config).unwrap_or_default();
    let ports = settings.ports.iter().map(|port| {
        let hold = port.hold.unwrap_or(DEFAULT_HOLD);
        ContainerPort::waiting(port.name.as_str(), &port.known_paths(), hold)
    });
    ContainerPorts {
        ports: ports.collect(),
        every: settings.labels != LabelPolicy::Off,
    }
}

/// The nodes that can be made from outside, with the container's own numbers for names.
fn nodes(config: &Value, directory: &Path, wanted: &[NodeToMake]) -> Vec<BundleNode> {
    if oci_config::has_user_namespace(config) {
        return Vec::new();
    }
    let root = oci_config::root_path(config).map(|root| directory.join(root));
    let files = root.and_then(|root| Tree::open(&root).ok());
    let read = |path| {
        files
            .as_ref()
            .map(|files| files.read_small_file(path))
            .unwrap_or_default()
    };
    let (passwd, group) = (read("etc/passwd"), read("etc/group"));
    wanted
        .iter()
        .filter_map(|node| {
            Some(BundleNode {
                path: node.path.clone(),
                devnum: node.number,
                mode: node.mode,
                uid: crate::plan::passwd::user(&node.owner, &passwd).ok()?,
                gid: crate::plan::passwd::group(&node.group, &group).ok()?,
            })
        })
        .collect()
}
