fn new_value_weight() -> f32 {
    return 1.0 / f32(batches[0] + 1u);
}
