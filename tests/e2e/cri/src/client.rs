//! The calls of the service `runtime.v1.RuntimeService` that are needed.

use anyhow::{Context, Result};
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::messages::{
    Container, CreateContainerRequest, Empty, Id, ListContainersResponse, ListPodSandboxResponse,
    PodSandbox, RunPodSandboxRequest, StopContainerRequest, VersionResponse,
};

pub struct Runtime(Grpc<Channel>);

impl Runtime {
    pub async fn connect(socket: &str) -> Result<Self> {
        let endpoint = Endpoint::try_from(format!("unix://{socket}"))?;
        let channel = endpoint.connect().await;
        Ok(Self(Grpc::new(channel.with_context(|| socket.to_owned())?)))
    }

    async fn call<Q, A>(&mut self, method: &str, question: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.0.unary(Request::new(question), path, codec).await;
        Ok(answer.context(method.to_owned())?.into_inner())
    }

    pub async fn version(&mut self) -> Result<VersionResponse> {
        self.call("Version", Empty {}).await
    }

    pub async fn run_sandbox(&mut self, request: RunPodSandboxRequest) -> Result<String> {
        Ok(self.call::<_, Id>("RunPodSandbox", request).await?.id)
    }

    pub async fn create_container(&mut self, request: CreateContainerRequest) -> Result<String> {
        Ok(self.call::<_, Id>("CreateContainer", request).await?.id)
    }

    pub async fn start_container(&mut self, id: &str) -> Result<()> {
        self.of("StartContainer", id).await
    }

    /// With SIGTERM, and after `timeout` seconds with SIGKILL.
    pub async fn stop_container(&mut self, id: &str, timeout: i64) -> Result<()> {
        let container_id = id.to_owned();
        let request = StopContainerRequest {
            container_id,
            timeout,
        };
        self.call::<_, Empty>("StopContainer", request).await?;
        Ok(())
    }

    pub async fn remove_container(&mut self, id: &str) -> Result<()> {
        self.of("RemoveContainer", id).await
    }

    pub async fn stop_sandbox(&mut self, id: &str) -> Result<()> {
        self.of("StopPodSandbox", id).await
    }

    pub async fn remove_sandbox(&mut self, id: &str) -> Result<()> {
        self.of("RemovePodSandbox", id).await
    }

    async fn of(&mut self, method: &str, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.call::<_, Empty>(method, Id { id }).await?;
        Ok(())
    }

    pub async fn sandboxes(&mut self) -> Result<Vec<PodSandbox>> {
        let list: ListPodSandboxResponse = self.call("ListPodSandbox", Empty {}).await?;
        Ok(list.items)
    }

    pub async fn containers(&mut self) -> Result<Vec<Container>> {
        let list: ListContainersResponse = self.call("ListContainers", Empty {}).await?;
        Ok(list.containers)
    }
}
