// The channels of the four elements of a column, by one division.
fn channels_of(column: u32) -> vec4<u32> {
    let inner = parameters.inner;
    let element = vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u);
    return (element / inner) % parameters.channels;
}
