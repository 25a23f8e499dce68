//! Sending, waiting and reading receipts, by the clock.

use super::{
    target::Target,
    work::{Sent, Work},
};
use crate::{
    client::{Client, quantity},
    failure::Failure,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Time between two questions for the senders' nonces.
const POLL: Duration = Duration::from_millis(10);
/// Time between two questions for what waits, while the bound on that is reached.
const ROOM_POLL: Duration = Duration::from_millis(1);
/// Connections that read receipts.
const READERS_MAX: usize = 4;

/// What the clock and the receipts say.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    /// From the first byte sent to the last answer, seconds.
    pub submit_s: f64,
    /// From the first byte sent until everything was mined, seconds.
    pub mined_s: f64,
    /// Mined transactions a second of `mined_s`.
    pub mined_tps: f64,
    /// Blocks that were made meanwhile.
    pub blocks: u64,
    /// Gas that a transaction used, mean of those that succeeded.
    pub gas_per_tx: f64,
    /// Reading every receipt by `eth_getTransactionReceipt`, seconds.
    pub receipts_s: f64,
    /// Transactions refused, not mined in time, or reverted.
    pub errors: u64,
    /// What the first of them was told.
    pub first_error: Option<String>,
}

/// One run.
pub struct Load<'a> {
    target: &'a Target,
    work: &'a Work,
    batch: usize,
    connections: usize,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptStatus {
    status: String,
    gas_used: Value,
}

/// What the receipts say: how many succeeded, the gas of those, and what is wrong with the first other.
#[derive(Default)]
struct Receipts {
    succeeded: usize,
    gas: u64,
    first_failed: Option<String>,
}

/// Keeps what waits at the node within a bound.
struct Room<'a> {
    client: &'a Client,
    max: usize,
    deadline: Instant,
    /// On their way to the node.
    promised: AtomicUsize,
    /// One connection asks at a time.
    turn: Mutex<()>,
}

impl Room<'_> {
    /// Waits until `count` more may be sent.
    fn take(&self, count: usize) -> Result<(), Failure> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let promised = self.promised.load(Ordering::SeqCst);
            let status = self.client.call("txpool_status", json!([]))?;
            let waiting: u64 = ["pending", "queued"].iter().filter_map(|field| quantity(&status[field])).sum();
            let busy = waiting as usize + promised;
            if busy == 0 || busy + count <= self.max {
                self.promised.fetch_add(count, Ordering::SeqCst);
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                return Err(Failure::new(format!("{waiting} transactions wait at the node and are not mined"))
                    .next("look at the node's log, or give it more time with --timeout"));
            }
            std::thread::sleep(ROOM_POLL);
        }
    }
}

impl<'a> Load<'a> {
    /// A run of `work` in batches of `batch` calls over `connections` connections.
    pub fn new(target: &'a Target, work: &'a Work, batch: u32, connections: u32, timeout: Duration) -> Self {
        let connections = connections as usize;
        // With a bound, every connection gets its part of it.
        let batch = work.in_flight.map_or(usize::MAX, |max| (max / connections).max(1)).min(batch as usize);
        Self { target, work, batch, connections, timeout }
    }

    /// Sends everything, waits until it is mined and reads all receipts. Gives what was measured, and the node's CPU
    /// time while the clock ran.
    ///
    /// # Errors
    /// When the node stops answering. What it refuses is counted instead.
    pub fn run(&mut self) -> Result<(Measured, Option<Duration>), Failure> {
        let client = self.target.client();
        let bodies = self.bodies();
        let first_block = block_number(client)?;
        let cpu_before = self.target.cpu_time();
        let start = Instant::now();
        let refused = self.submit(&bodies, start + self.timeout)?;
        let submitted = start.elapsed();
        let missing = if refused.0 == 0 { self.wait(start)? } else { 0 };
        let mined = start.elapsed();
        let cpu = self.target.cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let blocks = block_number(client)?.saturating_sub(first_block);
        let start = Instant::now();
        let Receipts { succeeded, gas, first_failed } = self.read_receipts()?;
        let total: usize = self.work.senders.iter().map(|sent| sent.raw.len()).sum();
        let late = || format!("{missing} transactions were not mined after {} s", self.timeout.as_secs());
        let first_error = refused.1.or_else(|| (missing > 0).then(late)).or(first_failed);
        let measured = Measured {
            submit_s: seconds(submitted),
            mined_s: seconds(mined),
            mined_tps: (succeeded as f64 / mined.as_secs_f64() * 10.0).round() / 10.0,
            blocks,
            gas_per_tx: (gas as f64 / succeeded.max(1) as f64).round(),
            receipts_s: seconds(start.elapsed()),
            errors: (total - succeeded) as u64,
            first_error,
        };
        Ok((measured, cpu))
    }

    /// The requests of each connection. A sender's transactions keep their order: they share a connection.
    fn bodies(&self) -> Vec<Vec<String>> {
        let mut lanes: Vec<Vec<&String>> = vec![Vec::new(); self.connections];
        let longest = self.work.senders.iter().map(|sent| sent.raw.len()).max().unwrap_or(0);
        for nonce in 0..longest {
            for (number, sent) in self.work.senders.iter().enumerate() {
                lanes[number % self.connections].extend(sent.raw.get(nonce));
            }
        }
        let bodies = |lane: Vec<&String>| lane.chunks(self.batch).map(body).collect();
        lanes.into_iter().map(bodies).collect()
    }

