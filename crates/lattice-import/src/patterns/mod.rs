//! Small graphs that stand for one operator of another format, made in the same way for every importer.

mod activation;
mod resample;
mod transposed;

pub(crate) use activation::{gelu_erf, gelu_tanh};
pub(crate) use resample::{Tap, resample};
pub(crate) use transposed::{Transposed, transposed_convolution};
