//! The memory of a run, planned at load: values that are never needed at the same time share a buffer, and the next run
//! finds all buffers as the last one left them.

use super::{Action, Step};
use crate::graph::Graph;
use crate::kernels::program::Tiles;
use crate::ops::{OpResult, conv};
use crate::quant::conv as integer_conv;
use crate::tensor::{Data, Tensor};

/// Which buffer each f32 value of a planned step lives in.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each value its buffer.
    homes: Vec<Option<usize>>,
    /// For each value its shape, where it has a home.
    shapes: Vec<Vec<usize>>,
    /// Elements of each buffer.
    sizes: Vec<usize>,
}

/// What one run works in.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buffers: Vec<Vec<f32>>,
    pub(super) tiles: Tiles,
    pub(super) conv: conv::Scratch,
    pub(super) integers: integer_conv::Scratch,
}

impl Plan {
    /// Plans steps whose released values are known.
    pub(super) fn new(graph: &Graph, steps: &[Step]) -> Plan {
        let types = graph.types();
        let mut plan =
            Plan { homes: vec![None; types.len()], shapes: vec![Vec::new(); types.len()], sizes: Vec::new() };
        let mut free: Vec<usize> = Vec::new();
        for step in steps {
            let mut moved = None;
            match &step.action {
                Action::Product { .. } | Action::Fused(_) => {
                    for &v in &step.outputs {
                        let v = v as usize;
                        plan.homes[v] = Some(plan.place(types[v].elements(), &mut free));
                        plan.shapes[v] = types[v].shape.clone();
                    }
                }
                // A reshaped value that nobody else reads moves, and its buffer with it.
                Action::Reshape(_) if step.released.contains(&step.inputs[0]) => {
                    moved = Some(step.inputs[0]);
                    plan.homes[step.outputs[0] as usize] = plan.homes[step.inputs[0] as usize];
                }
                _ => {}
            }
            let released = step.released.iter().filter(|&&v| Some(v) != moved);
            free.extend(released.filter_map(|&v| plan.homes[v as usize]));
        }
        plan
    }

    /// A free buffer for `len` elements: the smallest that is large enough, else the largest, grown, else a new one.
    fn place(&mut self, len: usize, free: &mut Vec<usize>) -> usize {
        let fit = |&(_, &buffer): &(usize, &usize)| {
            let size = self.sizes[buffer];
            (size < len, size.abs_diff(len))
        };
        match free.iter().enumerate().min_by_key(fit).map(|(at, _)| at) {
            Some(at) => {
                let buffer = free.swap_remove(at);
                self.sizes[buffer] = self.sizes[buffer].max(len);
                buffer
            }
            None => {
                self.sizes.push(len);
                self.sizes.len() - 1
            }
        }
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(&self) -> usize {
        self.sizes.iter().sum::<usize>() * size_of::<f32>()
    }

    /// A value from its elements.
    pub(super) fn tensor(&self, value: u32, elements: Vec<f32>) -> OpResult<Tensor> {
        crate::ops::tensor(&self.shapes[value as usize], Data::F32(elements))
    }
}

impl Memory {
    /// The buffer of a value, as long as the value: what is in it is old.
    pub(super) fn take(&mut self, plan: &Plan, value: u32) -> Vec<f32> {
        let len = plan.shapes[value as usize].iter().product();
        self.buffers.resize(plan.sizes.len(), Vec::new());
        let home = plan.homes[value as usize].and_then(|home| self.buffers.get_mut(home));
        let mut buffer = home.map(core::mem::take).unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }

    /// Keeps the buffer of a value that is no longer needed.
    pub(super) fn give_back(&mut self, plan: &Plan, value: u32, tensor: Tensor) {
        let home = plan.homes[value as usize].and_then(|home| self.buffers.get_mut(home));
        if let (Some(home), Data::F32(buffer)) = (home, tensor.into_data()) {
            *home = buffer;
        }
    }
}
