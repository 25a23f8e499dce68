//! `eth_sendRawTransaction`: decoding and recovery of senders in parallel, then the chain's queue, all of a run at once.

use crate::{
    api::Api,
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::Bytes;
use lattice_types::{RecoveredTx, decode_transaction, recover};
use rayon::prelude::*;
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Transactions that one thread takes at a time.
const RECOVER_CHUNK: usize = 8;

/// Collects the verdicts of a run; the last one completes it.
struct Verdicts {
    /// Answers so far and how many are still awaited.
    state: Mutex<(Vec<Answer>, usize)>,
    done: Mutex<Option<oneshot::Sender<Vec<Answer>>>>,
}

impl Verdicts {
    fn set(&self, index: usize, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0[index] = answer;
        state.1 -= 1;
        if state.1 == 0 {
            let answers = std::mem::take(&mut state.0);
            drop(state);
            if let Some(done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // The receiver is gone when the client hung up.
                drop(done.send(answers));
            }
        }
    }
}

/// Submits transactions in order; answers in the same order. Each is independent of the others' fate.
pub(crate) async fn send(api: Arc<Api>, params: Vec<Option<Box<RawValue>>>) -> Vec<Answer> {
    let count = params.len();
    let unanswered = || vec![Err(RpcError::internal("the node stopped before it looked at the transaction")); count];
    let (done, answers) = oneshot::channel();
    let verdicts = Arc::new(Verdicts { state: Mutex::new((unanswered(), count)), done: Mutex::new(Some(done)) });
    rayon::spawn(move || submit_all(&api, &params, &verdicts));
    // The channel closes unanswered when the chain drops its replies, which it does only when it stops.
    answers.await.unwrap_or_else(|_| unanswered())
}

fn submit_all(api: &Api, params: &[Option<Box<RawValue>>], verdicts: &Arc<Verdicts>) {
    let view = api.view();
    let spec = view.spec();
    let read = |params: &Option<Box<RawValue>>| -> Result<RecoveredTx, RpcError> {
        let bytes: Bytes = Params::parse(params.as_deref(), 1)?.required("transaction")?;
        let tx = decode_transaction(&bytes).and_then(|tx| recover(tx, spec));
        tx.map_err(|error| RpcError::server(error.to_string()))
    };
    let recovered: Vec<_> = params.par_iter().with_min_len(RECOVER_CHUNK).map(read).collect();
    for (index, tx) in recovered.into_iter().enumerate() {
        match tx {
            Err(error) => verdicts.set(index, Err(error)),
            Ok(tx) => {
                let verdicts = verdicts.clone();
                let answer = move |verdict: Result<_, lattice_chain::AdmissionError>| match verdict {
                    Ok(hash) => reply(&hash),
                    Err(error) => Err(error.into()),
                };
                api.backend().submit(tx, Box::new(move |verdict| verdicts.set(index, answer(verdict))));
            }
        }
    }
}
