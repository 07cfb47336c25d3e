// Rows of `columns` quads after which the channels repeat, swept in the order of memory: the sums of each column are
// kept in workgroup memory, each lane reading only what it wrote itself. For processors that fetch ahead along memory,
// where a walk down the columns would wait for every line. A part has so few rows that one fold at its end serves.
// workgroup → part (rows_per_part rows) and group of GROUP columns
var<workgroup> kept: array<Kept, GROUP>;

fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let first_column = (parameters.first_column + index % parameters.column_count) * GROUP;
    let columns = min(GROUP, parameters.columns - first_column);
    let blocks = (columns + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
    let stride = parameters.columns;
    let first_row = part * parameters.rows_per_part;
    let end_row = min(first_row + parameters.rows_per_part, parameters.rows);
    let complete_quads = parameters.elements / 4u;
    let last_quad = (parameters.elements + 3u) / 4u - 1u;
    // Anchors come from four rows spread over the part, so that an unlike beginning does not mislead.
    for (var slot = lane; slot < blocks * WORKGROUP_SIZE; slot += WORKGROUP_SIZE) {
        let column = first_column + min(slot, columns - 1u);
        var state = begin(channels_of(column));
        let top = min(first_row * stride + column, last_quad);
        let own_rows = min(end_row, steps_to(column, complete_quads, stride));
        let spread = (max(own_rows, first_row + 1u) - 1u - first_row) / 3u * stride;
        anchor(&state, load_x(top), load_x(top + spread), load_x(top + 2u * spread), load_x(top + 3u * spread));
        kept[slot] = keep(&state);
    }
    let complete_row = min(end_row, complete_quads / stride);
    let eights = (max(complete_row, first_row) - first_row) / 8u;
    // One loop over rows and blocks: a short inner loop costs a masked trip more on every entry.
    var row = first_row * stride + first_column;
    var slot = lane;
    for (var trip = 0u; trip < eights * blocks; trip += 1u) {
        let quad = row + min(slot, columns - 1u);
        var state = resume(kept[slot]);
        gather4(&state, quad, quad + stride, quad + 2u * stride, quad + 3u * stride);
        let next = quad + 4u * stride;
        gather4(&state, next, next + stride, next + 2u * stride, next + 3u * stride);
        kept[slot] = keep(&state);
        let wrap = slot + WORKGROUP_SIZE >= blocks * WORKGROUP_SIZE;
        slot = select(slot + WORKGROUP_SIZE, lane, wrap);
        row += select(0u, 8u * stride, wrap);
    }
    let left = (end_row - first_row - 8u * eights) * blocks;
    for (var trip = 0u; trip < left; trip += 1u) {
        let quad = row + min(slot, columns - 1u);
        if (quad < complete_quads) {
            var state = resume(kept[slot]);
            gather(&state, quad);
            kept[slot] = keep(&state);
        }
        let wrap = slot + WORKGROUP_SIZE >= blocks * WORKGROUP_SIZE;
        slot = select(slot + WORKGROUP_SIZE, lane, wrap);
        row += select(0u, stride, wrap);
    }
    for (var slot = lane; slot < columns; slot += WORKGROUP_SIZE) {
        let column = first_column + slot;
        var state = resume(kept[slot]);
        let rows = min(end_row, steps_to(column, complete_quads, stride));
        set_count(&state, max(rows, first_row) - first_row);
        // The tensor's last quad, where it is incomplete.
        let tail_row = complete_quads / stride;
        if (parameters.elements % 4u != 0u && complete_quads % stride == column && tail_row >= first_row
            && tail_row < end_row) {
            gather_masked(&state, complete_quads, within(complete_quads, 0u, parameters.elements));
        }
        fold(&state, EVERY);
        write_column(part, column, state.total);
    }
}
