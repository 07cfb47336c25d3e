// Channels first, large planes: a workgroup walks along the planes of one channel.
// workgroup → part (planes_per_part planes, or a chunk of one plane) and channel
// Overrides: ALIGNED is true where inner is a multiple of 4.
fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let channel = parameters.first_column + index % parameters.column_count;
    let first_plane = (part / parameters.chunks) * parameters.planes_per_part;
    let planes = min(parameters.planes_per_part, parameters.outer - first_plane);
    let chunk_first = (part % parameters.chunks) * parameters.chunk;
    let segments = (parameters.chunk + parameters.segment - 1u) / parameters.segment;
    let channel_start = channel * parameters.inner;
    let plane_stride = parameters.channels * parameters.inner;

    var state = begin(vec4<u32>(channel));
    let start = first_plane * plane_stride + channel_start;
    let head = (start + 3u) / 4u + chunk_first;
    let last = (start + parameters.inner) / 4u - 1u;
    anchor(&state, vec4<u32>(
        min(head + lane, last),
        min(head + lane + WORKGROUP_SIZE, last),
        min(head + lane + 2u * WORKGROUP_SIZE, last),
        min(head + lane + 3u * WORKGROUP_SIZE, last),
    ), EVERY, start);

    let walks = planes * segments;
    for (var fold_first = 0u; fold_first < walks; fold_first += parameters.segments_per_fold) {
        let fold_end = min(fold_first + parameters.segments_per_fold, walks);
        for (var i = fold_first; i < fold_end; i += 1u) {
            let plane_start = (first_plane + i / segments) * plane_stride + channel_start;
            let chunk_start = (plane_start + 3u) / 4u + chunk_first;
            let segment_first = chunk_start + (i % segments) * parameters.segment;
            let segment_end = min(
                min(segment_first + parameters.segment, chunk_start + parameters.chunk),
                (plane_start + parameters.inner) / 4u,
            );
            let first = segment_first + lane;
            walk(&state, first, WORKGROUP_SIZE, steps_to(first, segment_end, WORKGROUP_SIZE));
        }
        fold(&state, EVERY);
    }

    if (!ALIGNED) {
        // The incomplete quads at both ends of each plane; each lane takes its own planes.
        for (var p = lane; p < planes; p += WORKGROUP_SIZE) {
            let plane_start = (first_plane + p) * plane_stride + channel_start;
            let plane_end = plane_start + parameters.inner;
            if (chunk_first == 0u && plane_start % 4u != 0u) {
                gather_masked(&state, plane_start / 4u, within(plane_start / 4u, plane_start, plane_end));
            }
            if (chunk_first + parameters.chunk >= parameters.inner / 4u && plane_end % 4u != 0u) {
                gather_masked(&state, plane_end / 4u, within(plane_end / 4u, plane_start, plane_end));
            }
        }
        fold(&state, EVERY);
    }

    let total = combine_strands(combine_lanes(state.total, lane, 1u));
    if (lane == 0u) {
        write_record(part * parameters.channels + channel, total, 0u);
    }
}
