fn new_value_weight() -> f32 {
    return parameters.momentum;
}
