// Rows of `columns` quads after which the channels repeat, swept in the order of memory: what each column needs is
// prepared once and kept in workgroup memory, each lane reading only what it wrote itself. For processors that fetch
// ahead along memory, where a walk down the columns would wait for every line.
// workgroup → part (rows_per_part rows) and group of GROUP columns
// Overrides: ALIGNED is true where the columns are a multiple of the lanes.
var<workgroup> kept: array<Prepared, GROUP>;

fn apply_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let first_column = (parameters.first_column + index % parameters.column_count) * GROUP;
    let columns = min(GROUP, parameters.columns - first_column);
    let blocks = (columns + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
    for (var slot = lane; slot < blocks * WORKGROUP_SIZE; slot += WORKGROUP_SIZE) {
        kept[slot] = prepare4(channels_of(first_column + min(slot, columns - 1u)));
    }
    let stride = parameters.columns;
    let first_row = part * parameters.rows_per_part;
    let end_row = min(first_row + parameters.rows_per_part, parameters.rows);
    let quads = (parameters.elements + 3u) / 4u;
    let complete_row = min(end_row, quads / stride);
    let fours = (max(complete_row, first_row) - first_row) / 4u;
    // One loop over rows and blocks: a short inner loop costs a masked trip more on every entry.
    var row = first_row * stride + first_column;
    var slot = lane;
    for (var trip = 0u; trip < fours * blocks; trip += 1u) {
        if (ALIGNED || slot < columns) {
            let quad = row + slot;
            apply4(kept[slot], quad, quad + stride, quad + 2u * stride, quad + 3u * stride);
        }
        let wrap = slot + WORKGROUP_SIZE >= blocks * WORKGROUP_SIZE;
        slot = select(slot + WORKGROUP_SIZE, lane, wrap);
        row += select(0u, 4u * stride, wrap);
    }
    let left = (end_row - first_row - 4u * fours) * blocks;
    for (var trip = 0u; trip < left; trip += 1u) {
        if (slot < columns && row + slot < quads) {
            _ = apply(kept[slot], row + slot);
        }
        let wrap = slot + WORKGROUP_SIZE >= blocks * WORKGROUP_SIZE;
        slot = select(slot + WORKGROUP_SIZE, lane, wrap);
        row += select(0u, stride, wrap);
    }
}
