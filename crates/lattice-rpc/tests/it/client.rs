//! HTTP and WebSocket by hand: the tests see the very bytes that clients see.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for an answer: only a hanging server comes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP response.
pub struct Response {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: String,
}

pub struct Client {
    address: SocketAddr,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Sends one HTTP request with the given extra headers.
    pub fn http(&self, method: &str, headers: &[&str], body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!(
            "{method} / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a body may close before it has taken all of it.
        let _refused = stream.write_all(body);
        read_response(&mut BufReader::new(stream))
    }

    /// Posts a body and returns the status and the answer.
    pub fn post(&self, body: &str) -> (u16, Value) {
        let response = self.http("POST", &["content-type: application/json"], body.as_bytes());
        let answer = if response.body.is_empty() { Value::Null } else { serde_json::from_str(&response.body).unwrap() };
        (response.status, answer)
    }

    /// Calls a method: its result, or its error object.
    pub fn try_call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let (status, mut answer) = self.post(&request(method, params).to_string());
        assert_eq!(status, 200);
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!(answer["id"], 1);
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method that must succeed.
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a transaction that must be admitted.
    pub fn send(&self, tx: &lattice_types::TxEnvelope) -> String {
        let hash = self.call("eth_sendRawTransaction", json!([crate::node::raw(tx)]));
        assert_eq!(hash, tx.hash().to_string());
        tx.hash().to_string()
    }

    /// Waits for a transaction's receipt.
    pub fn receipt(&self, hash: &str) -> Value {
        for _ in 0..3_000 {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash]));
            if !receipt.is_null() {
                return receipt;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no receipt of {hash}");
    }

    pub fn websocket(&self) -> WebSocket {
        WebSocket::connect(self.address)
    }
}

pub fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn read_response(stream: &mut impl BufRead) -> Response {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let length =
        lines.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Response { status, headers: lines, body: String::from_utf8(body).unwrap() }
}

/// A WebSocket client (RFC 6455) that speaks text.
pub struct WebSocket {
    stream: BufReader<TcpStream>,
}

impl WebSocket {
    fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(
                b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut stream = BufReader::new(stream);
        assert_eq!(read_response(&mut stream).status, 101);
        Self { stream }
    }

    pub fn send(&mut self, text: &str) {
        let length = text.len();
        // FIN and text; the mask is zero, so the payload stays as it is.
        let mut frame = vec![0x81];
        if length < 126 {
            frame.push(0x80 | length as u8);
        } else {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    /// The next text message.
    pub fn receive(&mut self) -> Value {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).unwrap();
            let length = match head[1] & 0x7f {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length).unwrap();
                    u64::from(u16::from_be_bytes(length))
                }
                127 => {
                    let mut length = [0; 8];
                    self.stream.read_exact(&mut length).unwrap();
                    u64::from_be_bytes(length)
                }
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).unwrap();
            if head[0] & 0x0f == 1 {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// Calls a method and returns its whole answer. Nothing else may arrive in between.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(&request(method, params).to_string());
        let answer = self.receive();
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }
}
