//! One operator while it is lowered: its operands in the layout that it wants, its options, its results.
//!
//! TensorFlow Lite's images are [batch, height, width, channels], the frozen graph's [batch, channels, height, width]. Each
//! tensor is kept in whichever form it was made in; the other is made when somebody asks, and only once. So a chain of
//! convolutions and elementwise operators never turns its images around.
//!
//! Quantised tensors are computed on by their real values: dequantised where they are read, quantised where they are made.

use super::schema::{Model, Operator, Quantization, TensorInfo};
use super::tensors::{COMPLEX, dequantized, dtype_of, quantized_axis, stored};
use lattice_inference::ops::OpResult;
use lattice_inference::quant::Linear;
use lattice_inference::quant::{dequantize, quantize};
use lattice_inference::{DType, Tensor};
use lattice_inference::{GraphBuilder, Value};

/// In which order a tensor's axes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As the file has them.
    Plain,
    /// Of rank 4, channels second instead of last.
    Image,
}

/// Axes of an image, named by those of the file.
pub(super) const TO_IMAGE: [usize; 4] = [0, 3, 1, 2];
/// Where an axis of the file lies in an image; the way back.
pub(super) const TO_PLAIN: [usize; 4] = [0, 2, 3, 1];

/// A value and its layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) value: Value,
    pub(super) layout: Layout,
}

/// A value in the file's own layout.
pub(super) fn plain(value: Value) -> Placed {
    Placed { value, layout: Layout::Plain }
}

/// A value with channels second.
pub(super) fn image(value: Value) -> Placed {
    Placed { value, layout: Layout::Image }
}

/// What is known of one tensor of the file.
#[derive(Clone, Copy, Default)]
pub(super) struct Forms {
    /// Elements as the file stores them, by layout: integers when the tensor is quantised.
    pub(super) stored: [Option<Value>; 2],
    /// Real values of a quantised tensor, by layout.
    real: [Option<Value>; 2],
}

impl Forms {
    /// A tensor that is stored or given.
    pub(super) fn of(placed: Placed) -> Forms {
        let mut forms = Forms::default();
        forms.stored[placed.layout as usize] = Some(placed.value);
        forms
    }

    fn is_known(&self) -> bool {
        self.stored.iter().chain(&self.real).any(Option::is_some)
    }
}

/// An operator, the tensors known so far, and the graph under construction.
pub(super) struct OperatorContext<'a> {
    pub(super) builder: &'a mut GraphBuilder,
    pub(super) model: &'a Model<'a>,
    pub(super) forms: &'a mut [Forms],
    pub(super) operator: &'a Operator<'a>,
    /// The operator moves integers as they are: all its tensors are quantised alike.
    pub(super) is_raw: bool,
}

impl core::ops::Deref for OperatorContext<'_> {
    type Target = GraphBuilder;

    fn deref(&self) -> &GraphBuilder {
        self.builder
    }
}

impl core::ops::DerefMut for OperatorContext<'_> {
    fn deref_mut(&mut self) -> &mut GraphBuilder {
        self.builder
    }
}

