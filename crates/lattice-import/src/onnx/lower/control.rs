//! Control flow whose course is known at import: the frozen graph has none.

use super::{Entry, moves};
use crate::onnx::import::lower_subgraph;
use crate::onnx::node::NodeContext;
use lattice_inference::Value;
use lattice_inference::ops::OpResult;
use lattice_inference::{Data, Tensor};

pub(super) const TABLE: &[Entry] = &[moves("If", branch), moves("Loop", unroll)];

/// A condition known at import picks its branch; the other vanishes.
fn branch(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let condition = c.constant_number(c.input(0)?, "condition")?;
    let name = if condition != 0.0 { "then_branch" } else { "else_branch" };
    let graph = c.graph_attribute(name)?.clone();
    lower_subgraph(&graph, &[], c.builder, c.scope)
}

/// A trip count and conditions known at import: the body once for each turn, with what it stacks concatenated.
///
/// Body: (turn, condition, carried..) -> (condition, carried.., stacked..).
fn unroll(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let trips = c.optional(0).map(|trips| c.constant_number(trips, "trip count")).transpose()?;
    let condition = c.optional(1);
    let mut goes_on = condition.map_or(Ok(1.0), |value| c.constant_number(value, "condition"))? != 0.0;
    let mut carried = (2..c.inputs.len()).map(|at| c.input(at)).collect::<OpResult<Vec<_>>>()?;
    let body = c.graph_attribute("body")?.clone();
    let stacked = body.output.len().checked_sub(1 + carried.len());
    let (Some(stacked), true) = (stacked, body.input.len() == 2 + carried.len()) else {
        let (inputs, outputs) = (body.input.len(), body.output.len());
        return Err(format!("a body of {inputs} inputs and {outputs} outputs does not carry {} values", carried.len()));
    };
    let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); stacked];
    let mut turn = 0i64;
    while goes_on && trips.is_none_or(|trips| (turn as f64) < trips) {
        c.builder.take_turn(body.node.len())?;
        let number = Tensor::from_i64([], vec![turn]).map_err(|e| e.to_string())?;
        let flag = Tensor::new([], Data::Bool(vec![true])).map_err(|e| e.to_string())?;
        let mut inputs = vec![c.builder.constant("", number), c.builder.constant("", flag)];
        inputs.append(&mut carried);
        let mut results = lower_subgraph(&body, &inputs, c.builder, c.scope)?;
        for (stack, value) in stacks.iter_mut().zip(results.split_off(inputs.len() - 1)) {
            let mut shape = c.shape(value);
            shape.insert(0, 1);
            stack.push(c.reshape(value, &shape)?);
        }
        carried = results.split_off(1);
        // Without a condition to start with, those of the turns do not count either.
        if condition.is_some() {
            goes_on = c.constant_number(results[0], "condition")? != 0.0;
        }
        turn += 1;
    }
    for stack in &stacks {
        if stack.is_empty() {
            return Err("it makes no turn, so nothing says what shape its stacked outputs have".into());
        }
        carried.push(c.concat(0, stack)?);
    }
    Ok(carried)
}
