//! What was found, per program and family: the rules it must keep, and the table.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::plan::{Access, Kernel, Program, Walk};

use crate::assembly::{Loop, streaming, whole};
use crate::compile::Compiled;
use crate::programs::{is_plain, variant};

/// A family of processors as RADV names it, and what its makers call the design.
pub struct Family {
    pub name: &'static str,
    pub design: &'static str,
    /// The most waves that this Mesa reports for it.
    pub waves: u64,
}

pub const FAMILIES: [Family; 3] = [
    Family { name: "NAVI21", design: "RDNA 2", waves: 32 },
    Family { name: "GFX1100", design: "RDNA 3", waves: 32 },
    Family { name: "POLARIS10", design: "GCN 4", waves: 8 },
];

/// What one family's compiler made of one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Vector registers.
    pub registers: u64,
    /// Registers of either kind that went to memory.
    pub spilled: u64,
    /// Bytes of memory for what did not fit into registers.
    pub scratch_bytes: u64,
    /// Waves that fit a SIMD unit at once.
    pub waves: u64,
    pub instructions: u64,
    /// The streaming loop; of a resident kernel, which has none, all of it.
    pub streaming: Option<Loop>,
}

impl Finding {
    pub fn new(program: &Program, compiled: &Compiled) -> Result<Self, String> {
        let statistic = |name: &str| {
            let found = compiled.statistics.iter().find(|(n, _)| n == name);
            found.map(|(_, count)| *count).ok_or_else(|| format!("this Mesa does not report \"{name}\""))
        };
        Ok(Self {
            registers: statistic("VGPRs")?,
            spilled: statistic("Spilled VGPRs")? + statistic("Spilled SGPRs")?,
            scratch_bytes: statistic("Scratch size")?,
            waves: statistic("Subgroups per SIMD")?,
            instructions: statistic("Instructions")?,
            streaming: match program.kernel.is_resident() {
                true => Some(whole(&compiled.assembly)),
                false => streaming(&compiled.assembly),
            },
        })
    }
}

/// What the compiler of one family made of all programs.
#[derive(Serialize, Deserialize)]
pub struct Findings {
    /// The device and the compiler's version.
    pub title: String,
    /// In the order of the programs.
    pub findings: Vec<Finding>,
}

/// Loads in flight that hide the latency of memory.
const IN_FLIGHT: u64 = 4;

/// A program that breaks a rule for a reason.
struct Exception {
    reason: &'static str,
    covers: fn(&Program) -> bool,
}

const EXCEPTIONS: [Exception; 3] = [
    Exception {
        reason: "the last quad may be incomplete where the elements are no multiple of 4, so all go word by word",
        covers: |p| p.access == Access::Word,
    },
    Exception { reason: "a mask holds 4 bytes for 32 elements", covers: |p| p.mask && p.walk != Some(Walk::Groups) },
    Exception {
        reason: "an invocation owns a word of the mask, so that its 32 elements may be of several channels",
        covers: |p| p.walk == Some(Walk::Groups),
    },
];

/// The rules that a program breaks on one family, as sentences.
fn broken(program: &Program, finding: &Finding) -> Vec<String> {
    let mut list = Vec::new();
    if finding.spilled > 0 || finding.scratch_bytes > 0 {
        list.push(format!("spills {} registers, {} bytes of scratch", finding.spilled, finding.scratch_bytes));
    }
    if program.walk.is_none() {
        return list;
    }
    let Some(streaming) = &finding.streaming else {
        list.push("has no streaming loop that was recognised".to_owned());
        return list;
    };
    let quad = 4 * program.dtype.bytes();
    if program.kernel.is_resident() {
        // What a lane holds, it loads at once, each quad whole; beside it are the values of a channel.
        let held = u64::from(program.blocks) * if program.kernel == Kernel::BackwardResident { 2 } else { 1 };
        let whole: u64 = streaming.loads.range(quad..).map(|(_, count)| count).sum();
        if whole < held && program.access != Access::Element {
            list.push(format!("loads {whole} whole quads of the {held} that a lane holds"));
        }
        if streaming.in_flight < held.min(IN_FLIGHT) {
            list.push(format!("has {} loads in flight, of {held} quads that a lane holds", streaming.in_flight));
        }
        return list;
    }
    let narrow: Vec<u64> =
        streaming.loads.keys().chain(streaming.stores.keys()).copied().filter(|width| *width < quad).collect();
    if !narrow.is_empty() {
        list.push(format!("accesses {narrow:?} bytes at once in its streaming loop, where a quad has {quad}"));
    }
    if streaming.in_flight < IN_FLIGHT {
        list.push(format!("has {} loads in flight in its streaming loop, fewer than {IN_FLIGHT}", streaming.in_flight));
    }
    list
}

/// Every broken rule that no exception covers, and every exception that covers nothing any more.
pub fn violations(programs: &[Program], families: &[Findings]) -> Vec<String> {
    let mut used = [false; EXCEPTIONS.len()];
    let mut list = Vec::new();
    for findings in families {
        for (program, finding) in programs.iter().zip(&findings.findings) {
            for sentence in broken(program, finding) {
                let spills = sentence.starts_with("spills");
                match EXCEPTIONS.iter().position(|e| !spills && (e.covers)(program)) {
                    Some(index) => used[index] = true,
                    None => list.push(format!(
                        "{} ({}) {sentence}, on {}",
                        program.kernel.name(),
                        variant(program),
                        findings.title
                    )),
                }
            }
        }
    }
    let idle = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used);
    list.extend(idle.map(|(e, _)| format!("no program needs this exception any more: {}", e.reason)));
    list
}

