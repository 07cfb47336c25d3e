// Channels last, inner = 1: a workgroup holds all rows of LANES_X columns, whose four elements belong to four channels.
// workgroup → LANES_X columns; lanes → LANES_X columns × rows
// Overrides: ALIGNED is true where every lane has a column and as many rows.
struct Tile {
    channel: vec4<u32>,
    writes: vec4<bool>,   // the channels whose results this lane writes
    column: Place,
    exists: vec4<bool>,   // whether there are such channels
    row: u32,             // first row of the lane
}

fn tile_of(index: u32, lane: u32) -> Tile {
    let first = (parameters.first_column + index) * LANES_X * (4u / UNIT);
    let column = places_from(first + lane % LANES_X, LANES_X);
    let channel = channels_at(column);
    let exists = channel < vec4<u32>(parameters.channels);
    let writes = exists & vec4<bool>(lane < LANES_X);
    // Of a channel that is not there, nothing is read that is not there either.
    return Tile(min(channel, vec4<u32>(parameters.channels - 1u)), writes, column, exists, lane / LANES_X);
}

fn row_of(tile: Tile, block: u32) -> u32 {
    return tile.row + block * (WORKGROUP_SIZE / LANES_X);
}

fn place_of(tile: Tile, lane: u32, block: u32) -> Place {
    return tile.column + row_of(tile, block) * (parameters.channels / UNIT);
}

fn present(tile: Tile, lane: u32, block: u32) -> vec4<bool> {
    if (ALIGNED) {
        return EVERY;
    }
    return tile.exists & vec4<bool>(row_of(tile, block) < parameters.outer);
}

// A value of each channel, the same for all lanes of a column.
fn first_of(tile: Tile) -> vec4<f32> {
    return load_x(tile.column);
}

var<workgroup> lanes: array<Totals, WORKGROUP_SIZE>;
var<workgroup> sums: array<Totals, LANES_X>;

// The sums of all lanes of a column, for each of them; a lane's strands are four channels and stay apart.
fn totals_of(a: vec4<f32>, b: vec4<f32>, lane: u32, time: u32) -> Totals {
    var total = Totals(a, b);
    if (LANES_X == WORKGROUP_SIZE) {
        return total;
    }
    for (var span = WORKGROUP_SIZE / 2u; span >= LANES_X; span /= 2u) {
        lanes[lane] = total;
        workgroupBarrier();
        if (lane < span) {
            total.a += lanes[lane + span].a;
            total.b += lanes[lane + span].b;
        }
        workgroupBarrier();
    }
    if (lane < LANES_X) {
        sums[lane] = total;
    }
    workgroupBarrier();
    return sums[lane % LANES_X];
}
