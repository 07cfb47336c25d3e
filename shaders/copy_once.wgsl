// A plain copy, one 16-byte word per invocation: a yardstick, part of no operation.
// workgroup_id = place in a grid of two dimensions
// reads  source [words]      writes  destination [words]
override WORKGROUP_SIZE: u32 = 1u;

// 16 bytes: vec4<u32> where a storage word holds halves, vec2<u64> for words of 64 bits.
alias Word = vec4<f32>;

@group(0) @binding(0) var<storage, read> source: array<Word>;
@group(0) @binding(1) var<storage, read_write> destination: array<Word>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy_once(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = (group.y * groups.x + group.x) * WORKGROUP_SIZE + lane;
    if (word < arrayLength(&destination)) {
        destination[word] = source[word];
    }
}
