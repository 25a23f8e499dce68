//! A blocking JSON-RPC 2.0 client over HTTP, as much as the commands need.

use crate::failure::Failure;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use ureq::http::Uri;

/// Where a node is looked for when nothing names another place.
pub const RPC_URL_DEFAULT: &str = "http://127.0.0.1:8545";
/// The environment variables that name a node, in the order they are asked.
const RPC_URL_VARIABLES: [&str; 2] = ["LATTICE_RPC_URL", "ETH_RPC_URL"];
/// A node that takes longer for one answer is taken for dead.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("{url:?} is no usable RPC URL: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("no node answers at {url}: {reason}")]
    Unreachable {
        /// The node's URL.
        url: String,
        /// The system's words.
        reason: String,
    },
    /// Something answers, but not JSON-RPC.
    #[error("{url} does not answer in JSON-RPC to {method}: {reason}")]
    NotRpc {
        /// The node's URL.
        url: String,
        /// The method called.
        method: String,
        /// What came instead.
        reason: String,
    },
    /// The node refused the call.
    #[error("{method}: {message} (code {code})")]
    Refused {
        /// The method called.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// The node's message.
        message: String,
        /// The error's data, such as revert bytes.
        data: Option<Value>,
    },
}

impl ClientError {
    /// Whether the node does not know the method.
    pub const fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused { code: -32601, .. })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let next = match &error {
            ClientError::Url { .. } => Some(format!("give one like {RPC_URL_DEFAULT}")),
            ClientError::Unreachable { .. } => {
                Some("start a node with `lattice dev`, or name another with --rpc-url or LATTICE_RPC_URL".into())
            }
            ClientError::NotRpc { .. } => Some("check that --rpc-url names a node's RPC port".into()),
            ClientError::Refused { code: -32601, .. } => {
                Some("this command needs a Lattice node; check which node --rpc-url names".into())
            }
            ClientError::Refused { .. } => None,
        };
        let facts = match &error {
            ClientError::Refused { code, data, .. } => Some(json!({ "code": code, "data": data })),
            _ => None,
        };
        let mut failure = Self::new(error.to_string());
        if let Some(next) = next {
            failure = failure.next(next);
        }
        if let Some(facts) = facts {
            failure = failure.facts(facts);
        }
        failure
    }
}

/// One answer of a batch.
#[derive(Deserialize)]
struct BatchAnswer<T> {
    id: u64,
    result: Option<T>,
    error: Option<Value>,
}

/// The error that an error object stands for.
fn refusal(method: &str, error: &Value) -> ClientError {
    ClientError::Refused {
        method: method.to_owned(),
        code: error["code"].as_i64().unwrap_or_default(),
        message: error["message"].as_str().unwrap_or("the node gave no message").to_owned(),
        data: error.get("data").filter(|data| !data.is_null()).cloned(),
    }
}

/// The beginning of an answer, for messages.
fn head(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(120).collect()
}

/// A connection to one node.
#[derive(Debug)]
pub struct Client {
    url: String,
    agent: ureq::Agent,
    id: AtomicU64,
}

