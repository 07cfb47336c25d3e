// All of backward in one dispatch, where the channels of a workgroup fit its registers: each value is read once and
// written once.
// dbeta = Σ dz      dgamma = inverse_std · Σ dz · (x − mean)      with dz = dy, or dy where z > 0
// training  dx = gamma · inverse_std · (dz − dbeta / m − (x − mean) · inverse_std · dgamma / m)
// frozen    dx = gamma · inverse_std · dz
// grid: see the resident_* part that is joined, in one dimension, so that no lane leaves early; a line that names BLOCK is written once for each block of a lane
// reads  x, dy [outer, channels, inner]; statistics, gamma, beta [channels]
// writes  dx, dresidual like x; writes or adds to  dgamma, dbeta [channels]
@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_resident(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let tile = tile_of(id.x, lane);
    let place_BLOCK = place_of(tile, lane, BLOCKu);
    let present_BLOCK = present(tile, lane, BLOCKu);
    let x_BLOCK = load_x(place_BLOCK);
    let dy_BLOCK = load_dy(place_BLOCK);

    let n = prepare4(tile.channel);
    let dz_BLOCK = gradient_of_z(n, dy_BLOCK, x_BLOCK, place_BLOCK);
    var dy = vec4<f32>(0.0);
    var dy_centred = vec4<f32>(0.0);
    dy += select(vec4<f32>(0.0), dz_BLOCK, present_BLOCK);
    dy_centred += select(vec4<f32>(0.0), dz_BLOCK * centred(n, x_BLOCK), present_BLOCK);
    let totals = totals_of(dy, dy_centred, lane, 0u);

    let inverse = inverse_stds(tile.channel);
    let dgamma = inverse * totals.b;
    if (tile.writes.x) {
        write_dgamma(tile.channel.x, dgamma.x);
        write_dbeta(tile.channel.x, totals.a.x);
    }
    if (tile.writes.y) {
        write_dgamma(tile.channel.y, dgamma.y);
        write_dbeta(tile.channel.y, totals.a.y);
    }
    if (tile.writes.z) {
        write_dgamma(tile.channel.z, dgamma.z);
        write_dbeta(tile.channel.z, totals.a.z);
    }
    if (tile.writes.w) {
        write_dgamma(tile.channel.w, dgamma.w);
        write_dbeta(tile.channel.w, totals.a.w);
    }
    let values = f32(parameters.values);
    let g = Gradient(n, totals.a / values, inverse * dgamma / values);
    put_dx(place_BLOCK, gradient_of_x(g, dz_BLOCK, x_BLOCK), present_BLOCK);
    pass_to_residual(place_BLOCK, dz_BLOCK, present_BLOCK);
}
