// Pass 3 of backward: the gradient of the input, and of the residual.
// training  dx = gamma · inverse_std · (dz − dbeta / m − (x − mean) · inverse_std · dgamma / m)
// frozen    dx = gamma · inverse_std · dz
// grid: see the apply_* part that is joined
// reads  x, dy [outer, channels, inner]; statistics, gamma, beta [channels]; coefficients [channels], or the few sums that they
// are merged from
// writes  dx, dresidual like x; where it merges, writes or adds to  dgamma, dbeta [channels]
alias Prepared = Gradient;

fn prepare(channel: u32) -> Gradient {
    let c = coefficients_of(channel);
    return Gradient(normaliser(channel), vec4<f32>(c.x), vec4<f32>(c.y));
}

fn either(a: Gradient, b: Gradient, mask: vec4<bool>) -> Gradient {
    return Gradient(
        either_normaliser(a.normaliser, b.normaliser, mask),
        select(b.mean_dy, a.mean_dy, mask),
        select(b.projection, a.projection, mask),
    );
}

struct Fetched {
    x: vec4<f32>,
    dy: vec4<f32>,
}

fn fetch(quad: u32) -> Fetched {
    return Fetched(input_of(quad), load_dy(quad));
}

fn finish(g: Gradient, quad: u32, fetched: Fetched) -> vec4<bool> {
    let dz = gradient_of_z(g.normaliser, fetched.dy, fetched.x, quad);
    store_dx(quad, gradient_of_x(g, dz, fetched.x));
    pass_to_residual(quad, dz);
    return EVERY;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_input(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    merge_channels(index, lane);
    apply_part(index, lane);
}
