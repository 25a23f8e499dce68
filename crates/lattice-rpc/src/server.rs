//! Starting and stopping the server.

use crate::{
    api::Api,
    error::RpcFault,
    http::{HttpDoor, REQUEST_BYTES_MAX},
    jsonrpc::BATCH_MAX,
    ws,
};
use jsonrpsee::{
    core::middleware::RpcServiceBuilder,
    server::{BatchRequestConfig, PingConfig, Server, ServerConfig},
};
use lattice_chain::Backend;
use std::{net::SocketAddr, sync::Arc};

/// Bytes of one WebSocket answer.
pub(crate) const ANSWER_BYTES_MAX: u32 = 64 << 20;
/// WebSocket connections at a time.
const CONNECTIONS_MAX: u32 = 1_024;
/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: u32 = 256;
/// Messages waiting for a slow WebSocket client.
const MESSAGES_BUFFERED: u32 = 256;

/// A running server. Dropping it stops the server as well.
#[derive(Debug)]
pub struct ServerHandle {
    inner: jsonrpsee::server::ServerHandle,
    address: SocketAddr,
}

impl ServerHandle {
    /// Where it listens: with the real port when port 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops taking connections, lets running calls end, and returns when all connections are closed.
    pub async fn stop(self) {
        // The only error is that it was stopped before.
        let _stopped_before = self.inner.stop();
        self.inner.stopped().await;
    }
}

/// Serves JSON-RPC over HTTP and WebSocket at an address, on the current tokio runtime.
///
/// # Errors
/// When the port is in use or the address cannot be listened on.
pub async fn serve(backend: Arc<dyn Backend>, address: SocketAddr) -> Result<ServerHandle, RpcFault> {
    let config = ServerConfig::builder()
        .max_request_body_size(REQUEST_BYTES_MAX)
        .max_response_body_size(ANSWER_BYTES_MAX)
        .max_connections(CONNECTIONS_MAX)
        .max_subscriptions_per_connection(SUBSCRIPTIONS_MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(BATCH_MAX as u32))
        .set_message_buffer_capacity(MESSAGES_BUFFERED)
        .set_id_provider(ws::SubscriptionIds::default())
        .enable_ws_ping(PingConfig::default())
        .build();
    let api = Api::new(backend);
    let methods = ws::subscriptions(api.clone());
    let rpc = RpcServiceBuilder::new().layer(ws::WsDoor::new(api.clone()));
    let server = Server::builder()
        .set_config(config)
        .set_rpc_middleware(rpc)
        .set_http_middleware(tower::ServiceBuilder::new().layer(HttpDoor::new(api)))
        .build(address)
        .await
        .map_err(|source| listen_fault(address, source))?;
    let address = server.local_addr().map_err(|source| RpcFault::Listen { address, source })?;
    Ok(ServerHandle { inner: server.start(methods), address })
}

fn listen_fault(address: SocketAddr, source: std::io::Error) -> RpcFault {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => RpcFault::PortInUse(address),
        _ => RpcFault::Listen { address, source },
    }
}
