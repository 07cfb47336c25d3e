fn inverse_std(variance: f32) -> f32 {
    let sum = variance + parameters.epsilon;
    return select(1.0 / sqrt(sum), 0.0, sum == 0.0);
}
