// The running statistics follow the batch.
// running = (1 − w) · running + w · batch      w = momentum, or 1 / (batches + 1) for a cumulative average
// One workgroup where there is a batch counter, so that it is read by all before it is written; else as many as help.
// An empty batch leaves them as they are.
// reads  saved [channels] × (K, d, inverse_std, variance); merged [channels] × Moments, where m is not the shape's
// updates  running_mean, running_variance [channels]; batches [1], u32
@compute @workgroup_size(WORKGROUP_SIZE)
fn running_update(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    let weight = new_value_weight();
    for (var c = index * WORKGROUP_SIZE + lane; c < parameters.channels; c += parameters.workgroups * WORKGROUP_SIZE) {
        let batch = saved[c];
        let mean = batch.x + batch.y;
        // m / (m − 1) where the running variance is unbiased; the population's needs no correction.
        let values = values_of(c);
        let variance = batch.w * select(1.0, f32(values) / f32(max(values, 2u) - 1u), UNBIASED);
        if (values == 0u) {
            continue;
        }
        running_mean[c] = (1.0 - weight) * running_mean[c] + weight * mean;
        running_variance[c] = (1.0 - weight) * running_variance[c] + weight * variance;
    }
    count_batch(lane);
}
