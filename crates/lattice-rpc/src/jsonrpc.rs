//! The form of JSON-RPC 2.0: requests in, answers out, for one call or a batch.

use crate::{
    api::{Api, Entry},
    error::{INVALID_REQUEST, METHOD_NOT_FOUND, PARSE, RpcError, clip},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Calls in one batch.
pub(crate) const BATCH_MAX: usize = 1_000;
/// Bytes of one batch's answer: what follows is refused, call by call.
const BATCH_ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a method answers: JSON, or an error.
pub(crate) type Answer = Result<Box<RawValue>, RpcError>;

/// Serialises a result.
pub(crate) fn reply<T: serde::Serialize>(value: &T) -> Answer {
    serde_json::value::to_raw_value(value).map_err(RpcError::internal)
}

/// One call, ready to run.
pub(crate) struct Call {
    /// The id as given; `None` for a notification, which gets no answer.
    pub id: Option<Box<RawValue>>,
    /// What to run, or why nothing can be run.
    pub entry: Result<Entry, RpcError>,
    /// Parameters, unread.
    pub params: Option<Box<RawValue>>,
}

impl Call {
    fn refused(id: Option<Box<RawValue>>, error: RpcError) -> Self {
        // An invalid request is answered even when its id cannot be found.
        Self { id: Some(id.unwrap_or_else(|| RawValue::NULL.to_owned())), entry: Err(error), params: None }
    }
}

/// What one message asks for.
pub(crate) enum Message {
    /// One call.
    Single(Call),
    /// Several, to be answered in order.
    Batch(Vec<Call>),
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default, borrow)]
    jsonrpc: Option<&'a RawValue>,
    /// `null` is an id; only an absent id makes a notification.
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn id_is_valid(id: &RawValue) -> bool {
    !id.get().starts_with(['{', '[', 't', 'f'])
}

/// Reads a message; the error answers the whole of it.
pub(crate) fn parse(api: &Api, body: &[u8]) -> Result<Message, RpcError> {
    let text = std::str::from_utf8(body).map_err(parse_error)?;
    if !text.trim_ascii_start().starts_with('[') {
        let call = parse_call(api, text).or_else(|invalid| well_formed(text).map(|()| refuse(text, invalid)))?;
        return Ok(Message::Single(call));
    }
    let Items(items) = serde_json::from_str(text).map_err(parse_error)?;
    match items.len() {
        0 => Err(RpcError::new(INVALID_REQUEST, "empty batch: a batch has 1 to 1000 calls")),
        1..=BATCH_MAX => {
            let call =
                |item: &RawValue| parse_call(api, item.get()).unwrap_or_else(|invalid| refuse(item.get(), invalid));
            Ok(Message::Batch(items.into_iter().map(call).collect()))
        }
        _ => Err(RpcError::new(INVALID_REQUEST, format!("batch too large: at most {BATCH_MAX} calls"))),
    }
}

fn parse_error(error: impl fmt::Display) -> RpcError {
    RpcError::new(PARSE, format!("parse error: {error}"))
}

fn well_formed(text: &str) -> Result<(), RpcError> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(parse_error)
}

/// The answer to well-formed JSON that is no request: with its id, when it has one.
fn refuse(text: &str, invalid: serde_json::Error) -> Call {
    let id = serde_json::from_str::<OnlyId<'_>>(text).ok().map(|found| found.id).filter(|id| id_is_valid(id));
    Call::refused(
        id.map(ToOwned::to_owned),
        RpcError::new(INVALID_REQUEST, format!("invalid request: {}", clip(&invalid.to_string(), 200))),
    )
}

/// Reads one call; the error says that it is no request, or no JSON.
fn parse_call(api: &Api, text: &str) -> Result<Call, serde_json::Error> {
    let request: Request<'_> = serde_json::from_str(text)?;
    if let Some(id) = request.id
        && !id_is_valid(id)
    {
        let error = RpcError::new(INVALID_REQUEST, "invalid request: id must be a number, a text or null");
        return Ok(Call::refused(None, error));
    }
    let id = request.id.map(ToOwned::to_owned);
    if request.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Ok(Call::refused(id, RpcError::new(INVALID_REQUEST, "invalid request: jsonrpc must be \"2.0\"")));
    }
    let entry = api.entry(&request.method).ok_or_else(|| method_not_found(&request.method));
    Ok(Call { id, entry, params: request.params.map(ToOwned::to_owned) })
}

/// The error for a method that is not served here.
pub(crate) fn method_not_found(name: &str) -> RpcError {
    let shown = clip(name, 80);
    let message = match name {
        "eth_subscribe" | "eth_unsubscribe" => "notifications not supported over HTTP: connect by WebSocket".into(),
        "eth_sendTransaction" | "eth_sign" | "eth_signTransaction" | "personal_sign" => format!(
            "the method {shown} is not available: this node holds no keys; sign on your side and use eth_sendRawTransaction"
        ),
        _ => format!("the method {shown} does not exist/is not available"),
    };
    RpcError::new(METHOD_NOT_FOUND, message)
}

/// The items of an array, at most one more than a batch may have.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a batch")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() <= BATCH_MAX {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items(items)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(Collect)
    }
}

/// Writes one answer.
pub(crate) fn write_answer(out: &mut String, id: &RawValue, answer: &Answer) {
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id.get());
    match answer {
        Ok(result) => {
            out.push_str(r#","result":"#);
            out.push_str(result.get());
        }
        Err(error) => {
            out.push_str(r#","error":"#);
            out.push_str(&serde_json::to_string(error).expect("an error object is text and numbers"));
        }
    }
    out.push('}');
}

/// The answer to a message that could not be read.
pub(crate) fn write_failure(error: RpcError) -> String {
    let mut out = String::new();
    write_answer(&mut out, RawValue::NULL, &Err(error));
    out
}

/// Writes the answers of a batch, in order; `None` when all calls were notifications.
pub(crate) fn write_batch(answers: Vec<(Option<Box<RawValue>>, Answer)>) -> Option<String> {
    let mut out = String::from("[");
    for (id, answer) in answers {
        let Some(id) = id else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        let size = answer.as_ref().map_or(0, |result| result.get().len());
        if out.len() + size > BATCH_ANSWER_BYTES_MAX {
            let error = RpcError::limit("the batch's answer is too large: ask for less in one batch");
            write_answer(&mut out, &id, &Err(error));
        } else {
            write_answer(&mut out, &id, &answer);
        }
    }
    (out.len() > 1).then(|| out + "]")
}