    /// Sends everything; gives how many transactions were refused, and the first reason.
    fn submit(&self, bodies: &[Vec<String>], deadline: Instant) -> Result<(usize, Option<String>), Failure> {
        let room = self.work.in_flight.map(|max| Room {
            client: self.target.client(),
            max,
            deadline,
            promised: AtomicUsize::new(0),
            turn: Mutex::new(()),
        });
        let lane = |bodies: &[String]| -> Result<(usize, Option<String>), Failure> {
            let client = Client::new(self.target.client().url())?;
            let (mut refused, mut first) = (0, None);
            for body in bodies {
                room.as_ref().map_or(Ok(()), |room| room.take(self.batch))?;
                let answers: Vec<Answer> = client.exchange("eth_sendRawTransaction", body)?;
                if let Some(room) = &room {
                    room.promised.fetch_sub(self.batch, Ordering::SeqCst);
                }
                for error in answers.into_iter().filter_map(|answer| answer.error) {
                    refused += 1;
                    first.get_or_insert_with(|| error["message"].as_str().map_or(error.to_string(), str::to_owned));
                }
            }
            Ok((refused, first))
        };
        let lanes = std::thread::scope(|scope| {
            let handles: Vec<_> =
                bodies.iter().filter(|lane| !lane.is_empty()).map(|bodies| scope.spawn(|| lane(bodies))).collect();
            handles.into_iter().map(|handle| handle.join().expect("sending does not panic")).collect::<Vec<_>>()
        });
        let mut all = (0, None);
        for lane in lanes {
            let (refused, first) = lane?;
            all = (all.0 + refused, all.1.or(first));
        }
        Ok(all)
    }

    /// Asks for the nonces until every sender's last transaction is mined; gives how many are missing at the end.
    ///
    /// # Errors
    /// When the node stops answering.
    pub fn wait(&self, start: Instant) -> Result<usize, Failure> {
        let client = self.target.client();
        let mut left: Vec<&Sent> = self.work.senders.iter().collect();
        loop {
            let mut missing = 0;
            for part in std::mem::take(&mut left).chunks(self.batch) {
                let params: Vec<Value> = part.iter().map(|sent| json!([sent.address, "latest"])).collect();
                let nonces = client.batch("eth_getTransactionCount", &params)?;
                for (sent, nonce) in part.iter().zip(&nonces) {
                    let behind = sent.nonce_after.saturating_sub(quantity(nonce).unwrap_or(0));
                    let behind = sent.raw.len().min(behind as usize);
                    missing += behind;
                    left.extend((behind > 0).then_some(*sent));
                }
            }
            if missing == 0 || start.elapsed() >= self.timeout {
                return Ok(missing);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Reads the receipt of every transaction.
    fn read_receipts(&self) -> Result<Receipts, Failure> {
        let hashes: Vec<_> = self.work.senders.iter().flat_map(|sent| &sent.hashes).collect();
        let parts: Vec<_> = hashes.chunks(self.batch).collect();
        let next = AtomicUsize::new(0);
        let reader = || -> Result<Receipts, Failure> {
            let client = Client::new(self.target.client().url())?;
            let mut found = Receipts::default();
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let params: Vec<Value> = part.iter().map(|hash| json!([hash])).collect();
                let receipts: Vec<Option<ReceiptStatus>> = client.batch_of("eth_getTransactionReceipt", &params)?;
                for (hash, receipt) in part.iter().zip(receipts) {
                    let wrong = match receipt {
                        Some(receipt) if receipt.status == "0x1" => {
                            found.succeeded += 1;
                            found.gas += quantity(&receipt.gas_used).unwrap_or(0);
                            continue;
                        }
                        Some(_) => "reverted",
                        None => "has no receipt",
                    };
                    found.first_failed.get_or_insert_with(|| format!("transaction {hash} {wrong}"));
                }
            }
            Ok(found)
        };
        let readers = self.connections.min(READERS_MAX);
        let found = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..readers).map(|_| scope.spawn(reader)).collect();
            handles.into_iter().map(|handle| handle.join().expect("reading does not panic")).collect::<Vec<_>>()
        });
        let mut all = Receipts::default();
        for part in found {
            let part = part?;
            all.succeeded += part.succeeded;
            all.gas += part.gas;
            all.first_failed = all.first_failed.or(part.first_failed);
        }
        Ok(all)
    }
}

/// A batch of `eth_sendRawTransaction`.
fn body(raw: &[&String]) -> String {
    let mut body = String::with_capacity(raw.iter().map(|raw| raw.len() + 80).sum());
    for (id, raw) in raw.iter().enumerate() {
        body.push(if id == 0 { '[' } else { ',' });
        let written =
            write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["{raw}"]}}"#);
        written.expect("writing to a text does not fail");
    }
    body.push(']');
    body
}

fn block_number(client: &Client) -> Result<u64, Failure> {
    let value = client.call("eth_blockNumber", json!([]))?;
    quantity(&value).ok_or_else(|| Failure::new(format!("eth_blockNumber answered {value}")))
}

/// Rounded to a millisecond.
pub fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_batch_is_json() {
        let (one, two) = ("0x01".to_owned(), "0x02".to_owned());
        let batch: Value = serde_json::from_str(&body(&[&one, &two])).unwrap();
        assert_eq!(batch[1]["params"], json!(["0x02"]));
        assert_eq!((batch[0]["id"].as_u64(), batch.as_array().unwrap().len()), (Some(0), 2));
    }
}
