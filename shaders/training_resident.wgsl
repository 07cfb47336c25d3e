// All of training in one dispatch, where the channels of a workgroup fit its registers: each value is read once and
// written once.
// mean = K + d, variance = Σ (x − mean)² / m      y = activation(((x − K) − d) · (gamma · inverse_std) + beta (+ residual))
// What is held is gone through twice: K is the mean as a first sum has it, d what that lacks.
// grid: see the resident_* part that is joined, in one dimension, so that no lane leaves early; a line that names BLOCK is written once for each block of a lane
// reads  x, residual [outer, channels, inner]; gamma, beta [channels]
// writes  y like x; saved [channels] × (K, d, inverse_std, variance)
@compute @workgroup_size(WORKGROUP_SIZE)
fn training_resident(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let tile = tile_of(id.x, lane);
    let place_BLOCK = place_of(tile, lane, BLOCKu);
    let present_BLOCK = present(tile, lane, BLOCKu);
    let x_BLOCK = load_x(place_BLOCK);
    let values = f32(parameters.values);
    let first = first_of(tile);
    var sum = vec4<f32>(0.0);
    sum += select(vec4<f32>(0.0), rounded(x_BLOCK - first), present_BLOCK);
    let anchor = opaque(first + totals_of(sum, vec4<f32>(0.0), lane, 0u).a / values);
    var rest = vec4<f32>(0.0);
    var square = vec4<f32>(0.0);
    let a_BLOCK = select(vec4<f32>(0.0), rounded(x_BLOCK - anchor), present_BLOCK);
    rest += a_BLOCK;
    square += a_BLOCK * a_BLOCK;
    let totals = totals_of(rest, square, lane, 1u);
    let offset = totals.a / values;
    // Rounding can take it below zero; NaN is not below zero and so stays.
    let m2 = totals.b - totals.a * offset;
    let variance = select(m2, vec4<f32>(0.0), m2 < vec4<f32>(0.0)) / values;

    let inverse = vec4<f32>(
        inverse_std(variance.x),
        inverse_std(variance.y),
        inverse_std(variance.z),
        inverse_std(variance.w),
    );
    if (tile.writes.x) {
        saved[tile.channel.x] = vec4<f32>(anchor.x, offset.x, inverse.x, variance.x);
    }
    if (tile.writes.y) {
        saved[tile.channel.y] = vec4<f32>(anchor.y, offset.y, inverse.y, variance.y);
    }
    if (tile.writes.z) {
        saved[tile.channel.z] = vec4<f32>(anchor.z, offset.z, inverse.z, variance.z);
    }
    if (tile.writes.w) {
        saved[tile.channel.w] = vec4<f32>(anchor.w, offset.w, inverse.w, variance.w);
    }
    let n = Normaliser(anchor, offset, gammas(tile.channel) * inverse, betas(tile.channel));
    put_y(place_BLOCK, activate(add_residual(normalise(n, x_BLOCK), place_BLOCK)), present_BLOCK);
}
