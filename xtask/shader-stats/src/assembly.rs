//! What the assembly of a kernel does, as far as it can be counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A loop that holds no other loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    /// Instructions of one trip, all of its branches counted.
    pub instructions: u64,
    /// Vector loads from buffers by width in bytes.
    pub loads: BTreeMap<u64, u64>,
    /// Vector stores to buffers by width in bytes.
    pub stores: BTreeMap<u64, u64>,
    /// The most vector loads that are under way at once.
    pub in_flight: u64,
    /// Loads of uniform values, which a trip could do without.
    pub scalar_loads: u64,
}

impl Loop {
    fn bytes_loaded(&self) -> u64 {
        self.loads.iter().map(|(width, count)| width * count).sum()
    }

    /// Bytes that an invocation moves in one trip.
    pub fn bytes_moved(&self) -> u64 {
        self.bytes_loaded() + self.stores.iter().map(|(width, count)| width * count).sum::<u64>()
    }

    /// Instructions of a trip for each 16 bytes that it moves.
    pub fn instructions_per_quad(&self) -> f64 {
        16.0 * self.instructions as f64 / self.bytes_moved().max(1) as f64
    }
}

struct Instruction<'a> {
    block: usize,
    name: &'a str,
    operands: &'a str,
}

/// The width in bytes of a vector access to a buffer, and whether it is a store.
///
/// RDNA 3 counts bits (`buffer_load_b128`), the others words (`buffer_load_dwordx4`).
fn access(name: &str) -> Option<(u64, bool)> {
    let rest = ["buffer_", "global_", "flat_"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let (store, width) = match (rest.strip_prefix("load_"), rest.strip_prefix("store_")) {
        (Some(width), _) => (false, width),
        (_, Some(width)) => (true, width),
        _ => return None,
    };
    let bytes = match width {
        "dwordx4" | "b128" => 16,
        "dwordx3" | "b96" => 12,
        "dwordx2" | "b64" => 8,
        "dword" | "b32" => 4,
        w if w.contains("byte") || w.contains('8') => 1,
        _ => 2,
    };
    Some((bytes, store))
}

/// `n` of `vmcnt(n)`: how many vector loads may still be under way after a wait.
fn allowed(instruction: &Instruction<'_>) -> Option<u64> {
    let (_, rest) = instruction.operands.split_once("vmcnt(").filter(|_| instruction.name == "s_waitcnt")?;
    rest.split(')').next()?.parse().ok()
}

fn target(instruction: &Instruction<'_>) -> Option<usize> {
    let branch = instruction.name == "s_branch" || instruction.name.starts_with("s_cbranch");
    let label = instruction.operands.split_whitespace().next().filter(|_| branch)?;
    label.strip_prefix("BB")?.parse().ok()
}

fn instructions(assembly: &str) -> Vec<Instruction<'_>> {
    let mut block = 0;
    let mut list = Vec::new();
    for line in assembly.lines() {
        let line = line.split(';').next().unwrap_or(line).trim();
        if let Some(label) = line.strip_prefix("BB").and_then(|l| l.strip_suffix(':')) {
            block = label.parse().unwrap_or(block);
        } else if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            let (name, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            list.push(Instruction { block, name, operands: operands.trim() });
        }
    }
    list
}

/// The loops that hold no other loop, in the order of the text.
pub fn loops(assembly: &str) -> Vec<Loop> {
    let list = instructions(assembly);
    // A loop is what lies between a branch backwards and its target; of several to one target the last counts.
    let mut spans: BTreeMap<usize, usize> = BTreeMap::new();
    for (end, instruction) in list.iter().enumerate() {
        if let Some(start) = target(instruction)
            .filter(|block| *block <= instruction.block)
            .and_then(|block| list.iter().position(|i| i.block >= block))
        {
            spans.insert(start, end);
        }
    }
    let innermost =
        |&(start, end): &(usize, usize)| !spans.iter().any(|(&s, &e)| (s, e) != (start, end) && s >= start && e <= end);
    let spans: Vec<_> = spans.iter().map(|(&s, &e)| (s, e)).filter(innermost).collect();
    spans.into_iter().map(|(start, end)| count(&list[start..=end])).collect()
}

fn count(body: &[Instruction<'_>]) -> Loop {
    let mut counted = Loop { instructions: body.len() as u64, ..Loop::default() };
    let mut under_way = 0;
    for instruction in body {
        match access(instruction.name) {
            Some((width, true)) => *counted.stores.entry(width).or_default() += 1,
            Some((width, false)) => {
                *counted.loads.entry(width).or_default() += 1;
                under_way += 1;
                counted.in_flight = counted.in_flight.max(under_way);
            }
            None => {}
        }
        if let Some(allowed) = allowed(instruction) {
            under_way = under_way.min(allowed);
        }
        counted.scalar_loads +=
            u64::from(instruction.name.starts_with("s_load") || instruction.name.starts_with("s_buffer_load"));
    }
    counted
}

/// The loop that streams the tensor: of the innermost loops, the one that loads most in a trip.
pub fn streaming(assembly: &str) -> Option<Loop> {
    loops(assembly).into_iter().filter(|l| l.bytes_loaded() > 0).max_by_key(Loop::bytes_loaded)
}

/// A program without a streaming loop, as a whole.
pub fn whole(assembly: &str) -> Loop {
    count(&instructions(assembly))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
BB0:
	s_mov_b32 s0, s3                                            ; be800303
BB1:
	s_nop 0
BB2:
	s_buffer_load_dword s1, s[8:11], 0x1c                       ; f4200044
	buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen
	buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen
	s_waitcnt vmcnt(1)
	buffer_load_b32 v9, v4, s[0:3], 0 offen
	s_waitcnt vmcnt(0) lgkmcnt(0)
	buffer_store_dwordx2 v[0:1], v4, s[0:3], 0 offen
	s_cbranch_scc1 BB2                                          ; bf85
BB3:
	s_cbranch_scc1 BB1
BB4:
	buffer_load_dword v9, v4, s[0:3], 0 offen
	s_branch BB4
	s_endpgm
";

    #[test]
    fn only_innermost_loops_are_counted() {
        let found = loops(TEXT);
        assert_eq!(found.len(), 2);
        let first = &found[0];
        assert_eq!(first.instructions, 8);
        assert_eq!(first.loads, BTreeMap::from([(16, 2), (4, 1)]));
        assert_eq!(first.stores, BTreeMap::from([(8, 1)]));
        assert_eq!((first.in_flight, first.scalar_loads, first.bytes_moved()), (2, 1, 44));
        assert_eq!(streaming(TEXT).as_ref(), Some(first));
    }

    #[test]
    fn widths_are_told_by_every_family() {
        assert_eq!(access("buffer_load_dwordx4"), Some((16, false)));
        assert_eq!(access("global_store_b64"), Some((8, true)));
        assert_eq!(access("buffer_load_ushort"), Some((2, false)));
        assert_eq!(access("buffer_load_d16_b16"), Some((2, false)));
        assert_eq!(access("buffer_store_byte"), Some((1, true)));
        assert_eq!(access("s_buffer_load_dword"), None);
        assert_eq!(access("ds_read_b128"), None);
    }
}
