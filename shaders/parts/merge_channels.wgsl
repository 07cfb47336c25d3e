// What merging leaves of each channel is written once, by the lanes of all workgroups in turn. A loop that ends with its
// condition: a processor that runs lanes under a mask would enter once more in vain.
fn merge_channels(index: u32, lane: u32) {
    var channel = index * WORKGROUP_SIZE + lane;
    if (channel >= parameters.channels) {
        return;
    }
    loop {
        merge_channel(channel);
        channel += parameters.workgroups * WORKGROUP_SIZE;
        if (channel >= parameters.channels) {
            break;
        }
    }
}
