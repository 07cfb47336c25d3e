// Channels first, small planes: each lane holds one place of the plane and walks across the outer dimension, so that
// what a quad shares with its neighbours is the same at every step and is left out once, at the end.
// workgroup → part (planes of one phase) and channel; lanes → LANES_X places × planes
fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let channel = parameters.first_column + index % parameters.column_count;
    let lanes_y = WORKGROUP_SIZE / LANES_X;
    let lane_x = lane % LANES_X;
    let lane_y = lane / LANES_X;
    // Planes of this part: first_plane, first_plane + phases, …
    let first_plane = (part / parameters.phases) * parameters.planes_per_part * parameters.phases
        + part % parameters.phases;
    let planes = min(parameters.planes_per_part, steps_to(first_plane, parameters.outer, parameters.phases));
    let start = (first_plane * parameters.channels + channel) * parameters.inner;
    let end = start + parameters.inner;
    let places = (end + 3u) / 4u - start / 4u;
    let stride = parameters.phases * parameters.channels * parameters.inner / 4u;

    var state = begin(vec4<u32>(channel));
    for (var place = lane_x; place < places + lane_x; place += LANES_X) {
        let quad = start / 4u + min(place, places - 1u);
        let mask = within(quad, start, end) & vec4<bool>(place < places);
        if (planes > 0u) {
            let last = quad + (planes - 1u) * stride;
            anchor(&state, vec4<u32>(
                min(quad + lane_y * stride, last),
                min(quad + (lane_y + lanes_y) * stride, last),
                min(quad + (lane_y + 2u * lanes_y) * stride, last),
                min(quad + (lane_y + 3u * lanes_y) * stride, last),
            ), mask, start);
        }
        for (var plane = 0u; plane < planes; plane += lanes_y * STEPS_PER_FOLD) {
            let first = plane + lane_y;
            let steps = min(STEPS_PER_FOLD, steps_to(first, planes, lanes_y));
            walk(&state, quad + first * stride, lanes_y * stride, steps);
            fold(&state, mask);
        }
    }

    let total = combine_strands(combine_lanes(state.total, lane, 1u));
    if (lane == 0u) {
        write_record(part * parameters.channels + channel, total, 0u);
    }
}
