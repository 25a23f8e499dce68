//! Recurrent layers, written out step by step: the sequence length is static.

use super::activation::hard_sigmoid;
use super::quantize::dynamically_quantized;
use super::quantized::product as integer_product;
use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use lattice_inference::Value;
use lattice_inference::ops::{OpResult, elementwise as ew, matmul};
use lattice_inference::{DType, Tensor};

pub(super) const TABLE: &[Entry] = &[
    computes("RNN", |c| real(c, Cell::Rnn)),
    computes("GRU", |c| real(c, Cell::Gru)),
    computes("LSTM", |c| real(c, Cell::Lstm)),
];

/// ONNX Runtime's LSTM with 8-bit weights: what multiplies them is quantised as it comes.
pub(super) const MICROSOFT: &[Entry] = &[computes("DynamicQuantizeLSTM", |c| {
    let weights = |c: &NodeContext<'_>, at: usize, scale: usize| -> OpResult<Weights> {
        Ok(Weights { stored: c.input(at)?, integers: Some((c.input(scale)?, c.optional(scale + 1))) })
    };
    let (w, r) = (weights(c, 1, 8)?, weights(c, 2, 10)?);
    recurrent(c, Cell::Lstm, w, r)
})];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Cell::Rnn => &["Tanh"],
            Cell::Gru => &["Sigmoid", "Tanh"],
            Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// A matrix of weights, [rows, gates * hidden], of each direction or of one.
#[derive(Clone, Copy)]
struct Weights {
    stored: Value,
    /// Scale and zero point of integers.
    integers: Option<(Value, Option<Value>)>,
}

impl Weights {
    /// The part of one direction.
    fn of(self, c: &mut NodeContext<'_>, d: usize) -> OpResult<Weights> {
        let stored = part(c, self.stored, d)?;
        let integers = match self.integers {
            Some((scale, zero)) => Some((part(c, scale, d)?, zero.map(|zero| part(c, zero, d)).transpose()?)),
            None => None,
        };
        Ok(Weights { stored, integers })
    }

    /// x times the matrix.
    fn product(self, c: &mut NodeContext<'_>, x: Value) -> OpResult<Value> {
        let Some((scale, zero)) = self.integers else { return c.binary(&matmul::MATMUL, x, self.stored) };
        let [quantized, own_scale, own_zero] = dynamically_quantized(c, x)?;
        let sum = integer_product(c, [(quantized, Some(own_zero)), (self.stored, zero)])?;
        let (real, factor) = (c.cast(sum, DType::F32)?, c.mul(own_scale, scale)?);
        c.mul(real, factor)
    }
}

/// Weights and settings of one direction.
struct Direction {
    /// Input weights: [input, gates * hidden].
    w: Weights,
    /// Recurrent weights: [hidden, gates * hidden].
    r: Weights,
    /// Biases of input and recurrence, each [gates * hidden].
    bias: Option<(Value, Value)>,
    peephole: Option<Value>,
    activations: Vec<String>,
    hidden: usize,
    linear_before_reset: bool,
}

/// Weights as the file has them, gates by rows.
fn real(c: &mut NodeContext<'_>, cell: Cell) -> OpResult<Vec<Value>> {
    let turned = |c: &mut NodeContext<'_>, at: usize| {
        let stored = c.input(at)?;
        if c.rank(stored) != 3 {
            return Err(format!("weights must have three dimensions, got {:?}", c.shape(stored)));
        }
        Ok(Weights { stored: c.transpose(stored, &[0, 2, 1])?, integers: None })
    };
    let (w, r) = (turned(c, 1)?, turned(c, 2)?);
    recurrent(c, cell, w, r)
}

