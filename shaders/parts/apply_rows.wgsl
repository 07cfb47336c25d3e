// Rows of `columns` quads after which the channels repeat, swept in the order of memory: each lane holds what several
// columns need in registers, a workgroup's width apart. For processors that fetch ahead along memory, where a walk down
// single columns would wait for every line. A line that names BLOCK is written once for each column of a lane; registers have
// no index, so what the columns need enters at the first TURN blocks, a line that names ENTER for each, while all turn by as
// many: AFTER comes to BLOCK.
// workgroup → part (rows_per_part rows) and group of GROUP columns
// Overrides: ALIGNED is true where every group is full and every row complete.
fn apply_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let first_column = (parameters.first_column + index % parameters.column_count) * GROUP;
    let stride = parameters.columns;
    let quads = (parameters.elements + 3u) / 4u;
    let first_row = part * parameters.rows_per_part;
    let end = min(first_row + parameters.rows_per_part, parameters.rows) * stride;
    var prepared_BLOCK: Prepared;
    // A loop that ends with its condition: a processor that runs lanes under a mask would enter once more in vain.
    var slot = lane;
    loop {
        prepared_ENTER = prepare4(channels_of(min(first_column + slot + ENTERu * WORKGROUP_SIZE, stride - 1u)));
        let turning_BLOCK = prepared_BLOCK;
        prepared_BLOCK = turning_AFTER;
        slot += TURNu * WORKGROUP_SIZE;
        if (slot >= GROUP) {
            break;
        }
    }

    let column_BLOCK = first_column + lane + BLOCKu * WORKGROUP_SIZE;
    for (var row = first_row * stride; row < end; row += stride) {
        if (ALIGNED || (column_BLOCK < stride && row + column_BLOCK < quads)) { _ = finish(prepared_BLOCK, row + column_BLOCK, fetch(row + column_BLOCK)); }
    }
}
