// What a dispatch is told; written once, when the operation is created. Held against `plan::Parameters` by a test.
// A quad is four consecutive elements of the flat tensor, the unit of every access.
struct Parameters {
    outer: u32,
    channels: u32,
    inner: u32,
    elements: u32,
    window: u32,          // first quad of the bound ranges of x, y, dy, dx and the residual
    grid_width: u32,      // workgroups in x; a larger grid goes on in y
    workgroups: u32,      // of this dispatch
    first_part: u32,      // the rectangle of (part, column) that this dispatch covers, columns fastest
    first_column: u32,
    column_count: u32,
    slots: u32,           // records per channel
    planes_per_part: u32,
    phases: u32,          // planes o and o + phases start at the same place of a quad
    chunk: u32,           // quads of a plane that one part covers
    chunks: u32,          // parts that share a plane; across planes, quads that one reaches into, at most
    columns: u32,         // quads of a row: the distance after which channels repeat
    rows: u32,
    rows_per_part: u32,
    values: u32,          // m, values per channel
    epsilon: f32,
    momentum: f32,        // weight of the new value
    zero: u32,            // always 0; unknown to the compiler
}

// Read once, before all else: llvmpipe reads a uniform for each lane at every place that names it, but for all lanes at
// once where no lane can be absent.
var<private> parameters: Parameters;
var<private> window: u32;
var<private> bound_elements: u32;     // from the window's first to the tensor's last

fn read_parameters() {
    parameters = uniform_parameters;
    window = parameters.window;
    bound_elements = parameters.elements - 4u * parameters.window;
}

// The workgroup's place in a grid that may be folded into two dimensions. From the uniform itself: what stands in a private
// variable counts as different from lane to lane, and then no barrier may follow.
fn workgroup_index(id: vec3<u32>) -> u32 {
    return id.y * uniform_parameters.grid_width + id.x;
}

// Elements 4·quad .. 4·quad + 3 that lie in first .. end.
fn within(quad: u32, first: u32, end: u32) -> vec4<bool> {
    let element = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
    return (element >= vec4<u32>(first)) & (element < vec4<u32>(end));
}

const EVERY = vec4<bool>(true, true, true, true);

// The same value, by a way that the compiler cannot see through: a ^ 0 with a zero known only at run time. Without it
// Mesa turns x − (x + t) into −t, although x + t was rounded.
fn opaque(value: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) ^ vec4<u32>(parameters.zero));
}
