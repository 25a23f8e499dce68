//! Small graphs that stand for one operator of another format, made in the same way for every importer.

mod activation;
pub(crate) mod fourier;
mod one_hot;
mod range;
mod resample;
mod transposed;

pub(crate) use activation::{gelu_erf, gelu_tanh};
pub(crate) use one_hot::one_hot;
pub(crate) use range::range;
pub(crate) use resample::{Tap, resample};
pub(crate) use transposed::{Transposed, transposed_convolution};
