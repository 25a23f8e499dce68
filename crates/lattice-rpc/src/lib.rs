//! Floor 5: the node's door for Ethereum tools and Lattice clients: JSON-RPC 2.0 by HTTP and WebSocket on one port.
//!
//! [`serve`] opens it over a [`Backend`](lattice_chain::Backend): reads take a `View` and never wait for the chain's
//! thread, writes go into its queue. `eth` answers in the shapes of the execution-apis specification, `lattice` adds
//! the DAG, models and inferences. Every error is HTTP 200 with a JSON-RPC error object; [`error`] lists the codes.
//!
//! Everything here is bounded: bytes of a request, calls in a batch, bytes of requests in flight, long calls at a time,
//! blocks and logs of a query, filters, subscriptions.

mod api;
mod cache;
mod debug;
pub mod error;
mod eth;
mod http;
mod in_process;
mod jsonrpc;
mod lattice;
mod params;
mod send;
mod server;
mod ws;

pub use error::{RpcError, RpcFault};
pub use in_process::InProcess;
pub use server::{ServerHandle, serve};
