//! Plots as SVG in the page: log-log lines, and bars of shares.
//!
//! The charting crate draws in the light page's colours; the page's style gives each its own in the dark one.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::adapters::bytes;
use crate::failure::Failure;
use crate::output::figure;

/// In pixels; as narrow as a phone's page, so that the text stays as large as the page's there.
const SIZE: (u32, u32) = (520, 340);
const FONT: &str = "sans-serif";
const TEXT: i32 = 16;
const INK: RGBColor = RGBColor(0, 0, 0);
const GRID: RGBColor = RGBColor(0xD5, 0xD9, 0xDF);

/// Colours after Okabe & Ito, which the colour-blind can tell apart; `style.css` knows them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Blue,
    Orange,
    Green,
    Pink,
    Grey,
}

impl Colour {
    fn rgb(self) -> RGBColor {
        match self {
            Colour::Blue => RGBColor(0x00, 0x72, 0xB2),
            Colour::Orange => RGBColor(0xB8, 0x6E, 0x00),
            Colour::Green => RGBColor(0x00, 0x80, 0x5A),
            Colour::Pink => RGBColor(0xC2, 0x3B, 0x78),
            Colour::Grey => RGBColor(0x5B, 0x64, 0x70),
        }
    }

    fn hex(self) -> String {
        let RGBColor(r, g, b) = self.rgb();
        format!("#{r:02X}{g:02X}{b:02X}")
    }
}

/// How a line looks, so that it is known without its colour too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// Unbroken, with a point at each figure.
    Points,
    /// Unbroken and thin: something to hold the others against.
    Plain,
    /// Broken.
    Dashes,
}

/// A line over sizes in bytes.
pub struct Line {
    pub name: &'static str,
    pub colour: Colour,
    pub stroke: Stroke,
    pub points: Vec<(f64, f64)>,
}

/// Lines over the size of x, both axes logarithmic.
pub struct Lines {
    pub id: String,
    pub title: String,
    /// What the vertical axis is, with its unit.
    pub unit: &'static str,
    pub lines: Vec<Line>,
}

fn drawn<E: std::fmt::Display>(error: E) -> Failure {
    Failure::Failed(format!("a plot cannot be drawn: {error}"))
}

/// Draws into an SVG with a text in its place for those who do not see it.
fn svg(
    id: &str,
    (width, height): (u32, u32),
    [title, description]: [&str; 2],
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure>,
) -> Result<Markup, Failure> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| Failure::Failed("the plots' font cannot be read".to_owned()))?;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(drawn)?;
    }
    // The element itself is ours: scalable, and with its texts.
    let inner = text.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>")).map_or("", |(inner, _)| inner);
    let inner = inner.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    Ok(html! {
        svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-labelledby=(format!("{id}-title {id}-text")) {
            title id=(format!("{id}-title")) { (title) }
            desc id=(format!("{id}-text")) { (description) }
            (PreEscaped(inner))
        }
    })
}

/// What the lines of a plot look like.
pub fn key<'a>(lines: impl Iterator<Item = &'a Line>) -> Markup {
    let mut seen: Vec<&Line> = Vec::new();
    for line in lines {
        if !seen.iter().any(|s| s.name == line.name) {
            seen.push(line);
        }
    }
    html! { ul.key { @for line in seen { li {
        svg viewBox="0 0 32 12" aria-hidden="true" {
            @let hex = line.colour.hex();
            @match line.stroke {
                Stroke::Points => {
                    line x1="0" y1="6" x2="32" y2="6" stroke=(hex) stroke-width="2" {}
                    circle cx="16" cy="6" r="4" fill=(hex) {}
                },
                Stroke::Plain => line x1="0" y1="6" x2="32" y2="6" stroke=(hex) stroke-width="2" {},
                Stroke::Dashes => line x1="0" y1="6" x2="32" y2="6" stroke=(hex) stroke-width="2" stroke-dasharray="6 4" {},
            }
        }
        (line.name)
    } } } }
}