/// The page with the table.
pub fn page(programs: &[Program], families: &[Findings]) -> String {
    let mut page = String::from("# What AMD's compiler makes of the programs\n\n");
    page.push_str(
        "`cargo xtask shader-stats` writes this page: every program that a plan for a graphics processor dispatches,\n\
         translated as wgpu does and compiled by Mesa's own compiler for AMD on a device without hardware.\n\n",
    );
    for (family, findings) in FAMILIES.iter().zip(families) {
        let _ = writeln!(page, "- {}: {}", family.design, findings.title);
    }
    let spilled = families.iter().flat_map(|f| &f.findings).filter(|f| f.spilled > 0 || f.scratch_bytes > 0).count();
    let _ = writeln!(
        page,
        "\n{} programs, each for {} families; {spilled} with spilled registers. No streaming loop has an access narrower \
         than\na quad (16 bytes of f32, 8 of f16 and bf16) or fewer than {IN_FLIGHT} loads in flight, but for:\n",
        programs.len(),
        families.len(),
    );
    for exception in &EXCEPTIONS {
        let count = programs
            .iter()
            .enumerate()
            .filter(|(i, p)| (exception.covers)(p) && families.iter().any(|f| !broken(p, &f.findings[*i]).is_empty()))
            .count();
        let _ = writeln!(page, "- {count} programs: {}", exception.reason);
    }
    page.push_str(
        "\nBelow are the programs of a plain layer, with gamma and beta and nothing fused. Each family's columns are vector\n\
         registers, the share of its waves that fit a SIMD unit at once, instructions in a trip of the streaming loop for\n\
         each 16 bytes that it moves, and the most loads in flight there. Accesses are those of a trip, in bytes. A resident\n\
         kernel has no such loop; its figures are of all that it does.\n\n",
    );
    page.push_str("| kernel | variant | accesses |");
    for family in &FAMILIES {
        let design = family.design;
        let _ = write!(page, " {design}: registers | waves | instructions | in flight |");
    }
    page.push_str("\n|---|---|---|");
    page.push_str(&"---:|---:|---:|---:|".repeat(FAMILIES.len()));
    page.push('\n');
    for (index, program) in programs.iter().enumerate().filter(|(_, p)| is_plain(p)) {
        let accesses = families[0].findings[index].streaming.as_ref().map_or("–".to_owned(), accesses);
        let _ = write!(page, "| `{}` | {} | {accesses} |", program.kernel.name(), variant(program));
        for (family, findings) in FAMILIES.iter().zip(families) {
            let finding = &findings.findings[index];
            let waves = 100 * finding.waves / family.waves;
            let _ = write!(page, " {} | {waves} % |", finding.registers);
            match &finding.streaming {
                Some(l) => {
                    let _ = write!(page, " {:.0} | {} |", l.instructions_per_quad(), l.in_flight);
                }
                None => page.push_str(" – | – |"),
            }
        }
        page.push('\n');
    }
    page
}

/// `4×16 in, 4×16 out`
fn accesses(streaming: &Loop) -> String {
    let sum = |widths: &std::collections::BTreeMap<u64, u64>| {
        widths.iter().rev().map(|(width, count)| format!("{count}×{width}")).collect::<Vec<_>>().join(" + ")
    };
    match (sum(&streaming.loads), sum(&streaming.stores)) {
        (loads, stores) if stores.is_empty() => format!("{loads} in"),
        (loads, stores) => format!("{loads} in, {stores} out"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn finding(width: u64, in_flight: u64, spilled: u64) -> Finding {
        let streaming = Loop { loads: BTreeMap::from([(width, 4)]), in_flight, ..Loop::default() };
        let streaming = Some(streaming);
        Finding { registers: 32, spilled, scratch_bytes: 0, waves: 8, instructions: 90, streaming }
    }

    #[test]
    fn each_rule_can_be_broken() {
        let program = Program { walk: Some(Walk::Along), ..Program::new(Kernel::ScaleShift, 256) };
        assert!(broken(&program, &finding(16, 4, 0)).is_empty());
        assert_eq!(broken(&program, &finding(4, 4, 0)).len(), 1);
        assert_eq!(broken(&program, &finding(16, 3, 0)).len(), 1);
        assert_eq!(broken(&program, &finding(16, 4, 1)).len(), 1);
        assert_eq!(broken(&program, &Finding { streaming: None, ..finding(16, 4, 0) }).len(), 1);
    }

    #[test]
    fn an_exception_never_covers_a_spill_and_must_be_needed() {
        let program =
            Program { walk: Some(Walk::Along), access: Access::Word, ..Program::new(Kernel::ScaleShift, 256) };
        let findings = |f| [Findings { title: "one".to_owned(), findings: vec![f] }];
        let idle = EXCEPTIONS.len() - 1;
        assert_eq!(violations(std::slice::from_ref(&program), &findings(finding(4, 4, 0))).len(), idle);
        assert_eq!(violations(&[program], &findings(finding(4, 4, 2))).len(), idle + 1);
    }
}
