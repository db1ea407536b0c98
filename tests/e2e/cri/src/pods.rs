//! Pods, as a kubelet has them run: a new attempt of a container for each start, in the sandbox that is
//! there, or in a new attempt of that.

use std::fs::{self, File};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::client::Runtime;
use crate::messages::{
    Capability, Container, ContainerConfig, ContainerMetadata, ContainerState,
    CreateContainerRequest, ImageSpec, Int64Value, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount,
    NamespaceMode, NamespaceOption, PodSandbox, PodSandboxConfig, PodSandboxMetadata,
    PodSandboxState, RunPodSandboxRequest, SecurityProfile,
};

/// How long a stopped container may take to end, in seconds. Those of the tests sleep on as long.
const GRACE: i64 = 2;

/// `NAMESPACE/POD`
#[derive(Clone, PartialEq)]
pub struct Pod {
    namespace: String,
    name: String,
}

impl FromStr for Pod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').ok_or("not NAMESPACE/POD")?;
        let (namespace, name) = (parts.0.to_owned(), parts.1.to_owned());
        Ok(Self { namespace, name })
    }
}

impl Pod {
    fn has(&self, sandbox: &PodSandbox) -> bool {
        let of =
            |pod: &PodSandboxMetadata| pod.namespace == self.namespace && pod.name == self.name;
        sandbox.metadata.as_ref().is_some_and(of)
    }
}

#[derive(Args)]
pub struct PodOptions {
    /// The handler of the pod's RuntimeClass
    #[arg(long, default_value = "")]
    handler: String,
    /// An annotation of the pod, KEY=VALUE
    #[arg(long = "annotation", value_parser = pair)]
    annotations: Vec<(String, String)>,
    /// With no more rights than the Pod Security Standard "restricted" leaves a pod
    #[arg(long)]
    restricted: bool,
    /// A group of the application
    #[arg(long = "group")]
    groups: Vec<i64>,
    /// The control group or slice of the pod
    #[arg(long, default_value = "kubepods.slice")]
    cgroup_parent: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("there is no \"=\"")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The host's network needs no network plugin.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
    }
}

fn sandbox_config(pod: &Pod, attempt: u32, options: &PodOptions) -> PodSandboxConfig {
    let Pod { namespace, name } = pod.clone();
    let security_context = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces()),
    };
    PodSandboxConfig {
        log_directory: logs(pod).display().to_string(),
        metadata: Some(PodSandboxMetadata {
            uid: format!("{namespace}-{name}"),
            name,
            namespace,
            attempt,
        }),
        annotations: options.annotations.iter().cloned().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: options.cgroup_parent.clone(),
            security_context: Some(security_context),
        }),
    }
}

fn logs(pod: &Pod) -> PathBuf {
    let directory = format!("{}_{}", pod.namespace, pod.name);
    ["/var/log/pods", &directory].iter().collect()
}

/// A container, whose attempt and mounts are set when it is run.
pub fn container(
    name: String,
    image: String,
    command: Vec<String>,
    options: &PodOptions,
) -> ContainerConfig {
    ContainerConfig {
        log_path: format!("{name}.log"),
        metadata: Some(ContainerMetadata { name, attempt: 0 }),
        image: Some(ImageSpec { image }),
        command,
        mounts: Vec::new(),
        linux: Some(LinuxContainerConfig {
            security_context: Some(security_context(options)),
        }),
    }
}

/// Kubernetes has no seccomp profile unless one is asked for.
fn security_context(options: &PodOptions) -> LinuxContainerSecurityContext {
    let restricted = options.restricted;
    LinuxContainerSecurityContext {
        capabilities: restricted.then(|| Capability {
            drop_capabilities: vec!["ALL".to_owned()],
        }),
        namespace_options: Some(namespaces()),
        run_as_user: restricted.then_some(Int64Value { value: 1000 }),
        supplemental_groups: options.groups.clone(),
        no_new_privs: restricted,
        seccomp: restricted.then_some(SecurityProfile {}),
    }
}

/// The file for the application's last words, which every container has in its /dev (Kubernetes,
/// "Determine the Reason for Pod Failure").
fn termination_log(pod: &Pod, container: &ContainerMetadata) -> Result<Mount> {
    let Pod { namespace, name } = pod;
    let pod = format!(
        "/var/lib/kubelet/pods/{namespace}-{name}/containers/{}",
        container.name
    );
    fs::create_dir_all(&pod)?;
    let host_path = format!("{pod}/{}", container.attempt);
    File::create(&host_path)?;
    Ok(Mount {
        container_path: "/dev/termination-log".to_owned(),
        host_path,
    })
}