/// 1, 2 and 5 of every power of ten in a range, or the powers alone where those are many.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps: &[f64] = if decades.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

impl Lines {
    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    /// What is to be seen, in words.
    fn description(&self) -> String {
        let told = |line: &Line| {
            let (first, last) = line.points.first().zip(line.points.last())?;
            let at = |(size, value): &(f64, f64)| format!("{} at {}", figure(*value), bytes(*size as u64));
            Some(format!("{}: from {} to {}", line.name, at(first), at(last)))
        };
        let lines: Vec<String> = self.lines.iter().filter_map(told).collect();
        format!("{} over the size of x, both axes logarithmic. {}.", self.unit, lines.join("; "))
    }

    /// The plot, with its figures in a table behind it.
    pub fn figure(&self) -> Result<Markup, Failure> {
        let description = self.description();
        let picture = svg(&self.id, SIZE, [&self.title, &description], |area| self.draw(area))?;
        Ok(html! {
            figure {
                figcaption { strong { (self.title) } br; (self.unit) " over the size of x" }
                (picture)
                (self.table())
            }
        })
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure> {
        let least = |of: fn(&(f64, f64)) -> f64| self.points().map(of).fold(f64::INFINITY, f64::min);
        let most = |of: fn(&(f64, f64)) -> f64| self.points().map(of).fold(0.0, f64::max);
        let (x, y) = ([least(|p| p.0), most(|p| p.0)], [least(|p| p.1), most(|p| p.1)]);
        let mut sizes: Vec<f64> = self.points().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        // A step of less than four would run into its neighbour.
        let mut shown: Vec<f64> = Vec::new();
        for size in sizes {
            if shown.last().is_none_or(|last| size >= 3.0 * last) {
                shown.push(size);
            }
        }
        let y = [y[0] / 1.3, y[1] * 1.3];
        let across = (x[0] / 1.3..x[1] * 1.3).log_scale().with_key_points(shown);
        let up = (y[0]..y[1]).log_scale().with_key_points(ticks(y));
        let mut chart = ChartBuilder::on(area)
            .margin_top(8)
            .margin_right(26)
            .x_label_area_size(28)
            .y_label_area_size(58)
            .build_cartesian_2d(across, up)
            .map_err(drawn)?;
        chart
            .configure_mesh()
            .x_label_formatter(&|size| bytes(*size as u64))
            .y_label_formatter(&|value| value.to_string())
            .label_style((FONT, TEXT).into_font().color(&INK))
            .axis_style(INK)
            .bold_line_style(GRID)
            .max_light_lines(0)
            .draw()
            .map_err(drawn)?;
        for line in &self.lines {
            let (style, points) = (line.colour.rgb().stroke_width(2), line.points.iter().copied());
            match line.stroke {
                Stroke::Dashes => {
                    chart.draw_series(DashedLineSeries::new(points, 7, 5, style)).map_err(drawn)?;
                }
                Stroke::Plain => {
                    chart.draw_series(LineSeries::new(points, style)).map_err(drawn)?;
                }
                Stroke::Points => {
                    chart.draw_series(LineSeries::new(points.clone(), style)).map_err(drawn)?;
                    let circle = |point| Circle::new(point, 4, line.colour.rgb().filled());
                    chart.draw_series(points.map(circle)).map_err(drawn)?;
                }
            }
        }
        Ok(())
    }

    fn table(&self) -> Markup {
        let mut sizes: Vec<f64> = self.points().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let at = |line: &Line, size: f64| line.points.iter().find(|point| point.0 == size).map(|point| figure(point.1));
        let content = html! {
            thead { tr { th.text scope="col" { "size of x" } @for line in &self.lines { th scope="col" { (line.name) } } } }
            tbody { @for &size in &sizes { tr {
                th scope="row" { (bytes(size as u64)) }
                @for line in &self.lines { td { (at(line, size).unwrap_or_else(|| "–".to_owned())) } }
            } } }
        };
        let caption = format!("{}: {}", self.title, self.unit);
        html! { details { summary { "Its figures" } (super::table(&caption, &content)) } }
    }
}

/// A bar that is cut into parts.
pub struct Bar {
    pub name: String,
    /// In the order of the parts' names.
    pub parts: Vec<f64>,
}

/// Bars of shares of the whole, one below the other.
pub struct Shares<'a> {
    pub id: String,
    pub title: String,
    /// Name and colour of each part.
    pub parts: &'a [(&'static str, Colour)],
    pub bars: Vec<Bar>,
}

