// Pass 3 of training, and all of inference: normalise, scale, shift, add the residual, clamp.
// z = ((x − K) − d) · (gamma · inverse_std) + beta (+ residual)      y = activation(z)
// grid: see the apply_* part that is joined
// reads  x, residual [outer, channels, inner]; statistics, gamma, beta [channels]      writes  y like x
alias Prepared = Normaliser;

fn prepare(channel: u32) -> Normaliser {
    return normaliser(channel);
}

fn prepare4(channel: vec4<u32>) -> Normaliser {
    return normaliser4(channel);
}

fn either(a: Normaliser, b: Normaliser, mask: vec4<bool>) -> Normaliser {
    return either_normaliser(a, b, mask);
}

// Also tells where z is positive, for those who keep it.
fn apply(n: Normaliser, quad: u32) -> vec4<bool> {
    let x = load_x(quad);
    let z = add_residual(normalise(n, x), quad);
    store_y(quad, activate(z));
    return z > vec4<f32>(0.0);
}

fn apply4(n: Normaliser, i: u32, j: u32, k: u32, l: u32) {
    let a = load_x(i);
    let b = load_x(j);
    let c = load_x(k);
    let d = load_x(l);
    let za = add_residual(normalise(n, a), i);
    let zb = add_residual(normalise(n, b), j);
    let zc = add_residual(normalise(n, c), k);
    let zd = add_residual(normalise(n, d), l);
    store_y(i, activate(za));
    store_y(j, activate(zb));
    store_y(k, activate(zc));
    store_y(l, activate(zd));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn scale_shift(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    look_through_window();
    let index = workgroup_index(id);
    if (index >= parameters.workgroups) {
        return;
    }
    apply_part(index, lane);
}
