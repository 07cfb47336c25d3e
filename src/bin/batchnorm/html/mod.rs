//! Reports as pages that stand alone: no script, style, font or picture from elsewhere.

pub mod bench;
pub mod check;
mod crossover;
mod matrix;
mod plot;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::adapters::bytes;
use crate::machine::Machine;

/// A page around its body, with the figures that it shows, as JSON, in it.
fn page(title: &str, body: &Markup, figures: &str, file: &str) -> String {
    // In a script element only a `<` could end it; as an escape it is the same JSON.
    let figures = figures.replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (body)
                h2 #raw { "The figures" }
                p {
                    "Everything above is drawn from these figures, which this page carries with it. "
                    a.screen-only #download download=(file) href="#raw" { "Download them as " (file) }
                }
                script type="application/json" id="figures" { (PreEscaped(figures)) }
                script {
                    (PreEscaped("const a = document.getElementById('download');\
                        a.href = URL.createObjectURL(new Blob([document.getElementById('figures').textContent], {type: 'application/json'}));"))
                }
            }
        }
    };
    page.into_string()
}

/// A table that scrolls by itself where the page is narrow.
fn table(caption: &str, content: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(caption) { table { caption { (caption) } (content) } } }
}

/// The machine, as a list of facts to go on with.
fn machine(machine: &Machine) -> Markup {
    html! {
        dt { "Processor" } dd { (machine.cpu) ", " (machine.threads) " threads, " (bytes(machine.memory_bytes)) " of memory" }
        dt { "System" } dd { (machine.system) ", " (machine.architecture) }
    }
}

/// Three digits of an error in units in the last place.
fn ulps(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.1e}"),
        v if v >= 10.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}