impl Client {
    /// The node that the flag names, else the environment, else the default. Nothing is sent yet.
    pub fn choose(flag: Option<&str>) -> Result<Self, ClientError> {
        let from_env = || {
            RPC_URL_VARIABLES.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.trim().is_empty())
        };
        let url = flag.map(str::to_owned).or_else(from_env).unwrap_or_else(|| RPC_URL_DEFAULT.to_owned());
        Self::new(&url)
    }

    /// A client of the node at `url`; a bare `host:port` means http.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::Url { url: url.to_owned(), reason: reason.to_owned() };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed: Uri = full.parse().map_err(|error| invalid(&format!("{error}")))?;
        match parsed.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(invalid("this build speaks plain http only; use a local tunnel or proxy")),
            Some("ws" | "wss") => return Err(invalid("commands use the node's http URL, on the same port")),
            _ => return Err(invalid("it must begin with http://")),
        }
        let host = parsed.host().ok_or_else(|| invalid("it names no host"))?;
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT))
            .user_agent(concat!("lattice/", env!("CARGO_PKG_VERSION")));
        if is_loopback(host) {
            // A proxy from the environment can never reach this machine's own node.
            config = config.proxy(None);
        }
        Ok(Self { url: full, agent: config.build().new_agent(), id: AtomicU64::new(1) })
    }

    /// The node's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method; `params` is the array of its parameters.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let id = self.id.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.post(method, request.to_string().into_bytes())?;
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| self.not_rpc(method, format!("{error}; it begins {:?}", head(&answer))))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(refusal(method, error));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.not_rpc(method, "the answer has neither result nor error".into())),
        }
    }

    /// Calls a method once for each of `params`, in one batch; the results come in the same order.
    pub fn batch(&self, method: &str, params: &[Value]) -> Result<Vec<Value>, ClientError> {
        self.batch_of(method, params)
    }

    /// [`Client::batch`] with results of a known form.
    pub fn batch_of<T: DeserializeOwned>(&self, method: &str, params: &[Value]) -> Result<Vec<T>, ClientError> {
        let request = |(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let body = Value::Array(params.iter().enumerate().map(request).collect()).to_string();
        let mut answers: Vec<BatchAnswer<T>> = self.exchange(method, &body)?;
        // A server may answer a batch in any order.
        answers.sort_by_key(|answer| answer.id);
        let ids = answers.iter().map(|answer| answer.id).eq(0..params.len() as u64);
        if !ids {
            let reason = format!("{} answers to a batch of {} calls", answers.len(), params.len());
            return Err(self.not_rpc(method, reason));
        }
        let result = |answer: BatchAnswer<T>| match (answer.error, answer.result) {
            (Some(error), _) => Err(refusal(method, &error)),
            (None, Some(result)) => Ok(result),
            (None, None) => {
                serde_json::from_value(Value::Null).map_err(|error| self.not_rpc(method, error.to_string()))
            }
        };
        answers.into_iter().map(result).collect()
    }

    /// Sends a batch that is written already; gives the answers as they come.
    pub fn exchange<T: DeserializeOwned>(&self, method: &str, body: &str) -> Result<Vec<T>, ClientError> {
        let answer = self.post(method, body.as_bytes().to_vec())?;
        let Ok(answers) = serde_json::from_slice(&answer) else {
            // The whole batch may be refused by one error object.
            let refused: Option<Value> = serde_json::from_slice(&answer).ok();
            return Err(match refused.as_ref().and_then(|answer| answer.get("error")) {
                Some(error) => refusal(method, error),
                None => self.not_rpc(method, format!("it begins {:?}", head(&answer))),
            });
        };
        Ok(answers)
    }

    fn not_rpc(&self, method: &str, reason: String) -> ClientError {
        ClientError::NotRpc { url: self.url.clone(), method: method.to_owned(), reason }
    }

    fn post(&self, method: &str, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let unreachable =
            |error: ureq::Error| ClientError::Unreachable { url: self.url.clone(), reason: error.to_string() };
        let mut response =
            self.agent.post(&self.url).content_type("application/json").send(&body[..]).map_err(unreachable)?;
        let status = response.status();
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(unreachable)?;
        // Some nodes send JSON-RPC errors with other statuses; only an answer that is no JSON is the server's fault.
        if !status.is_success() && serde_json::from_slice::<Value>(&bytes).is_err() {
            let (url, method) = (self.url.clone(), method.to_owned());
            return Err(ClientError::NotRpc { url, method, reason: format!("HTTP status {status}") });
        }
        Ok(bytes)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reads a JSON-RPC quantity ("0x1a") of at most 64 bits.
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Reads a JSON-RPC quantity of at most 128 bits.
pub fn quantity_u128(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Reads any JSON value of a known form; the error names the method that gave it.
pub fn decode<T: DeserializeOwned>(method: &str, value: Value) -> Result<T, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::new(format!("{method} gave an answer of another form: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    /// Serves one HTTP answer and hands back what was asked.
    fn serve_once(status: &'static str, body: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut buf = [0; 4096];
            while !String::from_utf8_lossy(&seen).contains("\"params\"") {
                let n = stream.read(&mut buf).unwrap();
                assert!(n > 0, "the request ended early");
                seen.extend_from_slice(&buf[..n]);
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
            String::from_utf8(seen).unwrap()
        });
        (url, server)
    }

    #[test]
    fn a_call_carries_its_method_and_gives_its_result() {
        let (url, server) = serve_once("200 OK", r#"{"jsonrpc":"2.0","id":1,"result":"0x7a69"}"#);
        let result = Client::new(&url).unwrap().call("eth_chainId", json!([])).unwrap();
        assert_eq!(quantity(&result), Some(31337));
        assert!(server.join().unwrap().contains(r#""method":"eth_chainId""#));
    }

    #[test]
    fn a_refusal_keeps_code_message_and_data() {
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"execution reverted","data":"0x08c3"}}"#;
        let (url, server) = serve_once("200 OK", body);
        match Client::new(&url).unwrap().call("eth_call", json!([])) {
            Err(ClientError::Refused { code: 3, message, data: Some(data), .. }) => {
                assert_eq!((message.as_str(), data), ("execution reverted", json!("0x08c3")));
            }
            other => panic!("{other:?}"),
        }
        server.join().unwrap();
    }

    #[test]
    fn a_web_server_is_not_taken_for_a_node() {
        for (status, body) in [("404 Not Found", "<html>"), ("200 OK", "<html>"), ("200 OK", "{}")] {
            let (url, server) = serve_once(status, body);
            let error = Client::new(&url).unwrap().call("eth_chainId", json!([])).unwrap_err();
            assert!(matches!(error, ClientError::NotRpc { .. }), "{status} {body}: {error:?}");
            server.join().unwrap();
        }
    }

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        assert_eq!(Client::new("127.0.0.1:9000").unwrap().url(), "http://127.0.0.1:9000");
        for bad in ["ws://127.0.0.1:8545", "https://node.example", "ftp://x", "http://", "http://a b"] {
            assert!(matches!(Client::new(bad), Err(ClientError::Url { .. })), "{bad}");
        }
        assert!(is_loopback("localhost") && is_loopback("[::1]") && !is_loopback("10.0.0.1"));
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity(&json!("0x0")), Some(0));
        assert_eq!(quantity(&json!("0xffffffffffffffff")), Some(u64::MAX));
        for bad in [json!("12"), json!(12), json!("0x"), json!("0x10000000000000000"), json!(null)] {
            assert_eq!(quantity(&bad), None, "{bad}");
        }
    }
}
