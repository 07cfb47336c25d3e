// What a training prototype brings itself: dense layers, softmax cross-entropy, gradient descent.
// Lanes lie along the last dimension, workgroup_id.y counts blocks of four along the one before it.
// A dense layer's weights are [inputs + 1, outputs]: the last row is the bias.

struct Sizes {
    rows: u32,
    inputs: u32,
    outputs: u32,
    rate: f32,
}

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> sizes: Sizes;

// x[b, i] = images[order[b], i], and the labels with it.      grid: inputs, 1, rows
@group(0) @binding(1) var<storage, read> images: array<f32>;
@group(0) @binding(2) var<storage, read> image_labels: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read_write> gathered: array<f32>;
@group(0) @binding(5) var<storage, read_write> gathered_labels: array<u32>;

@compute @workgroup_size(LANES)
fn gather(@builtin(global_invocation_id) lane: vec3<u32>) {
    let row = lane.z;
    if (lane.x < sizes.inputs) {
        gathered[row * sizes.inputs + lane.x] = images[order[row] * sizes.inputs + lane.x];
    }
    if (lane.x == 0u) {
        gathered_labels[row] = image_labels[order[row]];
    }
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// y[b, o] = Σ_i x[b, i] · weights[i, o] + bias[o]      grid: outputs, rows / 4
@compute @workgroup_size(LANES)
fn dense(@builtin(global_invocation_id) lane: vec3<u32>) {
    let output = min(lane.x, sizes.outputs - 1u);
    let row = min(4u * lane.y + vec4(0u, 1u, 2u, 3u), vec4(sizes.rows - 1u));
    let at = row * sizes.inputs;
    var sum = vec4(weights[sizes.inputs * sizes.outputs + output]);
    for (var i = 0u; i < sizes.inputs; i++) {
        let weight = weights[i * sizes.outputs + output];
        sum += weight * vec4(x[at.x + i], x[at.y + i], x[at.z + i], x[at.w + i]);
    }
    if (lane.x < sizes.outputs) {
        // Rows beyond the last repeat it, with the same value.
        y[row.x * sizes.outputs + output] = sum.x;
        y[row.y * sizes.outputs + output] = sum.y;
        y[row.z * sizes.outputs + output] = sum.z;
        y[row.w * sizes.outputs + output] = sum.w;
    }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dweights: array<f32>;

// dweights[i, o] = Σ_b x[b, i] · dy[b, o], and for the bias Σ_b dy[b, o]      grid: outputs, (inputs + 1) / 4
@compute @workgroup_size(LANES)
fn dense_weights(@builtin(global_invocation_id) lane: vec3<u32>) {
    let output = min(lane.x, sizes.outputs - 1u);
    let input = min(4u * lane.y + vec4(0u, 1u, 2u, 3u), vec4(sizes.inputs));
    let is_bias = input == vec4(sizes.inputs);
    let column = min(input, vec4(sizes.inputs - 1u));
    var sum = vec4(0.0);
    for (var b = 0u; b < sizes.rows; b++) {
        let at = b * sizes.inputs + column;
        let value = select(vec4(x[at.x], x[at.y], x[at.z], x[at.w]), vec4(1.0), is_bias);
        sum += dy[b * sizes.outputs + output] * value;
    }
    if (lane.x < sizes.outputs) {
        dweights[input.x * sizes.outputs + output] = sum.x;
        dweights[input.y * sizes.outputs + output] = sum.y;
        dweights[input.z * sizes.outputs + output] = sum.z;
        dweights[input.w * sizes.outputs + output] = sum.w;
    }
}

@group(0) @binding(1) var<storage, read> dy_of_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// dx[b, i] = Σ_o dy[b, o] · weights[i, o]      grid: inputs, rows / 4
@compute @workgroup_size(LANES)
fn dense_input(@builtin(global_invocation_id) lane: vec3<u32>) {
    let input = min(lane.x, sizes.inputs - 1u);
    let row = min(4u * lane.y + vec4(0u, 1u, 2u, 3u), vec4(sizes.rows - 1u));
    let at = row * sizes.outputs;
    var sum = vec4(0.0);
    for (var o = 0u; o < sizes.outputs; o++) {
        let weight = weights[input * sizes.outputs + o];
        sum += weight * vec4(dy_of_x[at.x + o], dy_of_x[at.y + o], dy_of_x[at.z + o], dy_of_x[at.w + o]);
    }
    if (lane.x < sizes.inputs) {
        dx[row.x * sizes.inputs + input] = sum.x;
        dx[row.y * sizes.inputs + input] = sum.y;
        dx[row.z * sizes.inputs + input] = sum.z;
        dx[row.w * sizes.inputs + input] = sum.w;
    }
}

@group(0) @binding(2) var<storage, read_write> rectified: array<f32>;

// rectified = max(x, 0), where there is no batch normalisation to do it.      grid: outputs, 1, rows
@compute @workgroup_size(LANES)
fn relu(@builtin(global_invocation_id) lane: vec3<u32>) {
    if (lane.x < sizes.outputs) {
        let at = lane.z * sizes.outputs + lane.x;
        rectified[at] = max(x[at], 0.0);
    }
}

// dx = dy where x > 0, else 0.      grid: outputs, 1, rows
@compute @workgroup_size(LANES)
fn relu_backward(@builtin(global_invocation_id) lane: vec3<u32>) {
    if (lane.x < sizes.outputs) {
        let at = lane.z * sizes.outputs + lane.x;
        dx[at] = select(0.0, dy[at], x[at] > 0.0);
    }
}

@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> figures: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

// losses[b] = log Σ_o exp(z[b, o]) − z[b, label], dz = (softmax(z) − one-hot(label)) / rows      grid: rows
@compute @workgroup_size(LANES)
fn cross_entropy(@builtin(global_invocation_id) lane: vec3<u32>) {
    if (lane.x >= sizes.rows) {
        return;
    }
    let first = lane.x * sizes.outputs;
    var largest = logits[first];
    for (var o = 1u; o < sizes.outputs; o++) {
        largest = max(largest, logits[first + o]);
    }
    var sum = 0.0;
    for (var o = 0u; o < sizes.outputs; o++) {
        sum += exp(logits[first + o] - largest);
    }
    let label = labels[lane.x];
    figures[lane.x] = log(sum) + largest - logits[first + label];
    for (var o = 0u; o < sizes.outputs; o++) {
        let probability = exp(logits[first + o] - largest) / sum;
        dlogits[first + o] = (probability - select(0.0, 1.0, o == label)) / f32(sizes.rows);
    }
}

// hits[b] = 1 where the largest logit is the label's, else 0      grid: rows
@compute @workgroup_size(LANES)
fn hits(@builtin(global_invocation_id) lane: vec3<u32>) {
    if (lane.x >= sizes.rows) {
        return;
    }
    let first = lane.x * sizes.outputs;
    let wanted = logits[first + labels[lane.x]];
    var hit = 1.0;
    for (var o = 0u; o < sizes.outputs; o++) {
        hit = select(hit, 0.0, !(logits[first + o] <= wanted));
    }
    figures[lane.x] = hit;
}

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;

// value −= rate · gradient      grid: outputs
@compute @workgroup_size(LANES)
fn descend(@builtin(global_invocation_id) lane: vec3<u32>) {
    if (lane.x < sizes.outputs) {
        value[lane.x] -= sizes.rate * gradient[lane.x];
    }
}
