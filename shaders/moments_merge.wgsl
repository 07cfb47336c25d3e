// Pass 2 of training: the records of each channel, in a fixed order, become one, from which what maps x to z is made.
// inverse_std = 1/√(M2/m + epsilon), and 0 where that sum is 0
// workgroup → LANES_X channels; the other lanes of a channel take every so many of its records
// reads  records [slots, channels] × Moments; for normalisers, gamma, beta [channels]
// writes, as they are wanted  saved [channels] × (K, d, inverse_std, variance); merged [channels] × Moments; normalisers
// [channels] × (K, d, gamma · inverse_std, beta)
@compute @workgroup_size(WORKGROUP_SIZE)
fn moments_merge(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
