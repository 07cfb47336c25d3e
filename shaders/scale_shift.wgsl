// Pass 3 of training, and all of inference: normalise, scale, shift, add the residual, clamp.
// z = ((x − K) − d) · (gamma · inverse_std) + beta (+ residual)      y = activation(z)
// grid: see the apply_* part that is joined
// reads  x, residual [outer, channels, inner]; normalisers [channels], or statistics, or the few records that these are merged
// from, and gamma, beta [channels]
// writes  y like x; saved [channels] × (K, d, inverse_std, variance), where it merges
fn fetch(quad: u32) -> vec4<f32> {
    return load_x(quad);
}

// Also tells where z is positive, for those who keep it.
fn finish(n: Normaliser, quad: u32, x: vec4<f32>) -> vec4<bool> {
    let z = add_residual(normalise(n, x), quad);
    store_y(quad, activate(z));
    return z > vec4<f32>(0.0);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn scale_shift(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    merge_channels(index, lane);
    apply_part(index, lane);
}