impl Shares<'_> {
    /// The plot.
    pub fn figure(&self) -> Result<Markup, Failure> {
        let told = |bar: &Bar| {
            let total: f64 = bar.parts.iter().sum();
            let part = |((name, _), value): (&(&str, Colour), &f64)| format!("{name} {:.0} %", 100.0 * value / total);
            let parts: Vec<String> = self.parts.iter().zip(&bar.parts).map(part).collect();
            format!("{}: {}", bar.name, parts.join(", "))
        };
        let description = self.bars.iter().map(told).collect::<Vec<_>>().join("; ");
        let size = (SIZE.0, 24 * self.bars.len() as u32 + 30);
        let picture = svg(&self.id, size, [&self.title, &description], |area| self.draw(area))?;
        Ok(html! { figure { figcaption { strong { (self.title) } } (picture) } })
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure> {
        let count = self.bars.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(4)
            .margin_right(26)
            .x_label_area_size(26)
            .y_label_area_size(150)
            .build_cartesian_2d(0.0..100.0, count..0.0)
            .map_err(drawn)?;
        chart
            .configure_mesh()
            .x_label_formatter(&|share| format!("{share:.0} %"))
            .x_labels(5)
            .y_labels(0)
            .label_style((FONT, TEXT).into_font().color(&INK))
            .axis_style(INK)
            .bold_line_style(GRID)
            .disable_y_mesh()
            .max_light_lines(0)
            .draw()
            .map_err(drawn)?;
        let name = (FONT, TEXT).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
        for (row, bar) in self.bars.iter().enumerate() {
            let (row, total) = (row as f64, bar.parts.iter().sum::<f64>());
            let mut left = 0.0;
            for ((_, colour), value) in self.parts.iter().zip(&bar.parts) {
                let right = left + 100.0 * value / total;
                let corners = [(left, row + 0.15), (right, row + 0.85)];
                chart.draw_series([Rectangle::new(corners, colour.rgb().filled())]).map_err(drawn)?;
                left = right;
            }
            let (x, y) = chart.backend_coord(&(0.0, row + 0.5));
            area.draw(&Text::new(bar.name.clone(), (x - 8, y), name.clone())).map_err(drawn)?;
        }
        Ok(())
    }

    /// What the parts look like.
    pub fn key(&self) -> Markup {
        html! { ul.key { @for (name, colour) in self.parts { li {
            svg viewBox="0 0 32 12" aria-hidden="true" { rect width="32" height="12" fill=(colour.hex()) {} }
            (name)
        } } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_numbers_within_the_range() {
        assert_eq!(ticks([0.9, 12.0]), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks([0.01, 100.0]), [0.01, 0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn a_plot_tells_its_figures_in_words_and_in_a_table() {
        let points = vec![(16384.0, 1.5), (1048576.0, 12.0)];
        let line = Line { name: "copy <best>", colour: Colour::Blue, stroke: Stroke::Points, points };
        let lines = Lines { id: "p".to_owned(), title: "training & more".to_owned(), unit: "GB/s", lines: vec![line] };
        let text = lines.figure().unwrap().into_string();
        for part in [
            "role=\"img\"",
            "from 1.50 at 16 KiB to 12.0 at 1 MiB",
            "training &amp; more",
            "copy &lt;best&gt;",
            "#0072B2",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("http"), "{text}");
    }
}
