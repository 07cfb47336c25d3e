// The records of a column: one of each plane that its quad reaches into. A plane has a slot for each quad that it can reach
// into, `parameters.chunks` of them; a row has so many planes of a channel, and a part so many slots for each.
// Overrides: QUAD_PLANES is how many planes a quad can reach into: 1, 2 (the first and the last element's) or 4.
fn write_slot(part: u32, row: u32, channel: u32, quad: u32, record: Record) {
    let planes = 4u * parameters.columns / parameters.inner / parameters.channels;
    let slot = (part * planes + row) * parameters.chunks + quad;
    write_record(slot * parameters.channels + channel, record);
}

// Where planes begin at different places of a quad, some reach into one quad less than others: where such a plane ends, an
// empty record goes into its last slot.
fn write_plane(part: u32, row: u32, channel: u32, quad: u32, ends: bool, record: Record) {
    write_slot(part, row, channel, quad, record);
    if (ends && quad + 2u == parameters.chunks) {
        write_slot(part, row, channel, quad + 1u, empty_record());
    }
}

fn write_column(part: u32, column: u32, total: Total) {
    let places = places_of(column);
    let row = places.row;
    let channel = places.channel;
    if (QUAD_PLANES == 4u) {
        write_slot(part, row.x, channel.x, 0u, strand(total, 0u));
        write_slot(part, row.y, channel.y, 0u, strand(total, 1u));
        write_slot(part, row.z, channel.z, 0u, strand(total, 2u));
        write_slot(part, row.w, channel.w, 0u, strand(total, 3u));
        return;
    }
    let quad = (places.place.x + 3u) / 4u;
    if (QUAD_PLANES == 1u) {
        write_slot(part, row.x, channel.x, quad, combine_strands(total));
        return;
    }
    let first = (row == row.xxxx) & (channel == channel.xxxx);
    let ends = places.place.x + 4u >= parameters.inner;
    write_plane(part, row.x, channel.x, quad, ends, combine_strands(only(total, first)));
    if (!first.w) {
        let ends = places.place.w + 1u == parameters.inner;
        write_plane(part, row.w, channel.w, 0u, ends, combine_strands(only(total, !first)));
    }
}