fn recurrent(c: &mut NodeContext<'_>, cell: Cell, w: Weights, r: Weights) -> OpResult<Vec<Value>> {
    let mut x = c.input(0)?;
    if c.dtype(x) != DType::F32 {
        return Err(format!("it is supported for f32, not {}", c.dtype(x)));
    }
    let batch_first = c.flag("layout", false)?;
    if batch_first {
        x = c.transpose(x, &[1, 0, 2])?;
    }
    let (&[steps, batch, input], &[directions, w_input, gated]) = (&c.shape(x)[..], &c.shape(w.stored)[..]) else {
        return Err("operands must have three dimensions".into());
    };
    let hidden = gated / cell.gates();
    let names = c
        .texts("activations")?
        .unwrap_or_else(|| cell.activations().repeat(directions).iter().map(ToString::to_string).collect());
    let wanted = match c.text("direction", "forward")?.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => return Err(format!("direction '{other}' is not known")),
    };
    let per_direction = cell.activations().len();
    if directions != wanted
        || w_input != input
        || c.shape(r.stored) != [directions, hidden, gated]
        || names.len() != wanted * per_direction
    {
        return Err(format!(
            "weights {:?} and {:?} do not fit input {:?}",
            c.shape(w.stored),
            c.shape(r.stored),
            c.shape(x)
        ));
    }
    if c.has("clip") || c.has("activation_alpha") || c.has("activation_beta") || c.flag("input_forget", false)? {
        return Err("clip, activation_alpha, activation_beta and input_forget are not supported".into());
    }
    if let Some(lengths) = c.optional(4)
        && c.constant_ints(lengths, "sequence lengths")?.iter().any(|&l| l != steps as i64)
    {
        return Err("sequences shorter than the input are not supported".into());
    }
    if steps == 0 || steps > 4096 {
        return Err(format!("{steps} steps cannot be written out; 1 to 4096 can"));
    }
    let mut sequences = Vec::new();
    let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
    for d in 0..directions {
        let of_direction = (w.of(c, d)?, r.of(c, d)?);
        let weights = direction(c, cell, of_direction, d, &names[d * per_direction..][..per_direction])?;
        let backwards = d == 1 || c.text("direction", "forward")? == "reverse";
        let h = initial(c, 5, d, batch, hidden, batch_first)?;
        let memory = initial(c, 6, d, batch, hidden, batch_first)?;
        let (outputs, h, memory) = run(c, cell, &weights, x, (h, memory), backwards)?;
        let rows = outputs.iter().map(|&o| c.reshape(o, &[1, 1, batch, hidden])).collect::<OpResult<Vec<_>>>()?;
        sequences.push(c.concat(0, &rows)?);
        last_h.push(c.reshape(h, &[1, batch, hidden])?);
        last_c.push(c.reshape(memory, &[1, batch, hidden])?);
    }
    let y = c.concat(1, &sequences)?;
    let mut results = vec![y, c.concat(0, &last_h)?];
    if cell == Cell::Lstm {
        results.push(c.concat(0, &last_c)?);
    }
    if batch_first {
        results[0] = c.transpose(results[0], &[2, 0, 1, 3])?;
        for state in &mut results[1..] {
            *state = c.transpose(*state, &[1, 0, 2])?;
        }
    }
    Ok(results)
}

/// The part of a weight operand that belongs to one direction.
fn part(c: &mut NodeContext<'_>, v: Value, d: usize) -> OpResult<Value> {
    let one = c.narrow(v, 0, d, 1)?;
    let shape = c.shape(one);
    c.reshape(one, &shape[1..])
}

fn direction(
    c: &mut NodeContext<'_>,
    cell: Cell,
    (w, r): (Weights, Weights),
    d: usize,
    activations: &[String],
) -> OpResult<Direction> {
    let hidden = c.shape(r.stored)[0];
    let width = cell.gates() * hidden;
    let bias = match c.optional(3) {
        Some(bias) => {
            let bias = part(c, bias, d)?;
            if c.shape(bias) != [2 * width] {
                return Err(format!("bias must hold {} numbers", 2 * width));
            }
            Some((c.narrow(bias, 0, 0, width)?, c.narrow(bias, 0, width, width)?))
        }
        None => None,
    };
    let peephole = if cell == Cell::Lstm { c.optional(7).map(|p| part(c, p, d)).transpose()? } else { None };
    Ok(Direction {
        w,
        r,
        bias,
        peephole,
        activations: activations.to_vec(),
        hidden,
        linear_before_reset: c.flag("linear_before_reset", false)?,
    })
}

/// A state before the first step: given, or zero.
fn initial(
    c: &mut NodeContext<'_>,
    at: usize,
    d: usize,
    batch: usize,
    hidden: usize,
    batch_first: bool,
) -> OpResult<Value> {
    let Some(mut state) = c.optional(at) else {
        let zeros = Tensor::zeros(DType::F32, [batch, hidden]).map_err(|e| e.to_string())?;
        return Ok(c.builder.constant("", zeros));
    };
    if batch_first {
        state = c.transpose(state, &[1, 0, 2])?;
    }
    let state = part(c, state, d)?;
    if c.shape(state) == [batch, hidden] {
        Ok(state)
    } else {
        Err(format!("an initial state must have shape [{batch}, {hidden}]"))
    }
}

fn activate(c: &mut NodeContext<'_>, name: &str, x: Value) -> OpResult<Value> {
    match name {
        "Sigmoid" => c.unary(&ew::SIGMOID, x),
        "Tanh" => c.unary(&ew::TANH, x),
        "Relu" => c.unary(&ew::RELU, x),
        "Softsign" => c.unary(&ew::SOFTSIGN, x),
        "Softplus" => c.unary(&ew::SOFTPLUS, x),
        "HardSigmoid" => hard_sigmoid(c, x, 0.2, 0.5),
        other => Err(format!("activation '{other}' is not supported here")),
    }
}