/// Runs the next attempt of a container, and returns its id.
pub async fn run(
    runtime: &mut Runtime,
    pod: &Pod,
    mut container: ContainerConfig,
    options: &PodOptions,
) -> Result<String> {
    let (pod_sandbox_id, sandbox_config) = sandbox(runtime, pod, options).await?;
    let metadata = container.metadata.as_mut().context("it has a name")?;
    metadata.attempt = attempts(runtime, pod, &metadata.name).await?;
    container.mounts.push(termination_log(pod, metadata)?);
    let request = CreateContainerRequest {
        pod_sandbox_id,
        config: Some(container),
        sandbox_config: Some(sandbox_config),
    };
    let id = runtime.create_container(request).await?;
    runtime.start_container(&id).await?;
    Ok(id)
}

/// How many containers of this name the pod has had, in all its sandboxes.
async fn attempts(runtime: &mut Runtime, pod: &Pod, name: &str) -> Result<u32> {
    let sandboxes = sandboxes(runtime, pod).await?;
    let mut containers = runtime.containers().await?;
    containers.retain(|container| {
        let mut ids = sandboxes.iter().map(|sandbox| &sandbox.id);
        let named = |metadata: &ContainerMetadata| metadata.name == name;
        ids.any(|id| *id == container.pod_sandbox_id)
            && container.metadata.as_ref().is_some_and(named)
    });
    Ok(containers.len() as u32)
}

async fn sandboxes(runtime: &mut Runtime, pod: &Pod) -> Result<Vec<PodSandbox>> {
    let mut sandboxes = runtime.sandboxes().await?;
    sandboxes.retain(|sandbox| pod.has(sandbox));
    Ok(sandboxes)
}

/// The pod's sandbox: the one that is ready, or a new one.
async fn sandbox(
    runtime: &mut Runtime,
    pod: &Pod,
    options: &PodOptions,
) -> Result<(String, PodSandboxConfig)> {
    let sandboxes = sandboxes(runtime, pod).await?;
    let ready = sandboxes
        .iter()
        .find(|sandbox| sandbox.state == PodSandboxState::Ready as i32);
    if let Some(sandbox) = ready {
        let attempt = sandbox.metadata.as_ref().map_or(0, |pod| pod.attempt);
        return Ok((sandbox.id.clone(), sandbox_config(pod, attempt, options)));
    }
    let config = sandbox_config(pod, sandboxes.len() as u32, options);
    let request = RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: options.handler.clone(),
    };
    Ok((runtime.run_sandbox(request).await?, config))
}

pub async fn list(runtime: &mut Runtime) -> Result<Vec<String>> {
    let sandboxes = runtime.sandboxes().await?;
    let containers = runtime.containers().await?;
    let line = |container| line(container, &sandboxes);
    containers.iter().map(line).collect()
}

fn line(container: &Container, sandboxes: &[PodSandbox]) -> Result<String> {
    let sandbox = sandboxes
        .iter()
        .find(|sandbox| sandbox.id == container.pod_sandbox_id);
    let pod = sandbox.and_then(|sandbox| sandbox.metadata.as_ref());
    let pod = pod.ok_or_else(|| anyhow!("{} has no sandbox", container.id))?;
    let name = container
        .metadata
        .as_ref()
        .map_or("", |container| &container.name);
    let state = ContainerState::try_from(container.state)?;
    let (id, namespace, pod) = (&container.id, &pod.namespace, &pod.name);
    Ok(format!("{id} {state:?} {namespace}/{pod}/{name}"))
}

/// In the order of a kubelet: the containers end before their sandbox does.
pub async fn remove(runtime: &mut Runtime, pod: Option<&Pod>) -> Result<()> {
    let mut sandboxes = runtime.sandboxes().await?;
    sandboxes.retain(|sandbox| pod.is_none_or(|pod| pod.has(sandbox)));
    for sandbox in sandboxes {
        let mut containers = runtime.containers().await?;
        containers.retain(|container| container.pod_sandbox_id == sandbox.id);
        for container in containers {
            runtime.stop_container(&container.id, GRACE).await?;
            runtime.remove_container(&container.id).await?;
        }
        runtime.stop_sandbox(&sandbox.id).await?;
        runtime.remove_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
