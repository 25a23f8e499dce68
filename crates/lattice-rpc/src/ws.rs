//! The WebSocket door: the same calls as by HTTP, and subscriptions to new heads and logs.

use crate::{
    api::Api,
    error::{METHOD_NOT_FOUND, RpcError, clip},
    eth::logs,
    jsonrpc::{Answer, Call, method_not_found},
    params::Params,
    server::ANSWER_BYTES_MAX,
};
use alloy_consensus::Sealed;
use alloy_rpc_types_eth::{Filter, Header};
use jsonrpsee::{
    RpcModule,
    core::{
        SubscriptionResult,
        middleware::{Batch, BatchEntry, Notification, RpcServiceT},
        server::BatchResponseBuilder,
    },
    server::{IdProvider, MethodResponse, PendingSubscriptionSink, ResponsePayload, SubscriptionSink},
    types::{ErrorObjectOwned, Id, Request, SubscriptionId},
};
use lattice_types::EvmBlock;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::broadcast::error::RecvError;
use tower::Layer;

/// Numbers subscriptions; clients see hex text, as geth gives.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionIds(AtomicU64);

impl IdProvider for SubscriptionIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let next = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{next:#x}").into())
    }
}

/// Sends calls to the table of methods, and subscriptions to jsonrpsee.
#[derive(Clone)]
pub(crate) struct WsDoor {
    api: Arc<Api>,
}

impl WsDoor {
    pub(crate) const fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

impl<S> Layer<S> for WsDoor {
    type Service = WsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WsService { api: self.api.clone(), inner }
    }
}

/// See [`WsDoor`].
#[derive(Clone)]
pub(crate) struct WsService<S> {
    api: Arc<Api>,
    inner: S,
}

fn is_subscription(method: &str) -> bool {
    matches!(method, "eth_subscribe" | "eth_unsubscribe")
}

fn into_call(api: &Api, request: &Request<'_>) -> Call {
    let method = request.method_name();
    Call {
        id: None,
        entry: api.entry(method).ok_or_else(|| method_not_found(method)),
        params: request.params.as_ref().map(|params| RawValue::to_owned(params)),
    }
}

fn response(id: Id<'_>, answer: Answer) -> MethodResponse {
    match answer {
        Ok(result) => MethodResponse::response(id, ResponsePayload::success(result), usize::MAX),
        Err(error) => MethodResponse::error(id, error_object(error)),
    }
}

fn error_object(error: RpcError) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(error.code, error.message, error.data)
}

impl<S> WsService<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    async fn one(self, request: Request<'_>) -> MethodResponse {
        if is_subscription(request.method_name()) {
            return self.inner.call(request).await;
        }
        let call = into_call(&self.api, &request);
        let (_, answer) = self.api.run_one(call).await;
        response(request.id, answer)
    }

    /// The answers to a batch, one by one when it subscribes to something.
    async fn all(self, batch: Batch<'_>) -> Vec<MethodResponse> {
        let entries: Vec<_> = batch.into_iter().collect();
        let plain = entries.iter().flatten().all(|entry| !is_subscription(entry.method_name()));
        let mut responses = Vec::with_capacity(entries.len());
        if plain {
            let mut ids = Vec::with_capacity(entries.len());
            let mut calls = Vec::with_capacity(entries.len());
            for entry in entries {
                match entry {
                    Ok(BatchEntry::Call(request)) => {
                        calls.push(into_call(&self.api, &request));
                        ids.push(request.id);
                    }
                    Ok(BatchEntry::Notification(_)) => {}
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        let refused = RpcError::new(error.code(), error.message());
                        calls.push(Call { id: None, entry: Err(refused), params: None });
                        ids.push(id);
                    }
                }
            }
            let answers = self.api.run_batch(calls).await;
            responses.extend(ids.into_iter().zip(answers).map(|(id, (_, answer))| response(id, answer)));
            return responses;
        }
        for entry in entries {
            match entry {
                Ok(BatchEntry::Call(request)) => responses.push(self.clone().one(request).await),
                Ok(BatchEntry::Notification(_)) => {}
                Err(error) => {
                    let (error, id) = error.into_parts();
                    responses.push(MethodResponse::error(id, error));
                }
            }
        }
        responses
    }
}

impl<S> RpcServiceT for WsService<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().one(request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let mut out = BatchResponseBuilder::new_with_limit(ANSWER_BYTES_MAX as usize);
            let (mut any, silent) = (false, !batch.is_empty());
            for response in this.all(batch).await {
                any = true;
                if let Err(too_large) = out.append(response) {
                    return too_large;
                }
            }
            // A batch of notifications is not answered; an empty batch is an invalid request.
            if silent && !any { MethodResponse::notification() } else { MethodResponse::from_batch(out.finish()) }
        }
    }

    /// Nobody waits for a notification's result and no method is worth calling without it: they are not run.
    fn notification<'a>(&self, _: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }
}

/// What is subscribed to.
enum Topic {
    Heads,
    Logs(Box<Filter>),
}

/// The methods `eth_subscribe` and `eth_unsubscribe`.
pub(crate) fn subscriptions(api: Arc<Api>) -> RpcModule<Api> {
    let mut module = RpcModule::from_arc(api);
    module
        .register_subscription(
            "eth_subscribe",
            "eth_subscription",
            "eth_unsubscribe",
            |params, pending, api, _| async move {
                match read_topic(params.as_str()) {
                    Ok(topic) => follow(&api, topic, pending).await,
                    Err(error) => {
                        pending.reject(error_object(error)).await;
                        Ok(())
                    }
                }
            },
        )
        .expect("the names are registered once");
    module
}

fn read_topic(params: Option<&str>) -> Result<Topic, RpcError> {
    let raw = params.map(|text| RawValue::from_string(text.into())).transpose();
    let raw = raw.map_err(|error| RpcError::params(error.to_string()))?;
    let mut params = Params::parse(raw.as_deref(), 2)?;
    let name: String = params.required("subscription")?;
    match name.as_str() {
        "newHeads" => Ok(Topic::Heads),
        "logs" => Ok(Topic::Logs(Box::new(params.optional("filter")?.unwrap_or_default()))),
        other => {
            let message = format!("no \"{}\" subscription: there are newHeads and logs", clip(other, 80));
            Err(RpcError::new(METHOD_NOT_FOUND, message))
        }
    }
}

/// Reports new blocks until the client leaves or falls too far behind.
async fn follow(api: &Api, topic: Topic, pending: PendingSubscriptionSink) -> SubscriptionResult {
    // Subscribed before the client is told: it misses no head after the answer.
    let mut heads = api.subscribe_heads();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        let head = tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => head,
        };
        match head {
            Ok(head) => {
                if !report(api, &topic, &sink, &head).await? {
                    return Ok(());
                }
            }
            Err(RecvError::Lagged(missed)) => {
                return Err(format!("the client is too slow: it missed {missed} blocks; subscribe again").into());
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Tells a subscriber of a block; false when it has left.
async fn report(
    api: &Api,
    topic: &Topic,
    sink: &SubscriptionSink,
    block: &EvmBlock,
) -> Result<bool, serde_json::Error> {
    let facts = api.facts.of(block);
    let messages = match topic {
        Topic::Heads => {
            let sealed = Sealed::new_unchecked(block.header.clone(), facts.hash);
            vec![to_raw_value(&Header::from_consensus(sealed, None, None))?]
        }
        Topic::Logs(filter) => {
            let found = logs::of_block(block, &facts, filter);
            found.iter().map(to_raw_value).collect::<Result<_, _>>()?
        }
    };
    for message in messages {
        if sink.send(message).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