/// All steps of one direction: outputs in time order, and the last states.
fn run(
    c: &mut NodeContext<'_>,
    cell: Cell,
    weights: &Direction,
    x: Value,
    (mut h, mut memory): (Value, Value),
    backwards: bool,
) -> OpResult<(Vec<Value>, Value, Value)> {
    let [steps, batch, input] = c.shape(x)[..] else { return Err("the input must have three dimensions".into()) };
    // The input's share of all gates of all steps is one product.
    let flat = c.reshape(x, &[steps * batch, input])?;
    let mut shares = weights.w.product(c, flat)?;
    if let Some((bias, _)) = weights.bias {
        shares = c.add(shares, bias)?;
    }
    let mut outputs = vec![h; steps];
    for step in 0..steps {
        let t = if backwards { steps - 1 - step } else { step };
        let share = c.narrow(shares, 0, t * batch, batch)?;
        (h, memory) = match cell {
            Cell::Rnn => {
                let sum = with_recurrence(c, weights, share, h)?;
                (activate(c, &weights.activations[0], sum)?, memory)
            }
            Cell::Gru => (gru_step(c, weights, share, h)?, memory),
            Cell::Lstm => lstm_step(c, weights, share, h, memory)?,
        };
        outputs[t] = h;
    }
    Ok((outputs, h, memory))
}

fn with_recurrence(c: &mut NodeContext<'_>, weights: &Direction, share: Value, h: Value) -> OpResult<Value> {
    let recurrence = weights.r.product(c, h)?;
    let sum = c.add(share, recurrence)?;
    match weights.bias {
        Some((_, bias)) => c.add(sum, bias),
        None => Ok(sum),
    }
}

/// Gates in ONNX's order: input, output, forget, cell.
fn lstm_step(
    c: &mut NodeContext<'_>,
    weights: &Direction,
    share: Value,
    h: Value,
    memory: Value,
) -> OpResult<(Value, Value)> {
    let n = weights.hidden;
    let gates = with_recurrence(c, weights, share, h)?;
    let gate = |c: &mut NodeContext<'_>, i: usize| c.narrow(gates, 1, i * n, n);
    let (mut i, mut o, mut f, g) = (gate(c, 0)?, gate(c, 1)?, gate(c, 2)?, gate(c, 3)?);
    let peep = |c: &mut NodeContext<'_>, at: usize, x: Value, memory: Value| match weights.peephole {
        Some(p) => {
            let p = c.narrow(p, 0, at * n, n)?;
            let seen = c.mul(p, memory)?;
            c.add(x, seen)
        }
        None => Ok(x),
    };
    i = peep(c, 0, i, memory)?;
    f = peep(c, 2, f, memory)?;
    let [outer, inner, out] = weights.activations.as_slice() else { return Err("three activations are needed".into()) };
    i = activate(c, outer, i)?;
    f = activate(c, outer, f)?;
    let g = activate(c, inner, g)?;
    let kept = c.mul(f, memory)?;
    let added = c.mul(i, g)?;
    let memory = c.add(kept, added)?;
    o = peep(c, 1, o, memory)?;
    o = activate(c, outer, o)?;
    let shown = activate(c, out, memory)?;
    Ok((c.mul(o, shown)?, memory))
}

/// Gates in ONNX's order: update, reset, hidden.
fn gru_step(c: &mut NodeContext<'_>, weights: &Direction, share: Value, h: Value) -> OpResult<Value> {
    let n = weights.hidden;
    let [outer, inner] = weights.activations.as_slice() else { return Err("two activations are needed".into()) };
    let recurrence = weights.r.product(c, h)?;
    let recurrence = match weights.bias {
        Some((_, bias)) => c.add(recurrence, bias)?,
        None => recurrence,
    };
    let gate = |c: &mut NodeContext<'_>, i: usize| {
        let (a, b) = (c.narrow(share, 1, i * n, n)?, c.narrow(recurrence, 1, i * n, n)?);
        let sum = c.add(a, b)?;
        activate(c, outer, sum)
    };
    let (z, r) = (gate(c, 0)?, gate(c, 1)?);
    let from_input = c.narrow(share, 1, 2 * n, n)?;
    let candidate = if weights.linear_before_reset {
        let own = c.narrow(recurrence, 1, 2 * n, n)?;
        c.mul(r, own)?
    } else {
        let reset = c.mul(r, h)?;
        let columns = c.narrow(weights.r.stored, 1, 2 * n, n)?;
        let own = c.binary(&matmul::MATMUL, reset, columns)?;
        match weights.bias {
            Some((_, bias)) => {
                let bias = c.narrow(bias, 0, 2 * n, n)?;
                c.add(own, bias)?
            }
            None => own,
        }
    };
    let sum = c.add(from_input, candidate)?;
    let candidate = activate(c, inner, sum)?;
    let one = c.number(1.0, z)?;
    let open = c.sub(one, z)?;
    let (new, old) = (c.mul(open, candidate)?, c.mul(z, h)?);
    c.add(new, old)
}