impl OperatorContext<'_> {
    /// Number of operands, those that are left out included.
    pub(super) fn operand_count(&self) -> usize {
        self.operator.inputs.len()
    }

    /// Position of operand `at`, when it is given.
    pub(super) fn optional(&self, at: usize) -> Option<usize> {
        self.operator.inputs.get(at).copied().flatten()
    }

    fn operand(&self, at: usize) -> OpResult<usize> {
        self.optional(at).ok_or_else(|| format!("operand {at} is missing"))
    }

    /// Declaration of result `at`.
    pub(super) fn result(&self, at: usize) -> OpResult<&TensorInfo<'_>> {
        let tensor = self.operator.outputs.get(at).ok_or_else(|| format!("result {at} is missing"))?;
        Ok(&self.model.graph.tensors[*tensor])
    }

    /// Element type of result `at`, as real values when it is quantised.
    pub(super) fn result_dtype(&self, at: usize) -> OpResult<DType> {
        let info = self.result(at)?;
        let dtype = dtype_of(info.kind)?;
        Ok(if info.quantization.is_some() && !dtype.is_float() { DType::F32 } else { dtype })
    }

    /// Operand `at` in the file's layout.
    pub(super) fn plain(&mut self, at: usize) -> OpResult<Value> {
        let tensor = self.operand(at)?;
        self.form(tensor, Layout::Plain)
    }

    /// Operand `at`, which must be complex: its parts lie along a last axis of their own.
    pub(super) fn complex(&mut self, at: usize) -> OpResult<Value> {
        if !self.is_complex(at) {
            return Err("its operand must be complex".into());
        }
        let tensor = self.operand(at)?;
        self.as_stored(tensor, Layout::Plain)
    }

    /// Whether operand `at` is complex.
    pub(super) fn is_complex(&self, at: usize) -> bool {
        self.optional(at).is_some_and(|tensor| self.model.graph.tensors[tensor].kind == COMPLEX)
    }

    /// Operand `at` with channels second; it must be of rank 4.
    pub(super) fn image(&mut self, at: usize) -> OpResult<Value> {
        let tensor = self.operand(at)?;
        self.form(tensor, Layout::Image)
    }

    /// Operand `at` as it comes, for operators to which the order of axes does not matter.
    pub(super) fn native(&mut self, at: usize) -> OpResult<Placed> {
        let layout = if self.is_image(at) { Layout::Image } else { Layout::Plain };
        let tensor = self.operand(at)?;
        Ok(Placed { value: self.form(tensor, layout)?, layout })
    }

    /// Whether operand `at` is known with channels second.
    pub(super) fn is_image(&self, at: usize) -> bool {
        let at_hand = |forms: &Forms| [forms.stored, forms.real].iter().any(|f| f[Layout::Image as usize].is_some());
        self.optional(at).is_some_and(|tensor| at_hand(&self.forms[tensor]))
    }

    /// Operand `at` so that it broadcasts against images.
    pub(super) fn broadcast_image(&mut self, at: usize) -> OpResult<Value> {
        if self.is_image(at) {
            return self.image(at);
        }
        let value = self.plain(at)?;
        let mut shape = self.shape(value).to_vec();
        if shape.len() > 4 {
            return Err(format!("shape {shape:?} does not broadcast to an image"));
        }
        if shape.len() == 4 {
            return self.image(at);
        }
        shape.splice(0..0, core::iter::repeat_n(1, 4 - shape.len()));
        let value = self.reshape(value, &shape)?;
        self.transpose(value, &TO_IMAGE)
    }

    /// Operands that broadcast against each other, all in one layout.
    pub(super) fn together(&mut self, operands: &[usize]) -> OpResult<(Vec<Value>, Layout)> {
        if operands.iter().any(|&at| self.is_image(at)) {
            let ranks: Vec<usize> = operands.iter().map(|&at| self.declared_rank(at)).collect::<OpResult<_>>()?;
            if ranks.iter().all(|&rank| rank <= 4) {
                let values = operands.iter().map(|&at| self.broadcast_image(at)).collect::<OpResult<_>>()?;
                return Ok((values, Layout::Image));
            }
        }
        Ok((operands.iter().map(|&at| self.plain(at)).collect::<OpResult<_>>()?, Layout::Plain))
    }

    fn declared_rank(&mut self, at: usize) -> OpResult<usize> {
        let value = self.native(at)?.value;
        Ok(self.shape(value).len())
    }

    /// The tensor of an operand that must be constant: the frozen graph has no data-dependent shapes.
    pub(super) fn constant_tensor(&mut self, at: usize, what: &str) -> OpResult<Tensor> {
        let value = self.plain(at)?;
        let tensor = self.tensor(value).map(|t| t.as_ref().clone());
        tensor.ok_or_else(|| format!("its {what} depends on the input data; only values known at import are supported"))
    }

    /// Integers of an operand that must be constant.
    pub(super) fn constant_ints(&mut self, at: usize, what: &str) -> OpResult<Vec<i64>> {
        self.constant_tensor(at, what)?.to_i64s().ok_or_else(|| format!("its {what} must be integers"))
    }

    /// Integers, one for each axis of a tensor.
    pub(super) fn constant_ints_of(&mut self, at: usize, what: &str, rank: usize) -> OpResult<Vec<i64>> {
        let values = self.constant_ints(at, what)?;
        if values.len() == rank {
            Ok(values)
        } else {
            Err(format!("its {what} must be {rank} integers, got {values:?}"))
        }
    }

    /// A positive option.
    pub(super) fn size(&self, slot: usize, default: i32, what: &str) -> OpResult<usize> {
        let value = self.operator.option(slot, default)?;
        let size = usize::try_from(value).ok().filter(|size| (1..1 << 24).contains(size));
        size.ok_or_else(|| format!("its {what} is {value}; it must be positive"))
    }

    /// Notes the results: quantised where the file says so, of the declared element type otherwise.
    pub(super) fn keep(&mut self, results: &[Placed]) -> OpResult<()> {
        let outputs = &self.operator.outputs;
        if results.len() != outputs.len() {
            return Err(format!("it has {} results, the file declares {}", results.len(), outputs.len()));
        }
        for (placed, &tensor) in results.iter().zip(outputs) {
            if self.forms[tensor].is_known() {
                return Err(format!("tensor '{}' is computed twice", self.model.graph.tensors[tensor].name));
            }
            let info = &self.model.graph.tensors[tensor];
            let dtype = if info.kind == COMPLEX { DType::F32 } else { dtype_of(info.kind)? };
            let value = match &info.quantization {
                Some(quantization) if !self.is_raw && !dtype.is_float() => {
                    let (scale, zero) = self.parameters(quantization, placed.value, placed.layout)?;
                    quantize(self.builder, placed.value, scale, Some(zero), dtype)?
                }
                _ => placed.value,
            };
            let computed = self.dtype(value);
            if computed != dtype {
                return Err(format!("'{}' is declared {dtype}, but computed as {computed}", info.name));
            }
            self.forms[tensor] = Forms::of(Placed { value, layout: placed.layout });
        }
        Ok(())
    }

    /// A tensor in a layout: integers when the operator takes them as they are, real values otherwise.
    fn form(&mut self, tensor: usize, layout: Layout) -> OpResult<Value> {
        let model = self.model;
        let info = &model.graph.tensors[tensor];
        if info.kind == COMPLEX {
            return Err("its operand is complex, which is not supported here".into());
        }
        let quantization = info.quantization.as_ref().filter(|_| dtype_of(info.kind).is_ok_and(|d| !d.is_float()));
        if !self.forms[tensor].is_known() {
            self.read(tensor, info, quantization)?;
        }
        match quantization {
            Some(quantization) if !self.is_raw => self.real(tensor, layout, quantization),
            _ => self.as_stored(tensor, layout),
        }
    }

    /// Reads a stored tensor; its real values at once when it is quantised.
    fn read(&mut self, tensor: usize, info: &TensorInfo<'_>, quantization: Option<&Quantization>) -> OpResult<()> {
        let missing = || format!("it reads '{}', which is neither an input, stored nor computed before", info.name);
        let wrong = |e: String| format!("tensor '{}': {e}", info.name);
        let value = stored(self.model, info).map_err(wrong)?.ok_or_else(missing)?;
        if let Some(quantization) = quantization {
            let real = self.builder.constant(info.name, dequantized(&value, quantization).map_err(wrong)?);
            self.forms[tensor].real[Layout::Plain as usize] = Some(real);
            let stored = self.builder.constant(info.name, value);
            self.forms[tensor].stored[Layout::Plain as usize] = Some(stored);
            let Quantization { scales, zero_points, axis } = quantization;
            let zeros = zero_points.iter().map(|&zero| i32::try_from(zero).unwrap_or(i32::MAX)).collect();
            let axis = usize::try_from(*axis).unwrap_or(0);
            self.builder.note_real(real, Linear { stored, scales: scales.clone(), zeros, axis });
            return self.check_size();
        }
        self.forms[tensor].stored[Layout::Plain as usize] = Some(self.builder.constant(info.name, value));
        self.check_size()
    }

    /// A tensor's elements as they are stored.
    pub(super) fn as_stored(&mut self, tensor: usize, layout: Layout) -> OpResult<Value> {
        let forms = self.forms[tensor].stored;
        if let Some(value) = forms[layout as usize] {
            return Ok(value);
        }
        let other = forms[1 - layout as usize].ok_or("the tensor is not known yet")?;
        let value = self.turned(other, layout)?;
        self.forms[tensor].stored[layout as usize] = Some(value);
        Ok(value)
    }

    fn real(&mut self, tensor: usize, layout: Layout, quantization: &Quantization) -> OpResult<Value> {
        let forms = self.forms[tensor].real;
        if let Some(value) = forms[layout as usize] {
            return Ok(value);
        }
        let value = match forms[1 - layout as usize] {
            Some(other) => self.turned(other, layout)?,
            None => {
                let value = self.as_stored(tensor, layout)?;
                let (scale, zero) = self.parameters(quantization, value, layout)?;
                dequantize(self.builder, value, scale, Some(zero))?
            }
        };
        self.forms[tensor].real[layout as usize] = Some(value);
        Ok(value)
    }

    fn turned(&mut self, value: Value, layout: Layout) -> OpResult<Value> {
        let rank = self.shape(value).len();
        match layout {
            _ if rank != 4 => Err(format!("it needs an operand of rank 4, got {:?}", self.shape(value))),
            Layout::Image => self.transpose(value, &TO_IMAGE),
            Layout::Plain => self.transpose(value, &TO_PLAIN),
        }
    }

    /// Scale and zero point of a tensor, so that they broadcast against `like`.
    fn parameters(&mut self, quantization: &Quantization, like: Value, layout: Layout) -> OpResult<(Value, Value)> {
        let Quantization { scales, zero_points, axis } = quantization;
        let mut shape = Vec::new();
        if scales.len() > 1 {
            let mut own = self.shape(like).to_vec();
            let mut axis = *axis as usize;
            if layout == Layout::Image {
                own = TO_PLAIN.map(|from| own[from]).to_vec();
            }
            quantized_axis(quantization, &own)?;
            if layout == Layout::Image {
                axis = TO_PLAIN[axis];
            }
            shape = vec![1; own.len()];
            shape[axis] = scales.len();
        }
        let scale = Tensor::from_f32(shape.clone(), scales.clone()).map_err(|e| e.to_string())?;
        let zero = zero_points.iter().map(|&z| z as f32).collect();
        let zero = Tensor::from_f32(shape, zero).map_err(|e| e.to_string())?;
        Ok((self.builder.constant("", scale), self.builder.constant("", zero)))
    }
}
