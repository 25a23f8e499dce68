//! Short forms for the nodes that most operators of other formats are made of.

use super::builder::{GraphBuilder, Value};
use crate::ops::{Attributes, OpResult, OpSpec, broadcast, cast, elementwise, movement, reduce};
use crate::tensor::{DType, Data, Tensor};

impl GraphBuilder {
    /// Element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.ty(value).dtype
    }

    /// An operator of one operand without attributes.
    pub fn unary(&mut self, op: &'static OpSpec, x: Value) -> OpResult<Value> {
        self.emit1(op, Attributes::none(), &[x])
    }

    /// An operator of two operands without attributes.
    pub fn binary(&mut self, op: &'static OpSpec, a: Value, b: Value) -> OpResult<Value> {
        self.emit1(op, Attributes::none(), &[a, b])
    }

    /// Sum, elementwise.
    pub fn add(&mut self, a: Value, b: Value) -> OpResult<Value> {
        self.binary(&elementwise::ADD, a, b)
    }

    /// Difference, elementwise.
    pub fn sub(&mut self, a: Value, b: Value) -> OpResult<Value> {
        self.binary(&elementwise::SUB, a, b)
    }

    /// Product, elementwise.
    pub fn mul(&mut self, a: Value, b: Value) -> OpResult<Value> {
        self.binary(&elementwise::MUL, a, b)
    }

    /// Quotient, elementwise.
    pub fn div(&mut self, a: Value, b: Value) -> OpResult<Value> {
        self.binary(&elementwise::DIV, a, b)
    }

    /// A scalar constant with the element type of `like`.
    pub fn number(&mut self, value: f64, like: Value) -> OpResult<Value> {
        let scalar = cast::cast(&Data::F64(vec![value]), self.dtype(like));
        let tensor = Tensor::new([], scalar).map_err(|e| e.to_string())?;
        Ok(self.constant("", tensor))
    }

    /// A constant of integers.
    pub fn i64s(&mut self, shape: &[usize], values: Vec<i64>) -> OpResult<Value> {
        let tensor = Tensor::from_i64(shape, values).map_err(|e| e.to_string())?;
        Ok(self.constant("", tensor))
    }

    /// Another shape for the same elements; nothing when it is the shape already.
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> OpResult<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.emit1(&movement::RESHAPE, Attributes::none().sizes(shape), &[x])
    }

    /// Axes in another order; a reshape when only axes of size 1 move.
    pub fn transpose(&mut self, x: Value, axes: &[usize]) -> OpResult<Value> {
        let shape = self.shape(x).to_vec();
        if axes.len() != shape.len() || axes.iter().any(|&a| a >= shape.len()) {
            return Err(format!("{axes:?} is not a permutation of {} axes", shape.len()));
        }
        let moved: Vec<usize> = axes.iter().copied().filter(|&a| shape[a] != 1).collect();
        let distinct = (0..shape.len()).all(|a| axes.contains(&a));
        if distinct && moved.windows(2).all(|w| w[0] < w[1]) {
            let shape: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
            return self.reshape(x, &shape);
        }
        self.emit1(&movement::TRANSPOSE, Attributes::none().sizes(axes), &[x])
    }

    /// Another element type; nothing when it is the type already.
    pub fn cast(&mut self, x: Value, dtype: DType) -> OpResult<Value> {
        if self.dtype(x) == dtype { Ok(x) } else { self.emit1(&cast::CAST, cast::to(dtype), &[x]) }
    }

    /// [`GraphBuilder::cast`] that converts a constant here and now, even where folding would leave a node because the
    /// result is larger.
    pub fn cast_now(&mut self, x: Value, dtype: DType) -> OpResult<Value> {
        match self.tensor(x).cloned().filter(|tensor| tensor.dtype() != dtype) {
            Some(tensor) => {
                let mut converted = cast::cast(tensor.data(), dtype);
                converted.canonicalize_nan();
                let tensor = Tensor::new(tensor.shape(), converted).map_err(|e| e.to_string())?;
                Ok(self.constant("", tensor))
            }
            None => self.cast(x, dtype),
        }
    }

    /// Broadcast to a shape; nothing when it is the shape already.
    pub fn expand(&mut self, x: Value, shape: &[usize]) -> OpResult<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.emit1(&movement::EXPAND, Attributes::none().sizes(shape), &[x])
    }

    /// Elements `start..start + length` along one axis.
    pub fn narrow(&mut self, x: Value, axis: usize, start: usize, length: usize) -> OpResult<Value> {
        let mut lengths = self.shape(x).to_vec();
        if start == 0 && lengths.get(axis) == Some(&length) {
            return Ok(x);
        }
        let mut starts = vec![0; lengths.len()];
        starts[axis] = start;
        lengths[axis] = length;
        let steps = vec![1; lengths.len()];
        self.emit1(&movement::SLICE, Attributes::none().sizes(&starts).ints(steps).sizes(&lengths), &[x])
    }

    /// Parts one behind the other along an axis.
    pub fn concat(&mut self, axis: usize, parts: &[Value]) -> OpResult<Value> {
        match parts {
            [one] => Ok(*one),
            _ => self.emit1(&movement::CONCAT, Attributes::none().int(axis as i64), parts),
        }
    }

    /// One operator over some axes, which stay with size 1 or vanish; nothing without axes.
    pub fn reduce(&mut self, op: &'static OpSpec, x: Value, axes: &[usize], keep: bool) -> OpResult<Value> {
        if axes.is_empty() { Ok(x) } else { self.emit1(op, reduce::over(axes, keep), &[x]) }
    }

    /// The average over axes: the sum divided by the count.
    pub fn mean(&mut self, x: Value, axes: &[usize], keep: bool) -> OpResult<Value> {
        let count: usize = axes.iter().map(|&a| self.shape(x)[a]).product();
        let sum = self.reduce(&reduce::SUM, x, axes, keep)?;
        let count = self.number(count as f64, sum)?;
        self.div(sum, count)
    }

    /// The common shape of two values.
    pub fn broadcast_shape(&self, a: Value, b: Value) -> OpResult<Vec<usize>> {
        broadcast::broadcast_shapes(&[self.shape(a), self.shape(b)])
    }
}
