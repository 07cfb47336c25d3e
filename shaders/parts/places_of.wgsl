// Where the four elements of a quad lie.
struct Places {
    row: vec4<u32>,
    channel: vec4<u32>,
    place: vec4<u32>,     // within the plane of that row and channel
}

// (row, channel, place) of the next element.
fn next_place(p: vec3<u32>) -> vec3<u32> {
    let plane_ends = p.z + 1u == parameters.inner;
    let row_ends = plane_ends && p.y + 1u == parameters.channels;
    return vec3<u32>(
        p.x + select(0u, 1u, row_ends),
        select(p.y + select(0u, 1u, plane_ends), 0u, row_ends),
        select(p.z + 1u, 0u, plane_ends),
    );
}

// Two divisions, for the first element: a processor that has none for vectors makes one for each lane.
fn places_of(quad: u32) -> Places {
    let plane = 4u * quad / parameters.inner;
    let row = plane / parameters.channels;
    let a = vec3<u32>(row, plane - row * parameters.channels, 4u * quad - plane * parameters.inner);
    let b = next_place(a);
    let c = next_place(b);
    let d = next_place(c);
    return Places(vec4<u32>(a.x, b.x, c.x, d.x), vec4<u32>(a.y, b.y, c.y, d.y), vec4<u32>(a.z, b.z, c.z, d.z));
}

fn channels_of(quad: u32) -> vec4<u32> {
    return places_of(quad).channel;
}
