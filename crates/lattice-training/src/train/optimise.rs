//! Optimiser steps: correctly rounded operations in a fixed order, element by element.

use super::Optimiser;
use lattice_inference::{Isa, dual_kernel};

dual_kernel! {
    fn sgd(rate: f32, momentum: f32, decay: f32, g: &[f32], p: &mut [f32], v: &mut [f32]) {
        for ((p, v), g) in p.iter_mut().zip(v).zip(g) {
            let g = decay.mul_add(*p, *g);
            *v = momentum.mul_add(*v, g);
            *p = (-rate).mul_add(*v, *p);
        }
    }
}

dual_kernel! {
    /// `constants`: rate, beta1, beta2, epsilon, decay, 1 - beta1^t, 1 - beta2^t.
    fn adam(constants: &[f32; 7], g: &[f32], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let [rate, beta1, beta2, epsilon, decay, correction1, correction2] = *constants;
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = decay.mul_add(*p, *g);
            *m = beta1.mul_add(*m, (1.0 - beta1) * g);
            *v = beta2.mul_add(*v, (1.0 - beta2) * g * g);
            let direction = (*m / correction1) / ((*v / correction2).sqrt() + epsilon);
            *p = (-rate).mul_add(direction, *p);
        }
    }
}

/// x^n by squaring: multiplications only, so the same everywhere.
fn power(x: f64, n: u64) -> f64 {
    let (mut result, mut square, mut left) = (1.0, x, n);
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        square *= square;
        left >>= 1;
    }
    result
}

/// Moves one parameter tensor along its gradient. `step` counts from 1; `moments` are the tensor's, in the optimiser's order.
pub(super) fn apply(
    optimiser: &Optimiser,
    step: u64,
    gradient: &[f32],
    parameter: &mut [f32],
    moments: &mut [Vec<f32>],
) {
    let isa = Isa::detect();
    match (*optimiser, moments) {
        (Optimiser::Sgd { rate, momentum, decay }, [v]) => sgd(isa, rate, momentum, decay, gradient, parameter, v),
        (Optimiser::Adam { rate, beta1, beta2, epsilon, decay }, [m, v]) => {
            let correction = |beta: f32| (1.0 - power(f64::from(beta), step)) as f32;
            let constants = [rate, beta1, beta2, epsilon, decay, correction(beta1), correction(beta2)];
            adam(isa, &constants, gradient, parameter, m, v);
        }
        _ => unreachable!("a state has the moments of its optimiser"),
    }
}
