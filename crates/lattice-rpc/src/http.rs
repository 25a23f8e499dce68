//! The HTTP door, in front of jsonrpsee's: it answers every POST itself, so that errors of all kinds are HTTP 200 with an
//! error object and batches run together. What asks for an upgrade to WebSocket passes through.
//!
//! Any web page may call the node (CORS): it holds no keys, and dApps must reach it from the browser.

use crate::{
    api::Api,
    error::{INVALID_REQUEST, PARSE, RpcError},
    jsonrpc,
};
use jsonrpsee::{
    core::{
        BoxError,
        http_helpers::{HttpError, read_body},
    },
    server::{HttpBody, HttpRequest, HttpResponse},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::{Layer, Service};

/// Bytes of one request.
pub(crate) const REQUEST_BYTES_MAX: u32 = 16 << 20;
/// Bytes of all requests that are being read or run; later ones wait.
const IN_FLIGHT_BYTES_MAX: u32 = 256 << 20;
/// Unit in which those are counted.
const IN_FLIGHT_UNIT: u32 = 1 << 10;
/// Time in which a request's body must arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

const GREETING: &str = "Lattice JSON-RPC: send POST requests, or connect by WebSocket.\n";

/// Puts the door in front of a service.
#[derive(Clone)]
pub(crate) struct HttpDoor {
    api: Arc<Api>,
    in_flight: Arc<Semaphore>,
}

impl HttpDoor {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api, in_flight: Arc::new(Semaphore::new((IN_FLIGHT_BYTES_MAX / IN_FLIGHT_UNIT) as usize)) }
    }

    async fn post(self, request: HttpRequest) -> HttpResponse {
        let declared = content_length(&request).unwrap_or(REQUEST_BYTES_MAX);
        if declared > REQUEST_BYTES_MAX {
            return json(Some(jsonrpc::write_failure(too_large())));
        }
        let units = (declared / IN_FLIGHT_UNIT).max(1);
        let _permit = self.in_flight.acquire_many(units).await.expect("the semaphore is never closed");
        let (parts, body) = request.into_parts();
        let read = tokio::time::timeout(BODY_TIME_MAX, read_body(&parts.headers, body, REQUEST_BYTES_MAX));
        let error = match read.await {
            Ok(Ok((body, _))) => return json(self.api.answer(&body).await),
            Ok(Err(HttpError::Malformed)) => {
                RpcError::new(PARSE, "parse error: a request is a JSON object, a batch is an array")
            }
            Ok(Err(HttpError::TooLarge)) => too_large(),
            Ok(Err(HttpError::Stream(error))) => {
                RpcError::new(INVALID_REQUEST, format!("cannot read the request: {error}"))
            }
            Err(_) => RpcError::new(INVALID_REQUEST, "the request's body did not arrive within 30 seconds"),
        };
        json(Some(jsonrpc::write_failure(error)))
    }
}

fn too_large() -> RpcError {
    RpcError::new(INVALID_REQUEST, format!("request too large: at most {REQUEST_BYTES_MAX} bytes"))
}

/// The declared length of the body; `None` when it is sent in chunks.
fn content_length(request: &HttpRequest) -> Option<u32> {
    let text = request.headers().get("content-length")?.to_str().ok()?;
    Some(text.parse().unwrap_or(u32::MAX))
}

/// A response with the headers that let any web page read it.
fn respond(status: u16, content_type: &'static str, body: impl Into<HttpBody>) -> HttpResponse {
    HttpResponse::builder()
        .status(status)
        .header("content-type", content_type)
        .header("access-control-allow-origin", "*")
        .header("access-control-allow-methods", "POST, GET, OPTIONS")
        .header("access-control-allow-headers", "*")
        .header("access-control-max-age", "86400")
        .body(body.into())
        .expect("the headers are constants")
}

/// An answer; an empty body when there is none, as for notifications.
fn json(answer: Option<String>) -> HttpResponse {
    respond(200, "application/json", answer.unwrap_or_default())
}

impl<S> Layer<S> for HttpDoor {
    type Service = HttpService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpService { door: self.clone(), inner }
    }
}

/// See [`HttpDoor`].
#[derive(Clone)]
pub(crate) struct HttpService<S> {
    door: HttpDoor,
    inner: S,
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

impl<S> Service<HttpRequest> for HttpService<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest) -> ResponseFuture {
        let ready = |response| -> ResponseFuture { Box::pin(std::future::ready(Ok(response))) };
        match request.method().as_str() {
            "POST" => {
                let door = self.door.clone();
                Box::pin(async move { Ok(door.post(request).await) })
            }
            "GET" if request.headers().contains_key("upgrade") => Box::pin(self.inner.call(request)),
            "OPTIONS" => ready(respond(204, "text/plain", HttpBody::empty())),
            "GET" | "HEAD" => ready(respond(200, "text/plain", GREETING)),
            _ => ready(respond(405, "text/plain", GREETING)),
        }
    }
}
