// A resident kernel's unit of access: a quad.
alias Place = u32;
alias Real = f32;
const UNIT = 4u;          // elements

// Where a block of a lane begins, and lies as a whole: one unit.
fn places_from(first: u32, span: u32) -> Place {
    return first;
}

fn each(condition: bool) -> vec4<bool> {
    return vec4<bool>(condition);
}

// The channels of a column of quads, where inner is 1.
fn channels_at(column: Place) -> vec4<u32> {
    return vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u);
}
