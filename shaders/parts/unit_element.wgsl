// A resident kernel's unit of access: an element, where planes or rows do not begin with a quad.
alias Place = vec4<u32>;
alias Real = vec4<f32>;
const UNIT = 1u;          // elements

// Where a block of a lane begins, and lies as a whole: four units, a span apart, so that lanes read neighbours.
fn places_from(first: u32, span: u32) -> Place {
    return vec4<u32>(first) + span * vec4<u32>(0u, 1u, 2u, 3u);
}

fn each(condition: vec4<bool>) -> vec4<bool> {
    return condition;
}

// The channels of four columns of elements, where inner is 1.
fn channels_at(column: Place) -> vec4<u32> {
    return column;
}
