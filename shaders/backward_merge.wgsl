// Pass 2 of backward: the sums of each channel, in a fixed order, become its gradients and the coefficients of dx.
// dbeta = Σ dz      dgamma = inverse_std · Σ dz · (x − mean)
// coefficients = (dbeta / m, inverse_std · dgamma / m)
// workgroup → LANES_X channels; the other lanes of a channel take every so many of its records
// reads  sums [slots, channels] × vec2; statistics [channels]
// reads  merged [channels] × Moments, where m is not the shape's
// writes, as they are wanted  coefficients [channels] × vec2; merged_sums [channels] × vec2; writes or adds to  dgamma, dbeta [channels]
@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_merge(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    let lanes_y = WORKGROUP_SIZE / LANES_X;
    let own_channel = index * LANES_X + lane % LANES_X;
    let channel = min(own_channel, parameters.channels - 1u);
    var total = neutral();
    // A loop that ends with its condition: a processor that runs lanes under a mask would enter once more in vain.
    var slot = 4u * (lane / LANES_X);
    loop {
        total = combine(total, as_strands(
            read_record(slot, channel),
            read_record(slot + 1u, channel),
            read_record(slot + 2u, channel),
            read_record(slot + 3u, channel),
        ));
        slot += 4u * lanes_y;
        if (slot >= parameters.slots) {
            break;
        }
    }
    let merged = combine_lanes(total, lane, LANES_X);
    if (lane < LANES_X && own_channel < parameters.channels) {
        finish(channel, merged);
    }
}
